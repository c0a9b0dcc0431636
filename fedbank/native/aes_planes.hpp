// AES on bit planes: four blocks at once in eight 64-bit words, word b holding bit b of each of the 64 bytes.
// Only shifts and logic, so nothing depends on what is encrypted. Used by the portable path and by the key expansion.
#pragma once
#include <cstdint>
#include <cstring>

namespace fedbank {
namespace {

using Planes = std::uint64_t[8];

// Exchange the rows and columns of an 8 x 8 bit matrix (Warren, Hacker's Delight, 7-3).
inline std::uint64_t transposed(std::uint64_t x) {
    std::uint64_t t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aaull;
    x ^= t ^ (t << 7);
    t = (x ^ (x >> 14)) & 0x0000cccc0000ccccull;
    x ^= t ^ (t << 14);
    t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0ull;
    return x ^ t ^ (t << 28);
}

inline std::uint64_t word_at(const std::uint8_t* at) {  // little endian on every machine
    std::uint64_t word = 0;
    for (unsigned i = 0; i < 8; ++i) word |= static_cast<std::uint64_t>(at[i]) << (8 * i);
    return word;
}

inline void to_planes(const std::uint8_t bytes[64], Planes planes) {
    for (unsigned b = 0; b < 8; ++b) planes[b] = 0;
    for (unsigned k = 0; k < 8; ++k) {
        std::uint64_t word = transposed(word_at(bytes + 8 * k));
        for (unsigned b = 0; b < 8; ++b) planes[b] |= ((word >> (8 * b)) & 0xff) << (8 * k);
    }
}

inline void from_planes(const Planes planes, std::uint8_t bytes[64]) {
    for (unsigned k = 0; k < 8; ++k) {
        std::uint64_t word = 0;
        for (unsigned b = 0; b < 8; ++b) word |= ((planes[b] >> (8 * k)) & 0xff) << (8 * b);
        word = transposed(word);
        for (unsigned i = 0; i < 8; ++i) bytes[8 * k + i] = static_cast<std::uint8_t>(word >> (8 * i));
    }
}

// The S-box as a circuit of 115 gates (Boyar, Peralta 2012, "A depth-16 circuit for the AES S-box"); its names.
inline void sub_bytes(Planes q) {
    using W = std::uint64_t;
    W x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1], x7 = q[0];
    W y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3;
    W y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12, y15 = t1 ^ x5, y20 = t1 ^ x1;
    W y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
    W y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;
    W t2 = y12 & y15, t3 = y3 & y6, t4 = t3 ^ t2, t5 = y4 & x7, t6 = t5 ^ t2, t7 = y13 & y16, t8 = y5 & y1;
    W t9 = t8 ^ t7, t10 = y2 & y7, t11 = t10 ^ t7, t12 = y9 & y11, t13 = y14 & y17, t14 = t13 ^ t12;
    W t15 = y8 & y10, t16 = t15 ^ t12, t17 = t4 ^ t14, t18 = t6 ^ t16, t19 = t9 ^ t14, t20 = t11 ^ t16;
    W t21 = t17 ^ y20, t22 = t18 ^ y19, t23 = t19 ^ y21, t24 = t20 ^ y18, t25 = t21 ^ t22, t26 = t21 & t23;
    W t27 = t24 ^ t26, t28 = t25 & t27, t29 = t28 ^ t22, t30 = t23 ^ t24, t31 = t22 ^ t26, t32 = t31 & t30;
    W t33 = t32 ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33, t36 = t24 & t35, t37 = t36 ^ t34, t38 = t27 ^ t36;
    W t39 = t29 & t38, t40 = t25 ^ t39, t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37;
    W t45 = t42 ^ t41;
    W z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7, z6 = t42 & y11;
    W z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13;
    W z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;
    W t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
    W t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
    W t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58;
    W t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, s0 = t59 ^ t63, s6 = t56 ^ ~t62, s7 = t48 ^ ~t60;
    W t67 = t64 ^ t65, s3 = t53 ^ t66, s4 = t51 ^ t66, s5 = t47 ^ t65, s1 = t64 ^ ~s3, s2 = t55 ^ ~t67;
    q[7] = s0, q[6] = s1, q[5] = s2, q[4] = s3, q[3] = s4, q[2] = s5, q[1] = s6, q[0] = s7;
}

// Row r of each block moves left by r columns; byte r + 4 c of a block is bit r + 4 c of sixteen.
inline void shift_rows(Planes q) {
    for (unsigned b = 0; b < 8; ++b) {
        std::uint64_t x = q[b];
        q[b] = (x & 0x1111111111111111ull) | ((x >> 4) & 0x0222022202220222ull) | ((x << 12) & 0x2000200020002000ull) |
               ((x >> 8) & 0x0044004400440044ull) | ((x << 8) & 0x4400440044004400ull) |
               ((x >> 12) & 0x0008000800080008ull) | ((x << 4) & 0x8880888088808880ull);
    }
}

inline std::uint64_t next_row(std::uint64_t x) {
    return ((x >> 1) & 0x7777777777777777ull) | ((x << 3) & 0x8888888888888888ull);
}

// With t = a_r + a_(r+1), the new row r is 2 t + a_(r+1) + a_(r+2) + a_(r+3).
inline void mix_columns(Planes q) {
    Planes next, t;
    for (unsigned b = 0; b < 8; ++b) next[b] = next_row(q[b]), t[b] = q[b] ^ next[b];
    std::uint64_t top = t[7];
    for (unsigned b = 0; b < 8; ++b) {
        std::uint64_t doubled = (b ? t[b - 1] : 0) ^ ((0x1bu >> b) & 1 ? top : 0);
        q[b] = doubled ^ next[b] ^ next_row(next_row(t[b]));
    }
}

}  // namespace
}  // namespace fedbank
