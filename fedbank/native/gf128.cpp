#include "gf128.hpp"

#include <cstring>

#include "cpu.hpp"

namespace fedbank {
namespace {

void add_powers_portable(const Gf128* x, std::size_t count, const Gf128* y, std::size_t powers, Gf128* out) {
    for (std::size_t i = 0; i < count; ++i) {
        Gf128 sum{};
        for (std::size_t j = powers; j-- > 0;) sum = multiply_portable(sum ^ y[j], x[i]);
        out[i] ^= sum;
    }
}

#if defined(FEDBANK_X86)
__attribute__((target("pclmul,sse4.1"))) Gf128 multiply_one_clmul(Gf128 x, Gf128 y) {
    __m128i a, b;
    std::memcpy(&a, &x, 16);
    std::memcpy(&b, &y, 16);
    a = multiply_clmul(a, b);
    std::memcpy(&x, &a, 16);
    return x;
}

// Four sums abreast hide the latency of the products.
__attribute__((target("pclmul,sse4.1"))) void add_powers_clmul(const Gf128* x, std::size_t count, const Gf128* y,
                                                               std::size_t powers, Gf128* out) {
    std::size_t i = 0;
    for (; i + 4 <= count; i += 4) {
        __m128i at[4], sum[4];
        for (int k = 0; k < 4; ++k) std::memcpy(&at[k], x + i + k, 16), sum[k] = _mm_setzero_si128();
        for (std::size_t j = powers; j-- > 0;) {
            __m128i next;
            std::memcpy(&next, y + j, 16);
            for (int k = 0; k < 4; ++k) sum[k] = multiply_clmul(_mm_xor_si128(sum[k], next), at[k]);
        }
        for (int k = 0; k < 4; ++k) {
            __m128i old;
            std::memcpy(&old, out + i + k, 16);
            old = _mm_xor_si128(old, sum[k]);
            std::memcpy(out + i + k, &old, 16);
        }
    }
    for (; i < count; ++i) {
        Gf128 sum{};
        for (std::size_t j = powers; j-- > 0;) sum = multiply_one_clmul(sum ^ y[j], x[i]);
        out[i] ^= sum;
    }
}

#define FEDBANK_WIDE_CLMUL __attribute__((target("vpclmulqdq,avx512f,avx512bw"), always_inline)) inline

// Four products; the steps are those of `multiply_clmul`.
FEDBANK_WIDE_CLMUL __m512i multiply_wide(__m512i x, __m512i y) {
    const __m512i modulus = _mm512_set1_epi64(0x87);
    __m512i low = _mm512_clmulepi64_epi128(x, y, 0x00), high = _mm512_clmulepi64_epi128(x, y, 0x11);
    __m512i middle = _mm512_xor_si512(_mm512_clmulepi64_epi128(x, y, 0x01), _mm512_clmulepi64_epi128(x, y, 0x10));
    middle = _mm512_xor_si512(middle, _mm512_clmulepi64_epi128(high, modulus, 0x01));
    low = _mm512_xor_si512(low, _mm512_bslli_epi128(middle, 8));
    high = _mm512_xor_si512(high, _mm512_bsrli_epi128(middle, 8));  // the lower word is meant
    return _mm512_xor_si512(low, _mm512_clmulepi64_epi128(high, modulus, 0x00));
}

__attribute__((target("vpclmulqdq,avx512f,avx512bw"))) void add_powers_wide(const Gf128* x, std::size_t count,
                                                                            const Gf128* y, std::size_t powers,
                                                                            Gf128* out) {
    std::size_t i = 0;
    for (; i + 16 <= count; i += 16) {
        __m512i at[4], sum[4];
        for (int k = 0; k < 4; ++k) std::memcpy(&at[k], x + i + 4 * k, 64), sum[k] = _mm512_setzero_si512();
        for (std::size_t j = powers; j-- > 0;) {
            __m128i one;
            std::memcpy(&one, y + j, 16);
            __m512i next = _mm512_broadcast_i32x4(one);
            for (int k = 0; k < 4; ++k) sum[k] = multiply_wide(_mm512_xor_si512(sum[k], next), at[k]);
        }
        for (int k = 0; k < 4; ++k) {
            __m512i old;
            std::memcpy(&old, out + i + 4 * k, 64);
            old = _mm512_xor_si512(old, sum[k]);
            std::memcpy(static_cast<void*>(out + i + 4 * k), &old, 64);
        }
    }
    add_powers_clmul(x + i, count - i, y, powers, out + i);
}
#endif

}  // namespace

const Gf128Loops& gf128_loops() {
    static const Gf128Loops portable{multiply_portable, add_powers_portable};
#if defined(FEDBANK_X86)
    static const Gf128Loops clmul{multiply_one_clmul, add_powers_clmul};
    static const Gf128Loops wide{multiply_one_clmul, add_powers_wide};
    if (instructions().wide_clmul) return wide;
    if (instructions().clmul) return clmul;
#endif
    return portable;
}

Gf128 inverse(Gf128 x) {
    const auto multiply = gf128_loops().multiply;
    Gf128 power = x, product{1, 0};
    for (int i = 1; i < 128; ++i) {
        power = multiply(power, power);  // x^(2^i)
        product = multiply(product, power);
    }
    return product;
}

}  // namespace fedbank
