#include "aes128.hpp"

#include <algorithm>
#include <cstring>

#include "cpu.hpp"
#include "sampler.hpp"
#if defined(FEDBANK_X86)
#include <immintrin.h>
#endif

namespace fedbank {
namespace {

// The S-box on bits: q[k] holds bit k of many bytes (Boyar and Peralta 2010, "A new combinational logic minimization
// technique", 32 AND gates).
template <class Bits>
void substitute(Bits* q) {
    Bits x0 = q[7], x1 = q[6], x2 = q[5], x3 = q[4], x4 = q[3], x5 = q[2], x6 = q[1], x7 = q[0];
    Bits y14 = x3 ^ x5, y13 = x0 ^ x6, y9 = x0 ^ x3, y8 = x0 ^ x5, t0 = x1 ^ x2, y1 = t0 ^ x7, y4 = y1 ^ x3;
    Bits y12 = y13 ^ y14, y2 = y1 ^ x0, y5 = y1 ^ x6, y3 = y5 ^ y8, t1 = x4 ^ y12, y15 = t1 ^ x5, y20 = t1 ^ x1;
    Bits y6 = y15 ^ x7, y10 = y15 ^ t0, y11 = y20 ^ y9, y7 = x7 ^ y11, y17 = y10 ^ y11, y19 = y10 ^ y8;
    Bits y16 = t0 ^ y11, y21 = y13 ^ y16, y18 = x0 ^ y16;

    Bits t2 = y12 & y15, t4 = (y3 & y6) ^ t2, t6 = (y4 & x7) ^ t2, t7 = y13 & y16, t9 = (y5 & y1) ^ t7;
    Bits t11 = (y2 & y7) ^ t7, t12 = y9 & y11, t14 = (y14 & y17) ^ t12, t16 = (y8 & y10) ^ t12;
    Bits t21 = t4 ^ t14 ^ y20, t22 = t6 ^ t16 ^ y19, t23 = t9 ^ t14 ^ y21, t24 = t11 ^ t16 ^ y18;
    Bits t25 = t21 ^ t22, t26 = t21 & t23, t27 = t24 ^ t26, t29 = (t25 & t27) ^ t22, t31 = t22 ^ t26;
    Bits t33 = (t31 & (t23 ^ t24)) ^ t24, t34 = t23 ^ t33, t35 = t27 ^ t33, t36 = t24 & t35, t37 = t36 ^ t34;
    Bits t38 = t27 ^ t36, t40 = t25 ^ (t29 & t38), t41 = t40 ^ t37, t42 = t29 ^ t33, t43 = t29 ^ t40, t44 = t33 ^ t37;
    Bits t45 = t42 ^ t41;
    Bits z0 = t44 & y15, z1 = t37 & y6, z2 = t33 & x7, z3 = t43 & y16, z4 = t40 & y1, z5 = t29 & y7, z6 = t42 & y11;
    Bits z7 = t45 & y17, z8 = t41 & y10, z9 = t44 & y12, z10 = t37 & y3, z11 = t33 & y4, z12 = t43 & y13;
    Bits z13 = t40 & y5, z14 = t29 & y2, z15 = t42 & y9, z16 = t45 & y14, z17 = t41 & y8;

    Bits t46 = z15 ^ z16, t47 = z10 ^ z11, t48 = z5 ^ z13, t49 = z9 ^ z10, t50 = z2 ^ z12, t51 = z2 ^ z5;
    Bits t52 = z7 ^ z8, t53 = z0 ^ z3, t54 = z6 ^ z7, t55 = z16 ^ z17, t56 = z12 ^ t48, t57 = t50 ^ t53;
    Bits t58 = z4 ^ t46, t59 = z3 ^ t54, t60 = t46 ^ t57, t61 = z14 ^ t57, t62 = t52 ^ t58, t63 = t49 ^ t58;
    Bits t64 = z4 ^ t59, t65 = t61 ^ t62, t66 = z1 ^ t63, s3 = t53 ^ t66, t67 = t64 ^ t65;
    q[7] = t59 ^ t63;
    q[6] = t64 ^ ~s3;
    q[5] = t55 ^ ~t67;
    q[4] = s3;
    q[3] = t51 ^ t66;
    q[2] = t47 ^ t65;
    q[1] = t56 ^ ~t62;
    q[0] = t48 ^ ~t60;
}

std::uint8_t substituted(std::uint8_t x) {
    std::uint8_t bits[8], out = 0;
    for (int k = 0; k < 8; ++k) bits[k] = x >> k & 1;
    substitute(bits);
    for (int k = 0; k < 8; ++k) out |= static_cast<std::uint8_t>((bits[k] & 1) << k);
    return out;
}

// Portable: 128 blocks at once, one vector for each of the 128 bits of a block.
typedef std::uint64_t Plane __attribute__((vector_size(16)));
constexpr std::size_t planes_wide = 128;

// The 64 x 64 matrix of bits turned over (Warren, Hacker's Delight, section 7-3).
void transpose(std::uint64_t* rows) {
    std::uint64_t mask = 0x00000000ffffffff;
    for (unsigned j = 32; j; j >>= 1, mask ^= mask << j)
        for (unsigned k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            std::uint64_t t = (rows[k] >> j ^ rows[k | j]) & mask;
            rows[k] ^= t << j;
            rows[k | j] ^= t;
        }
}

struct Bitsliced {
    Plane bits[16][8];  // by byte of the block and bit of the byte

    ~Bitsliced() { wipe(bits, sizeof bits); }

    void take(const std::uint8_t* in) {
        std::uint64_t rows[64];
        for (int half = 0; half < 2; ++half)
            for (int word = 0; word < 2; ++word) {
                for (int i = 0; i < 64; ++i) std::memcpy(&rows[i], in + 16 * (64 * half + i) + 8 * word, 8);
                transpose(rows);
                for (int i = 0; i < 64; ++i) bits[8 * word + i / 8][i % 8][half] = rows[i];
            }
        wipe(rows, sizeof rows);
    }
    void give(std::uint8_t* out) const {
        std::uint64_t rows[64];
        for (int half = 0; half < 2; ++half)
            for (int word = 0; word < 2; ++word) {
                for (int i = 0; i < 64; ++i) rows[i] = bits[8 * word + i / 8][i % 8][half];
                transpose(rows);
                for (int i = 0; i < 64; ++i) std::memcpy(out + 16 * (64 * half + i) + 8 * word, &rows[i], 8);
            }
        wipe(rows, sizeof rows);
    }
    void add(const std::uint8_t* round_key) {
        for (int i = 0; i < 16; ++i)
            for (int k = 0; k < 8; ++k) bits[i][k] ^= -static_cast<std::uint64_t>(round_key[i] >> k & 1) - Plane{};
    }
    void substitute_and_shift() {
        Plane next[16][8];
        for (int i = 0; i < 16; ++i) {
            int from = (5 * i) % 16;  // row i % 4 moves by i % 4 columns
            std::memcpy(next[i], bits[from], sizeof next[i]);
            substitute(next[i]);
        }
        std::memcpy(bits, next, sizeof bits);
        wipe(next, sizeof next);
    }
    void mix() {
        for (int column = 0; column < 16; column += 4) {
            Plane all[8], first[8], twice[8];
            for (int k = 0; k < 8; ++k) {
                first[k] = bits[column][k];
                all[k] = bits[column][k] ^ bits[column + 1][k] ^ bits[column + 2][k] ^ bits[column + 3][k];
            }
            for (int i = 0; i < 4; ++i) {  // 2 (x_i + x_{i+1}) + x_i + all
                for (int k = 0; k < 8; ++k) twice[k] = bits[column + i][k] ^ (i < 3 ? bits[column + i + 1][k] : first[k]);
                Plane carry = twice[7];
                for (int k = 7; k > 0; --k) twice[k] = twice[k - 1];
                twice[0] = carry;
                for (int k : {1, 3, 4}) twice[k] ^= carry;
                for (int k = 0; k < 8; ++k) bits[column + i][k] ^= twice[k] ^ all[k];
            }
        }
    }
};

void encrypt_portable(const std::uint8_t (*round_keys)[16], const std::uint8_t* in, std::size_t count, std::uint8_t* out) {
    std::uint8_t padded[16 * planes_wide] = {};
    Bitsliced state;
    for (std::size_t at = 0; at < count; at += planes_wide) {
        std::size_t piece = std::min(planes_wide, count - at);
        std::memcpy(padded, in + 16 * at, 16 * piece);
        state.take(padded);
        state.add(round_keys[0]);
        for (int round = 1; round < 11; ++round) {
            state.substitute_and_shift();
            if (round < 10) state.mix();
            state.add(round_keys[round]);
        }
        state.give(padded);
        std::memcpy(out + 16 * at, padded, 16 * piece);
    }
    wipe(padded, sizeof padded);
}

#if defined(FEDBANK_X86)
// Eight blocks abreast hide the latency of a round.
__attribute__((target("aes,sse4.1"))) void encrypt_aes(const std::uint8_t (*round_keys)[16], const std::uint8_t* in,
                                                       std::size_t count, std::uint8_t* out) {
    constexpr std::size_t abreast = 8;
    __m128i keys[11];
    std::memcpy(keys, round_keys, sizeof keys);
    for (std::size_t at = 0; at < count; at += abreast) {
        std::size_t piece = std::min(abreast, count - at);
        __m128i x[abreast] = {};
        if (piece == abreast)
            std::memcpy(x, in + 16 * at, sizeof x);
        else
            std::memcpy(x, in + 16 * at, 16 * piece);
        for (auto& block : x) block = _mm_xor_si128(block, keys[0]);
        for (int round = 1; round < 10; ++round)
            for (auto& block : x) block = _mm_aesenc_si128(block, keys[round]);
        for (auto& block : x) block = _mm_aesenclast_si128(block, keys[10]);
        if (piece == abreast)
            std::memcpy(out + 16 * at, x, sizeof x);
        else
            std::memcpy(out + 16 * at, x, 16 * piece);
    }
}
#endif

}  // namespace

Aes128::Aes128(const std::uint8_t key[16]) {
    std::memcpy(round_keys_[0], key, 16);
    std::uint8_t constant = 1;
    for (int round = 1; round < 11; ++round) {
        const std::uint8_t* old = round_keys_[round - 1];
        std::uint8_t* next = round_keys_[round];
        for (int i = 0; i < 4; ++i) next[i] = old[i] ^ substituted(old[12 + (i + 1) % 4]);
        next[0] ^= constant;
        for (int i = 4; i < 16; ++i) next[i] = old[i] ^ next[i - 4];
        constant = static_cast<std::uint8_t>(constant << 1 ^ (constant >> 7) * 0x1b);
    }
}

Aes128::~Aes128() { wipe(round_keys_, sizeof round_keys_); }

void Aes128::encrypt(const std::uint8_t* in, std::size_t count, std::uint8_t* out) const {
#if defined(FEDBANK_X86)
    if (instructions().aes) return encrypt_aes(round_keys_, in, count, out);
#endif
    encrypt_portable(round_keys_, in, count, out);
}

}  // namespace fedbank
