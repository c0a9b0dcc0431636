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
#endif

}  // namespace

const Gf128Loops& gf128_loops() {
    static const Gf128Loops portable{multiply_portable, add_powers_portable};
#if defined(FEDBANK_X86)
    static const Gf128Loops clmul{multiply_one_clmul, add_powers_clmul};
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
