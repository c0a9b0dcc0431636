// The outer scheme of the private histogram: RLWE ciphertexts (b, a) with b = a z + e + round(Q / T) m modulo Q, a product
// of primes, T = 2^ring_bits; BFV's additive part (Fan and Vercauteren 2012). Messages are blocks of several inner secrets
// side by side, plaintexts are tiles of the hint H.
//
// Layout, with V vectors, R rows and C columns together, V R C = dimension and Y = X^V:
//   message of block J      sum over v, j of s_v[J C + j] X^v Y^j
//   plaintext of (r, J)     sum over r', j of -H[r R + r', J C + j] Y^(r' C + C - 1 - j)
// so that the coefficient of X^v Y^(r' C + C - 1) in the sum over J of their products is -(H s_v)[r R + r'].
// A plaintext is a polynomial in Y: it needs transforms of size R C only, and the product of a tile is a matrix product.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "ciphertexts.hpp"
#include "hint.hpp"
#include "ring.hpp"
#include "sampler.hpp"

namespace fedbank {

struct Layout {
    std::vector<std::uint64_t> primes;
    std::vector<std::uint64_t> steps;  // round(Q / T) modulo each prime
    std::size_t dimension, inner_dimension, vectors, rows, columns;
    unsigned ring_bits, response_bits, flood_bits;

    void check() const;  // throws std::invalid_argument
    std::size_t points() const { return rows * columns; }
    std::size_t blocks() const { return inner_dimension / columns; }
    std::size_t groups(std::size_t hint_rows) const { return (hint_rows + rows - 1) / rows; }
    std::size_t packed_bytes() const;  // of one polynomial modulo Q
    std::size_t useful() const { return vectors * rows; }
    // Where vector v's row r of a group stands.
    std::size_t place(std::size_t v, std::size_t r) const { return v + vectors * (r * columns + columns - 1); }
};

// The key of the vector holder. Nothing but `decrypt` tells anything about it.
class OuterKey {
public:
    OuterKey(const Key& key, std::vector<std::uint64_t> primes, std::size_t dimension);
    // b of the public key (b, a) = (a z + e, a), a from `seed`: packed residues.
    void public_key(const Layout& layout, const Key& seed, const Key& key, std::uint8_t* packed) const;
    // Encrypt all secrets: one ciphertext a block, of which b is sent and a comes from `seed`.
    void encrypt(const Layout& layout, const InnerSecrets& secrets, const Key& seed, const Key& key, unsigned threads,
                 std::uint8_t* packed) const;
    // -H s + mask modulo T for each vector (vectors x hint rows), from the responses of `Responder`.
    void decrypt(const Layout& layout, const std::uint8_t* useful, const std::uint8_t* other, std::size_t hint_rows,
                 unsigned threads, std::uint64_t* shares) const;

private:
    void check(const Layout& layout) const;  // throws std::invalid_argument for other rings than the key's
    std::vector<std::uint64_t> primes_;
    Secret<std::int8_t> secret_;
    std::vector<Secret<double>> transformed_;
};

// What the matrix holder needs of the peer's public key.
class Responder {
public:
    // Throws std::out_of_range if a residue is not below its prime.
    Responder(const Layout& layout, const Key& seed, const std::uint8_t* packed);
    // Answer one batch: for each group of rows of `hint` (hint rows x inner dimension, modulo 2^64) a ciphertext of
    // -H s + mask, re-randomised, flooded and switched to 2^response_bits. `useful` gets the masked coefficients of b,
    // `other` all of a, both packed; `masks` (vectors x hint rows) the masks modulo T.
    // Throws std::out_of_range if a residue of `packed` is not below its prime.
    void respond(const Layout& layout, const Key& seed, const std::uint8_t* packed, const std::uint64_t* hint,
                 std::size_t hint_rows, const Key& key, unsigned threads, std::uint8_t* useful, std::uint8_t* other,
                 std::uint64_t* masks) const;

private:
    std::vector<std::uint64_t> primes_;
    std::vector<Residues> b_, a_;  // transformed
};

}  // namespace fedbank
