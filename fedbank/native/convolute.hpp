// Expand-convolute codes (Raghuraman, Rindal and Tanguy 2023, eprint 2023/882): from N noisy numbers to k <= N / 2 that
// look random, the product with a public k x N matrix B C.
//
// C, the convolution: y_i = x_i + m y_(i-1) + sum of taps over y_(i-25) ... y_(i-2), with 24 random tap bits a step. Tap bit
// s of step i belongs to the y_j of that span with j = s modulo 24. m is 1, or X in GF(2^128) for a code with mixing: a
// binary code over a large field lets the coordinates of the noise be decoded together (interleaved decoding).
// B, the expander, is regular: output o adds up one number from each of 21 regions of y, at random offsets.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gf128.hpp"
#include "kernels.hpp"
#include "sampler.hpp"

namespace fedbank {

using Block = Gf128;  // an element of the field, or any 128 bits

inline Block times_x(const Block& b) { return {(b.low << 1) ^ ((b.high >> 63) * 0x87), (b.high << 1) | (b.low >> 63)}; }

class Code {
public:
    static constexpr std::size_t memory = 24;
    static constexpr std::size_t weight = 21;

    Code(const Key& seed, std::size_t inputs, std::size_t outputs, bool mixing);

    std::size_t inputs() const { return taps_.size(); }
    std::size_t outputs() const { return outputs_; }
    bool mixing() const { return mixing_; }
    // Both destroy the input. `small` numbers have up to eight bits and are for codes without mixing.
    void encode(Block* x, unsigned threads, Block* out) const;
    void encode(std::uint8_t* small, unsigned threads, std::uint8_t* out) const;

private:
    template <class T>
    void expand(const T* y, unsigned threads, T* out) const;
    std::size_t region(std::size_t r) const { return r * inputs() / weight; }

    std::size_t outputs_;
    bool mixing_;
    std::vector<std::uint32_t> taps_;     // one a step
    std::vector<std::uint16_t> offsets_;  // by region, then output
};

}  // namespace fedbank
