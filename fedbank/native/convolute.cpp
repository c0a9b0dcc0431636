#include "convolute.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "parallel.hpp"

namespace fedbank {

#if defined(FEDBANK_X86)
void convolve_avx512(Block* x, std::size_t count, const std::uint32_t* taps, bool mixing);
void convolve_avx512(std::uint8_t* x, std::size_t count, const std::uint32_t* taps);
#endif

namespace {

// All taps are looked at: the numbers are secret, the taps are not.
void convolve(Block* x, std::size_t count, const std::uint32_t* taps, bool mixing) {
    Block slots[Code::memory] = {};
    Block last = {0, 0}, before = {0, 0};
    for (std::size_t i = 0; i < count; ++i) {
        if (i >= 2) slots[(i - 2) % Code::memory] = before;
        Block sum = x[i] ^ (mixing ? times_x(last) : last);
        for (std::size_t s = 0; s < Code::memory; ++s) {
            std::uint64_t mask = -static_cast<std::uint64_t>((taps[i] >> s) & 1);
            sum.low ^= slots[s].low & mask;
            sum.high ^= slots[s].high & mask;
        }
        before = last;
        last = x[i] = sum;
    }
    wipe(slots, sizeof slots);
}

void convolve(std::uint8_t* x, std::size_t count, const std::uint32_t* taps) {
    std::uint8_t slots[Code::memory] = {};
    std::uint8_t last = 0, before = 0;
    for (std::size_t i = 0; i < count; ++i) {
        if (i >= 2) slots[(i - 2) % Code::memory] = before;
        auto sum = static_cast<std::uint8_t>(x[i] ^ last);
        for (std::size_t s = 0; s < Code::memory; ++s)
            sum = static_cast<std::uint8_t>(sum ^ (slots[s] & -((taps[i] >> s) & 1)));
        before = last;
        last = x[i] = sum;
    }
    wipe(slots, sizeof slots);
}

}  // namespace

Code::Code(const Key& seed, std::size_t inputs, std::size_t outputs, bool mixing)
    : outputs_(outputs), mixing_(mixing) {
    if (outputs < 1 || outputs > inputs / 2 || inputs < 4 * weight || inputs / weight >= 65536)
        throw std::invalid_argument("A code has twice as many inputs as outputs or more, 84 to 1,376,255.");
    taps_.resize(inputs);
    offsets_.resize(weight * outputs);
    Stream steps(seed, Purpose::code_taps, 0);
    for (auto& tap : taps_) tap = static_cast<std::uint32_t>(steps.word()) & 0xffffff;
    Stream places(seed, Purpose::code_places, 0);
    for (std::size_t r = 0; r < weight; ++r) {
        std::uint64_t size = region(r + 1) - region(r);
        std::uint64_t word = 0;
        for (std::size_t o = 0; o < outputs; ++o) {  // 32 random bits an offset: a bias below 2^-16, of a public choice
            word = o % 2 ? word >> 32 : places.word();
            offsets_[r * outputs + o] = static_cast<std::uint16_t>(((word & 0xffffffff) * size) >> 32);
        }
    }
}

void Code::encode(Block* x, unsigned threads, Block* out) const {
#if defined(FEDBANK_X86)
    if (std::strcmp(kernels().name, "avx512") == 0)
        convolve_avx512(x, inputs(), taps_.data(), mixing_);
    else
#endif
        convolve(x, inputs(), taps_.data(), mixing_);
    expand(x, threads, out);
}

void Code::encode(std::uint8_t* small, unsigned threads, std::uint8_t* out) const {
    if (mixing_) throw std::invalid_argument("A code with mixing needs the field.");
#if defined(FEDBANK_X86)
    if (std::strcmp(kernels().name, "avx512") == 0)
        convolve_avx512(small, inputs(), taps_.data());
    else
#endif
        convolve(small, inputs(), taps_.data());
    expand(small, threads, out);
}

// Three regions at a time: their numbers stay in the second cache, and the outputs pass seven times instead of 21.
template <class T>
void Code::expand(const T* y, unsigned threads, T* out) const {
    static_assert(weight % 3 == 0);
    std::size_t pieces = threads > 1 ? threads : 1;
    in_parallel(pieces, threads, [&](std::size_t piece) {
        std::size_t first = piece * outputs_ / pieces, end = (piece + 1) * outputs_ / pieces;
        for (std::size_t r = 0; r < weight; r += 3) {
            const T *a = y + region(r), *b = y + region(r + 1), *c = y + region(r + 2);
            const std::uint16_t *p = &offsets_[r * outputs_], *q = p + outputs_, *s = q + outputs_;
            for (std::size_t o = first; o < end; ++o) {
                T sum = static_cast<T>(a[p[o]] ^ b[q[o]] ^ c[s[o]]);
                out[o] = r == 0 ? sum : static_cast<T>(out[o] ^ sum);
            }
        }
    });
}

}  // namespace fedbank
