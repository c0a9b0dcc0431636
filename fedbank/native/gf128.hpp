// The field GF(2^128) = GF(2)[X] / (X^128 + X^7 + X^2 + X + 1). Bit i of the 128 is the coefficient of X^i; an element
// stands in memory as its two 64-bit words, the lower first, little-endian.
#pragma once
#include <cstddef>
#include <cstdint>
#if defined(FEDBANK_X86)
#include <immintrin.h>
#endif

namespace fedbank {

struct Gf128 {
    std::uint64_t low, high;
    bool operator==(const Gf128&) const = default;
    Gf128& operator^=(const Gf128& other) {
        low ^= other.low;
        high ^= other.high;
        return *this;
    }
    Gf128 operator^(const Gf128& other) const { return {low ^ other.low, high ^ other.high}; }
    bool is_zero() const { return !(low | high); }
};

namespace {  // each translation unit has its own copies, compiled for its own instructions

// The lower half of a product of polynomials over GF(2). Four integer products a word keep three zero bits between any
// two bits of it, so that no carry reaches the next one (Pornin, BearSSL, ghash_ctmul64). No tables, no branches.
inline std::uint64_t carryless_low(std::uint64_t x, std::uint64_t y) {
    constexpr std::uint64_t ones = 0x1111111111111111;
    std::uint64_t a[4], b[4], sum = 0;
    for (int k = 0; k < 4; ++k) a[k] = x & ones << k, b[k] = y & ones << k;
    for (int k = 0; k < 4; ++k)
        sum |= (a[0] * b[k] ^ a[1] * b[(k + 3) % 4] ^ a[2] * b[(k + 2) % 4] ^ a[3] * b[(k + 1) % 4]) & ones << k;
    return sum;
}

inline std::uint64_t reversed(std::uint64_t x) {
    x = (x & 0x5555555555555555) << 1 | (x >> 1 & 0x5555555555555555);
    x = (x & 0x3333333333333333) << 2 | (x >> 2 & 0x3333333333333333);
    x = (x & 0x0f0f0f0f0f0f0f0f) << 4 | (x >> 4 & 0x0f0f0f0f0f0f0f0f);
    return __builtin_bswap64(x);
}

inline Gf128 carryless(std::uint64_t x, std::uint64_t y) {
    return {carryless_low(x, y), reversed(carryless_low(reversed(x), reversed(y))) >> 1};
}

// X^128 = X^7 + X^2 + X + 1: what the word `high` at X^128 adds to the two words at 1 and X^64.
inline Gf128 folded(std::uint64_t high) {
    return {high ^ high << 1 ^ high << 2 ^ high << 7, high >> 63 ^ high >> 62 ^ high >> 57};
}

inline Gf128 multiply_portable(Gf128 x, Gf128 y) {
    Gf128 low = carryless(x.low, y.low), high = carryless(x.high, y.high);
    Gf128 middle = carryless(x.low ^ x.high, y.low ^ y.high) ^ low ^ high;  // Karatsuba
    Gf128 top = folded(high.high);
    Gf128 rest = folded(high.low ^ middle.high ^ top.high);
    return {low.low ^ rest.low, low.high ^ middle.low ^ top.low ^ rest.high};
}

#if defined(FEDBANK_X86)
__attribute__((target("pclmul,sse4.1"), always_inline)) inline __m128i multiply_clmul(__m128i x, __m128i y) {
    const __m128i modulus = _mm_set_epi64x(0, 0x87);
    __m128i low = _mm_clmulepi64_si128(x, y, 0x00), high = _mm_clmulepi64_si128(x, y, 0x11);
    __m128i middle = _mm_xor_si128(_mm_clmulepi64_si128(x, y, 0x01), _mm_clmulepi64_si128(x, y, 0x10));
    __m128i top = _mm_clmulepi64_si128(high, modulus, 0x01);  // the word at X^192
    middle = _mm_xor_si128(middle, top);
    low = _mm_xor_si128(low, _mm_slli_si128(middle, 8));
    high = _mm_xor_si128(_mm_move_epi64(high), _mm_srli_si128(middle, 8));  // at X^128, one word
    return _mm_xor_si128(low, _mm_clmulepi64_si128(high, modulus, 0x00));
}
#endif

}  // namespace

// The loops over the field, for the instructions in use.
struct Gf128Loops {
    Gf128 (*multiply)(Gf128 x, Gf128 y);
    // out[i] ^= sum over j of x[i]^(j + 1) y[j], for `powers` of them.
    void (*add_powers)(const Gf128* x, std::size_t count, const Gf128* y, std::size_t powers, Gf128* out);
};
const Gf128Loops& gf128_loops();

// x^(2^128 - 2).
Gf128 inverse(Gf128 x);

}  // namespace fedbank
