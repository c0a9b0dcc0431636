// What the schemes of `rlwe.hpp` and `products.hpp` share: packed residues, public polynomials, the flood, and the switch of a
// ciphertext from Q, a product of primes, to a power of two.
#pragma once
#include <cstdint>
#include <vector>

#include "ring.hpp"
#include "sampler.hpp"

namespace fedbank {

inline unsigned bit_length(std::uint64_t p) { return 64 - static_cast<unsigned>(__builtin_clzll(p)); }
inline std::size_t packed_size(std::size_t count, unsigned bits) { return (count * bits + 7) / 8; }
inline std::size_t run_bytes(std::uint64_t p, std::size_t count) { return packed_size(count, bit_length(p)); }

// `count` numbers of so many bits, one after the other, the lowest bit first; the last byte filled with zeros.
void pack(const std::uint64_t* values, std::size_t count, unsigned bits, std::uint8_t* out);
// Throws std::out_of_range if a value is not below p, or if bits are left over.
void unpack(const std::uint8_t* in, std::size_t count, std::uint64_t p, double* out);
// The same for any numbers, of up to 128 bits.
void pack_wide(const unsigned __int128* values, std::size_t count, unsigned bits, std::uint8_t* out);
void unpack_wide(const std::uint8_t* in, std::size_t count, unsigned bits, unsigned __int128* out);

// Polynomial number `index` of a public seed modulo one prime, entries in [0, p).
void public_polynomial(const Key& seed, Purpose purpose, std::uint64_t index, std::uint64_t p, std::size_t dimension,
                       std::uint64_t* out);
void public_residues(const Key& seed, Purpose purpose, std::uint64_t index, std::uint64_t p, std::size_t dimension,
                     double* out);

// x / Q modulo 1 in units of 2^-96, for x by its residues: the fractions y_i / p_i of the Chinese remainder theorem,
// y_i = x (Q / p_i)^-1 mod p_i. Too small by less than two units a prime of 33 bits or more.
class Fraction {
public:
    Fraction(const std::vector<std::uint64_t>& primes, std::size_t dimension) {
        for (std::uint64_t p : primes) {
            unsigned __int128 others = 1, one = static_cast<unsigned __int128>(1) << (63 + bit_length(p));
            for (std::uint64_t q : primes)
                if (q != p) others = others * (q % p) % p;
            parts_.push_back({ring(p, dimension)->barrett(), inverse_modulo(static_cast<std::uint64_t>(others), p),
                              static_cast<std::uint64_t>(one / p), static_cast<std::uint64_t>(((one % p) << 32) / p)});
        }
    }
    // `residues(k)`: in [0, p_k)
    template <class Residue>
    unsigned __int128 of(Residue residues) const {
        unsigned __int128 sum = 0;
        for (std::size_t k = 0; k < parts_.size(); ++k) {
            const Part& part = parts_[k];
            std::uint64_t y = part.modulus.reduce(static_cast<unsigned __int128>(residues(k)) * part.inverse);
            unsigned __int128 fine = (static_cast<unsigned __int128>(y) * part.low) >> 32;
            unsigned __int128 exact = static_cast<unsigned __int128>(y) * part.high + fine;
            sum += part.modulus.bits < 33 ? exact << (33 - part.modulus.bits) : exact >> (part.modulus.bits - 33);
        }
        return sum;
    }

private:
    struct Part {
        Barrett modulus;
        std::uint64_t inverse, high, low;  // 1 / p in units of 2^-(63 + bits), and 32 bits more
    };
    std::vector<Part> parts_;
};

// round(x 2^bits / Q) modulo 2^bits, bits < 96, from x / Q in units of 2^-96.
inline unsigned __int128 switched(unsigned __int128 fraction, unsigned bits) {
    constexpr unsigned __int128 one = 1;
    return ((fraction + (one << (95 - bits))) >> (96 - bits)) & ((one << bits) - 1);
}

// The sum of four independent uniform integers of [-2^(bits-1), 2^(bits-1)).
inline __int128 flood(Stream& stream, unsigned bits) {
    unsigned __int128 mask = (static_cast<unsigned __int128>(1) << bits) - 1;
    __int128 sum = 0;
    for (int k = 0; k < 4; ++k) {
        unsigned __int128 high = stream.word();
        sum += static_cast<__int128>(((high << 64) | stream.word()) & mask);
    }
    return sum - (static_cast<__int128>(1) << (bits + 1));
}

inline std::uint64_t modulo(__int128 x, const Barrett& modulus) {
    bool negative = x < 0;
    unsigned __int128 distance = negative ? -static_cast<unsigned __int128>(x) : static_cast<unsigned __int128>(x);
    std::uint64_t high = static_cast<std::uint64_t>(distance >> 64) % modulus.p;
    std::uint64_t shifted = modulus.reduce(static_cast<unsigned __int128>(high) << 32);
    shifted = modulus.reduce(static_cast<unsigned __int128>(shifted) << 32);
    std::uint64_t rest = (shifted + static_cast<std::uint64_t>(distance) % modulus.p) % modulus.p;
    return negative && rest ? modulus.p - rest : rest;
}

}  // namespace fedbank
