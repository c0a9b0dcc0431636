// Polynomials modulo X^size + 1: transforms modulo primes of up to 49 bits, and products modulo 2^64.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels.hpp"
#include "sampler.hpp"

namespace fedbank {

using Residues = Aligned<double>;  // entries of one polynomial modulo one prime, near zero

std::uint64_t power_modulo(std::uint64_t base, std::uint64_t exponent, std::uint64_t p);
std::uint64_t inverse_modulo(std::uint64_t x, std::uint64_t p);

// The transform of one size modulo one prime p = 1 mod 2 size, p < 2^49. Source: Longa and Naehrig 2016 (order of the
// roots), Harvey 2014 (lazy reduction), here in floating point with exact error terms.
class Ring {
public:
    Ring(std::uint64_t p, std::size_t size);  // throws std::invalid_argument if p does not fit
    std::uint64_t p() const { return modulus_.p; }
    std::size_t size() const { return roots_.size; }
    unsigned layers() const { return layers_; }
    const Barrett& barrett() const { return modulus_; }

    void forward(double* x) const { kernels().forward(x, roots_, layers_); }
    void inverse(double* x) const { kernels().inverse(x, roots_, layers_); }
    void forward(double* x, unsigned layers) const { kernels().forward(x, roots_, layers); }
    void inverse(double* x, unsigned layers) const { kernels().inverse(x, roots_, layers); }
    void multiply(double* out, const double* x, const double* y) const {
        kernels().multiply(out, x, y, roots_.size, roots_.p);
    }
    void canonical(std::uint64_t* out, const double* x, std::size_t count) const {
        kernels().canonical(out, x, count, roots_.p);
    }
    // A number as a residue near zero.
    double residue(std::int64_t x) const;
    double residue(std::uint64_t x) const;

private:
    Roots roots_;
    Barrett modulus_;
    unsigned layers_;
};

// The ring of one size and prime, made once.
std::shared_ptr<const Ring> ring(std::uint64_t p, std::size_t size);

// Products of small with arbitrary polynomials modulo 2^64, exact by the Chinese remainder theorem over two primes.
class WordRing {
public:
    using Pair = std::array<Secret<double>, 2>;  // one of the factors is
    explicit WordRing(std::size_t size);
    std::size_t size() const { return rings_[0]->size(); }
    Pair transform(const std::uint64_t* words) const;  // entries as signed 64-bit numbers
    Pair transform(const std::int8_t* small) const;
    // out = x y modulo 2^64, for a product whose true entries stay below 2^96.
    void multiply(std::uint64_t* out, const double* x0, const double* x1, const Pair& y) const;

private:
    std::array<std::shared_ptr<const Ring>, 2> rings_;
    double first_inverse_;  // of the first prime modulo the second
};

std::shared_ptr<const WordRing> word_ring(std::size_t size);

}  // namespace fedbank
