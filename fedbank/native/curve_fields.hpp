// Numbers modulo p = 2^255 - 19, as many at once as an instruction set has 64-bit lanes. All of it is without branches
// and addresses that depend on a number.
//
//             lanes   limbs                 product of limbs
//   AVX-512   8       5 of 51 bits          vpmadd52luq, vpmadd52huq
//   AVX2      4       10 of 26 and 25 bits  vpmuludq
//   portable  1       5 of 51 bits          unsigned __int128
//
// A `Product` is what multiplications give, an `Element` what they take. Limbs need not be in their range of w bits:
//
//             Product            Element
//   AVX-512   below 2^59         below 2^51 + 2^15 (and so in the 52 bits that the instructions read)
//   AVX2      below 2^59         below 2^26 + 2^20
//   portable  below 2^52         below 2^55
//
// `plus` and `minus` take both, and what `minus` subtracts may be a sum of two products besides.
#pragma once
#include "lanes.hpp"

namespace fedbank {
namespace {

constexpr std::size_t lanes = Lanes::width;
#define FEDBANK_INLINE static inline __attribute__((always_inline))

#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr std::size_t limbs = 10;
#else
constexpr std::size_t limbs = 5;
#endif

// The limb i stands for 2^start(i); it is the multiple of 255 / limbs, rounded up.
constexpr std::size_t start(std::size_t i) { return limbs == 5 ? 51 * i : (51 * i + 1) / 2; }
constexpr std::size_t width(std::size_t i) { return start(i + 1) - start(i); }
constexpr std::uint64_t full(std::size_t i) { return (std::uint64_t{1} << width(i)) - 1; }

struct Product {
    Word limb[limbs];
};
struct Element : Product {};  // one whose limbs are small enough to be multiplied

FEDBANK_INLINE Word word(std::uint64_t x) { return x - Word{}; }
FEDBANK_INLINE Word nineteen(Word x) { return (x << 4) + (x << 1) + x; }

// All bits of a lane, or none.
using Mask = Word;

#if defined(__AVX512F__)

FEDBANK_INLINE Word low(Word sum, Word x, Word y) {
    return (Word)_mm512_madd52lo_epu64((__m512i)sum, (__m512i)x, (__m512i)y);
}
FEDBANK_INLINE Word high(Word sum, Word x, Word y) {
    return (Word)_mm512_madd52hi_epu64((__m512i)sum, (__m512i)x, (__m512i)y);
}
FEDBANK_INLINE Word choose(Mask mask, Word yes, Word no) {
    return (Word)_mm512_ternarylogic_epi64((__m512i)mask, (__m512i)yes, (__m512i)no, 0xca);
}
FEDBANK_INLINE Mask is_zero(Word x) { return (Word)_mm512_movm_epi64(_mm512_testn_epi64_mask((__m512i)x, (__m512i)x)); }
template <int bits>
FEDBANK_INLINE Word rotated(Word x) {
    return (Word)_mm512_maskz_ror_epi64(0xff, (__m512i)x, bits);  // the other form warns in GCC 12
}

// The limbs of 2^9 p.
constexpr std::uint64_t above(std::size_t i) { return (full(i) - (i ? 0 : 18)) << 9; }

FEDBANK_INLINE Element carried(const Product& x) {
    Element out;
    Word top = x.limb[4] >> 51;
    out.limb[0] = low(x.limb[0] & word(full(0)), top, word(19));
    for (std::size_t i = 1; i < 5; ++i) out.limb[i] = (x.limb[i] & word(full(i))) + (x.limb[i - 1] >> 51);
    return out;
}

FEDBANK_INLINE Product folded(const Word (&sum)[10]) {
    Product out;
    for (std::size_t i = 0; i < 5; ++i) out.limb[i] = sum[i] + sum[i + 5] * 19;
    return out;
}

// The upper parts of the products of limbs weigh 2^52, which is twice what the next column does.
FEDBANK_INLINE Product times(const Element& x, const Element& y) {
    Word sum[10] = {};
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i)
#pragma GCC unroll 5
        for (std::size_t j = 0; j < 5; ++j) sum[i + j + 1] = high(sum[i + j + 1], x.limb[i], y.limb[j]);
#pragma GCC unroll 10
    for (std::size_t k = 1; k < 10; ++k) sum[k] += sum[k];
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i)
#pragma GCC unroll 5
        for (std::size_t j = 0; j < 5; ++j) sum[i + j] = low(sum[i + j], x.limb[i], y.limb[j]);
    return folded(sum);
}

FEDBANK_INLINE Product square(const Element& x) {
    Word sum[10] = {};
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i)
#pragma GCC unroll 5
        for (std::size_t j = i + 1; j < 5; ++j) sum[i + j + 1] = high(sum[i + j + 1], x.limb[i], x.limb[j]);
#pragma GCC unroll 10
    for (std::size_t k = 2; k < 9; ++k) sum[k] += sum[k];
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i) sum[2 * i + 1] = high(sum[2 * i + 1], x.limb[i], x.limb[i]);
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i)
#pragma GCC unroll 5
        for (std::size_t j = i + 1; j < 5; ++j) sum[i + j] = low(sum[i + j], x.limb[i], x.limb[j]);
#pragma GCC unroll 10
    for (std::size_t k = 1; k < 10; ++k) sum[k] += sum[k];
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i) sum[2 * i] = low(sum[2 * i], x.limb[i], x.limb[i]);
    return folded(sum);
}

// factor x + y for a factor below 2^17.
FEDBANK_INLINE Product times_small(std::uint64_t factor, const Element& x, const Element& y) {
    Word small = word(factor), upper[5];
    for (std::size_t i = 0; i < 5; ++i) upper[i] = high(Word{}, x.limb[i], small);
    Product out;
    out.limb[0] = low(low(y.limb[0], upper[4], word(38)), x.limb[0], small);
    for (std::size_t i = 1; i < 5; ++i) out.limb[i] = low(y.limb[i] + upper[i - 1] + upper[i - 1], x.limb[i], small);
    return out;
}

#elif defined(__AVX2__)

FEDBANK_INLINE Word half_product(Word x, Word y) { return (Word)_mm256_mul_epu32((__m256i)x, (__m256i)y); }
FEDBANK_INLINE Word choose(Mask mask, Word yes, Word no) { return no ^ ((yes ^ no) & mask); }
FEDBANK_INLINE Mask is_zero(Word x) { return (Word)_mm256_cmpeq_epi64((__m256i)x, __m256i{}); }
template <int bits>
FEDBANK_INLINE Word rotated(Word x) {
    return (x >> bits) | (x << (64 - bits));
}

constexpr std::uint64_t above(std::size_t i) { return (full(i) - (i ? 0 : 18)) << 34; }  // the limbs of 2^34 p

// Two chains of carries at once.
FEDBANK_INLINE Element carried(const Product& x) {
    Element out;
    for (std::size_t i = 0; i < 10; ++i) out.limb[i] = x.limb[i];
    auto carry = [&](std::size_t i) __attribute__((always_inline)) {
        Word upper = out.limb[i] >> width(i);
        out.limb[i] &= word(full(i));
        out.limb[(i + 1) % 10] += i == 9 ? nineteen(upper) : upper;
    };
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i) carry(i), carry(i + 5);
    carry(0), carry(5);
    return out;
}

// Two limbs of 25 bits weigh twice what their column does; columns beyond the last come back 19 times.
FEDBANK_INLINE Product times(const Element& x, const Element& y) {
    Word back[10];
    for (std::size_t j = 1; j < 10; ++j) back[j] = half_product(y.limb[j], word(19));
    Product out{};
#pragma GCC unroll 10
    for (std::size_t i = 0; i < 10; ++i) {
        Word one = x.limb[i], two = one + one;
#pragma GCC unroll 10
        for (std::size_t j = 0; j < 10; ++j)
            out.limb[(i + j) % 10] += half_product(i % 2 && j % 2 ? two : one, i + j < 10 ? y.limb[j] : back[j]);
    }
    return out;
}

FEDBANK_INLINE Product square(const Element& x) {
    Word back[10];
    for (std::size_t j = 5; j < 10; ++j) back[j] = half_product(x.limb[j], word(19));
    Product out{};
#pragma GCC unroll 10
    for (std::size_t i = 0; i < 10; ++i) {
        Word one = x.limb[i], two = one + one, four = two + two;
#pragma GCC unroll 10
        for (std::size_t j = i; j < 10; ++j) {
            bool odd = i % 2 && j % 2, mixed = i != j;
            out.limb[(i + j) % 10] += half_product(odd && mixed ? four : odd || mixed ? two : one, i + j < 10 ? x.limb[j] : back[j]);
        }
    }
    return out;
}

FEDBANK_INLINE Product times_small(std::uint64_t factor, const Element& x, const Element& y) {
    Product out;
    for (std::size_t i = 0; i < 10; ++i) out.limb[i] = y.limb[i] + half_product(x.limb[i], word(factor));
    return out;
}

#else

FEDBANK_INLINE Word choose(Mask mask, Word yes, Word no) { return no ^ ((yes ^ no) & mask); }
FEDBANK_INLINE Mask is_zero(Word x) {
    Mask mask = ((x | (0 - x)) >> 63) - 1;
    __asm__("" : "+r"(mask));  // or the compiler might see a condition in it, and make it a branch
    return mask;
}
template <int bits>
FEDBANK_INLINE Word rotated(Word x) {
    return (x >> bits) | (x << (64 - bits));
}

constexpr std::uint64_t above(std::size_t i) { return (full(i) - (i ? 0 : 18)) << 4; }  // the limbs of 16 p

FEDBANK_INLINE Element carried(const Product& x) { return {x}; }  // nothing to do
FEDBANK_INLINE Element settled(const Product& x) {
    Element out;
    out.limb[0] = (x.limb[0] & full(0)) + 19 * (x.limb[4] >> 51);
    for (std::size_t i = 1; i < 5; ++i) out.limb[i] = (x.limb[i] & full(i)) + (x.limb[i - 1] >> 51);
    return out;
}

using Wide = unsigned __int128;

FEDBANK_INLINE Product folded(Wide (&sum)[5]) {
    Product out;
    for (std::size_t i = 0; i < 4; ++i) {
        out.limb[i] = static_cast<Word>(sum[i]) & full(i);
        sum[i + 1] += sum[i] >> 51;
    }
    out.limb[4] = static_cast<Word>(sum[4]) & full(4);
    Wide first = out.limb[0] + (sum[4] >> 51) * 19;
    out.limb[0] = static_cast<Word>(first) & full(0);
    out.limb[1] += static_cast<Word>(first >> 51);
    return out;
}

FEDBANK_INLINE Product times(const Element& x, const Element& y) {
    Wide sum[5] = {};
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i)
#pragma GCC unroll 5
        for (std::size_t j = 0; j < 5; ++j)
            sum[(i + j) % 5] += static_cast<Wide>(x.limb[i]) * (i + j < 5 ? y.limb[j] : 19 * y.limb[j]);
    return folded(sum);
}

FEDBANK_INLINE Product square(const Element& x) {
    Wide sum[5] = {};
#pragma GCC unroll 5
    for (std::size_t i = 0; i < 5; ++i)
#pragma GCC unroll 5
        for (std::size_t j = i; j < 5; ++j)
            sum[(i + j) % 5] += static_cast<Wide>(i == j ? x.limb[i] : 2 * x.limb[i]) * (i + j < 5 ? x.limb[j] : 19 * x.limb[j]);
    return folded(sum);
}

FEDBANK_INLINE Product times_small(std::uint64_t factor, const Element& x, const Element& y) {
    Wide sum[5];
    for (std::size_t i = 0; i < 5; ++i) sum[i] = static_cast<Wide>(x.limb[i]) * factor + y.limb[i];
    return folded(sum);
}

#endif

#if defined(__AVX2__)
FEDBANK_INLINE Element settled(const Product& x) { return carried(x); }
#endif

FEDBANK_INLINE Element plus(const Product& x, const Product& y) {
    Product sum;
    for (std::size_t i = 0; i < limbs; ++i) sum.limb[i] = x.limb[i] + y.limb[i];
    return carried(sum);
}

FEDBANK_INLINE Element minus(const Product& x, const Product& y) {
    Product difference;
    for (std::size_t i = 0; i < limbs; ++i) difference.limb[i] = x.limb[i] + word(above(i)) - y.limb[i];
    return settled(difference);
}

FEDBANK_INLINE Element choose(Mask mask, const Element& yes, const Element& no) {
    Element out;
    for (std::size_t i = 0; i < limbs; ++i) out.limb[i] = choose(mask, yes.limb[i], no.limb[i]);
    return out;
}

FEDBANK_INLINE Element element(std::uint64_t small) { return {{{word(small)}}}; }

// x y and x^2, ready for the next multiplication.
FEDBANK_INLINE Element multiplied(const Element& x, const Element& y) { return carried(times(x, y)); }
FEDBANK_INLINE Element squared(const Element& x) { return carried(square(x)); }

// The bits from 2^first on, of a number in words, least significant first.
template <std::size_t words>
FEDBANK_INLINE Word bits(const Word (&number)[words], std::size_t first, std::size_t count) {
    std::size_t at = first / 64, shift = first % 64;
    Word piece = number[at] >> shift;
    if (shift + count > 64 && at + 1 < words) piece |= number[at + 1] << (64 - shift);
    return piece & word((std::uint64_t{1} << count) - 1);
}

// Of 256 bits the highest is ignored; of more, all bits count: 2^255 is 19.
template <std::size_t words>
static inline Element reduced(const Word (&number)[words]) {
    Product out;
    for (std::size_t i = 0; i < limbs; ++i) {
        out.limb[i] = bits(number, start(i), width(i));
        if (words > 4 && start(i + limbs) < 64 * words) out.limb[i] += nineteen(bits(number, start(i + limbs), width(i)));
    }
    return carried(out);
}

struct Canonical {
    Word word[4];
};

// Limbs to their range, by one carry after the other; what the last one carries out.
static inline Word carry_out(Element& x) {
    for (std::size_t i = 0; i + 1 < limbs; ++i) {
        x.limb[i + 1] += x.limb[i] >> width(i);
        x.limb[i] &= word(full(i));
    }
    Word top = x.limb[limbs - 1] >> width(limbs - 1);
    x.limb[limbs - 1] &= word(full(limbs - 1));
    return top;
}

// The number in [0, p).
static inline Canonical canonical(const Product& x) {
    Element rest = carried(x);
    for (int round = 0; round < 2; ++round) rest.limb[0] += nineteen(carry_out(rest));  // now below 2^255
    Element more = rest;
    more.limb[0] += word(19);
    rest.limb[0] += nineteen(carry_out(more));  // 1 from p on: 19 more, and 2^255 falls off
    carry_out(rest);
    Canonical out{};
    for (std::size_t i = 0; i < limbs; ++i) {
        std::size_t at = start(i) / 64, shift = start(i) % 64;
        out.word[at] |= rest.limb[i] << shift;
        if (shift + width(i) > 64) out.word[at + 1] |= rest.limb[i] >> (64 - shift);
    }
    return out;
}

}  // namespace
}  // namespace fedbank
