// Vector types of one instruction set, as GCC vector extensions. A kernel is written once over a `Lanes` type and compiled
// for eight lanes (AVX-512), four (AVX2 with FMA) and one (portable); all three give the same numbers.
#pragma once
#include <cstddef>
#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace fedbank {
namespace {  // each instruction set has its own copies

#define FEDBANK_VECTOR(type, bytes) typedef type __attribute__((vector_size(bytes)))

#if defined(__AVX512F__)
struct Lanes {
    static constexpr std::size_t width = 8;
    FEDBANK_VECTOR(double, 64) Real;
    FEDBANK_VECTOR(std::int64_t, 64) Index;
    FEDBANK_VECTOR(std::uint64_t, 64) Word;
    FEDBANK_VECTOR(std::uint32_t, 64) Small;
    FEDBANK_VECTOR(std::int32_t, 64) Place;
    static Real fma(Real x, Real y, Real z) { return (Real)_mm512_fmadd_pd((__m512d)x, (__m512d)y, (__m512d)z); }
};
#elif defined(__AVX2__)
struct Lanes {
    static constexpr std::size_t width = 4;
    FEDBANK_VECTOR(double, 32) Real;
    FEDBANK_VECTOR(std::int64_t, 32) Index;
    FEDBANK_VECTOR(std::uint64_t, 32) Word;
    FEDBANK_VECTOR(std::uint32_t, 32) Small;
    FEDBANK_VECTOR(std::int32_t, 32) Place;
    static Real fma(Real x, Real y, Real z) { return (Real)_mm256_fmadd_pd((__m256d)x, (__m256d)y, (__m256d)z); }
};
#else
struct Lanes {
    static constexpr std::size_t width = 1;
    using Real = double;
    using Index = std::int64_t;
    using Word = std::uint64_t;
    FEDBANK_VECTOR(std::uint32_t, 16) Small;
    FEDBANK_VECTOR(std::int32_t, 16) Place;
};
#endif

using Real = Lanes::Real;
using Word = Lanes::Word;

static inline Real real(double x) { return x - Real{}; }
// Unaligned; one instruction each.
template <class T> static inline T load(const void* at) {
    T value;
    __builtin_memcpy(&value, at, sizeof value);
    return value;
}
#if defined(__clang__)
// GCC's built-in of this name.
template <class Vector, class Places>
static inline Vector __builtin_shuffle(Vector first, Vector second, Places places) {
    constexpr std::size_t width = sizeof(Places) / sizeof(places[0]);
    Vector out{};
    for (std::size_t i = 0; i < width; ++i) {
        auto place = static_cast<std::size_t>(places[i]);
        out[i] = place < width ? first[place] : second[place - width];
    }
    return out;
}
#endif
template <class T> static inline void store(void* at, T value) { __builtin_memcpy(at, &value, sizeof value); }

// The nearest integer of |x| <= 2^51, by the addition that pushes the fraction out of the mantissa.
static inline Real nearest(Real x) {
    constexpr double shift = 6755399441055744.0;  // 1.5 * 2^52
    return (x + shift) - shift;
}

#if defined(__AVX2__) || defined(__FMA__) || defined(__aarch64__)
// x * y = high + low, exactly.
static inline void exact_product(Real x, Real y, Real& high, Real& low) {
    high = x * y;
#if defined(__AVX2__)
    low = Lanes::fma(x, y, -high);
#else
    low = __builtin_fma(x, y, -high);
#endif
}
#else
// Dekker 1971: the same without a fused multiplication.
static inline void exact_product(double x, double y, double& high, double& low) {
    constexpr double splitter = 134217729.0;  // 2^27 + 1
    high = x * y;
    double cx = splitter * x, cy = splitter * y;
    double xh = cx - (cx - x), yh = cy - (cy - y);
    double xl = x - xh, yl = y - yh;
    low = ((xh * yh - high) + xh * yl + xl * yh) + xl * yl;
}
#endif

// x y mod p as an integer of absolute value below p, for |x| <= 2^51 and |y| <= p / 2 < 2^48; y_over_p is y / p rounded.
static inline Real product_modulo(Real x, Real y, Real y_over_p, Real p) {
    Real high, low, near, rest;
    Real quotient = nearest(x * y_over_p);
    exact_product(x, y, high, low);
    exact_product(quotient, p, near, rest);
    return (high - near) + (low - rest);
}

// The residue of |x| <= 2^51 nearest to zero.
static inline Real tame(Real x, Real p, Real one_over_p) { return x - p * nearest(x * one_over_p); }

}  // namespace
}  // namespace fedbank
