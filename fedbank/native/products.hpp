// The scheme of the private products: RLWE ciphertexts (b, a) with b = a z + e + round(Q m / T) modulo Q, a product of
// primes; T is a power of two or, for products slot by slot, a prime or a product of two; BFV (Fan and Vercauteren 2012),
// additive part and products with plaintexts. What the key's owner sends is in transformed form, and of a it sends a seed.
//
// Matrix M times vector v modulo T = 2^k (coefficients: Huang, Lu, Hong, Ding, USENIX Security 2022). The matrix is cut
// into tiles of R rows and C columns, R C <= dimension:
//   message of block J      sum over c of v[J C + c] X^c
//   plaintext of (G, J)     sum over r, c of M[G R + r, J C + c] X^(r C + C - 1 - c)
// so that the coefficient of X^(r C + C - 1) in the sum over J of their products is (M v)[G R + r]. Only those are sent.
//
// Products slot by slot, modulo primes p = 1 mod 2 dimension: for each sample the sum over terms of a_t b_t. A polynomial
// modulo p is the inverse transform of `dimension` slots. With T = p1 p2 one half of the terms stands modulo p1, the other
// one modulo p2, in the same ciphertexts, and a response holds both sums: the vector holder's m is
//   m / T = m1 / p1 + m2 / p2 modulo 1        which needs no number modulo T,
// a plaintext is x = x1 modulo p1, x = x2 modulo p2, |x| < T / 2; m x then stands for m1 x1 / p1 + m2 x2 / p2.
// A full block of samples has a ciphertext a term of a half. In the last block, of fewer samples, one ciphertext holds
// several terms side by side, and the sums of the response's parts are the result: see `Slots`.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "ring.hpp"
#include "sampler.hpp"

namespace fedbank {

struct ProductScheme {
    std::vector<std::uint64_t> primes;
    std::vector<std::uint64_t> plains;  // the factors of T: a power of two, or one prime or two
    std::vector<std::vector<std::uint64_t>> steps;  // for each factor p of T: round(Q / p) modulo each prime
    std::vector<double> rests;                      // and Q / p - round(Q / p)
    std::size_t dimension;
    unsigned useful_bits, other_bits, flood_bits;  // of a response's b and a, when sent; of each part of the flood

    void check() const;  // throws std::invalid_argument
    std::size_t packed_bytes() const;  // of one polynomial modulo Q
    std::size_t other_bytes() const;
    bool by_slots() const { return plains[0] & (plains[0] - 1); }
    unsigned __int128 plain() const;  // T
    unsigned ring_bits() const;       // of a number below T
};

// Integers below 2^31 in absolute value, by row and column, in any order in memory; and how tiles cut them.
struct Tiles {
    const std::int32_t* entries;
    std::size_t rows, columns;
    std::ptrdiff_t row_step, column_step;
    std::size_t tile_rows, tile_columns;
    std::size_t blocks() const { return (columns + tile_columns - 1) / tile_columns; }
    std::size_t groups() const { return (rows + tile_rows - 1) / tile_rows; }
    std::size_t place(std::size_t row) const { return row * tile_columns + tile_columns - 1; }
};

// Where samples and terms stand: slot (t % parts) size + i of ciphertext t / parts, for sample i of a block of `size`.
// `terms`: those modulo one prime; with two primes there are as many modulo the other one.
struct Slots {
    std::size_t samples, terms, dimension;
    std::size_t blocks() const { return (samples + dimension - 1) / dimension; }
    std::size_t size(std::size_t block) const;
    std::size_t parts(std::size_t block) const;
    std::size_t ciphertexts(std::size_t block) const;  // of one block
    std::size_t first(std::size_t block) const { return block * terms; }
    std::size_t ciphertexts() const { return blocks() ? first(blocks() - 1) + ciphertexts(blocks() - 1) : 0; }
};

class ProductMessage;

// The key of the vector holder. Nothing but `open` tells anything about it.
class ProductKey {
public:
    ProductKey(const Key& key, const ProductScheme& scheme);
    // b of the public key (b, a), transformed, a from `seed`: packed residues.
    void public_key(const ProductScheme& scheme, const Key& seed, const Key& key, std::uint8_t* packed) const;
    // Encrypt a vector of numbers below T, `tile_columns` a ciphertext; of each, b is sent and a comes from `seed`.
    void encrypt(const ProductScheme& scheme, const std::uint64_t* vector, std::size_t count, std::size_t tile_columns,
                 const Key& seed, const Key& key, unsigned threads, std::uint8_t* packed) const;
    // The same for slots: values (primes of T x terms x samples), |value| < p / 2.
    void encrypt(const ProductScheme& scheme, const std::int64_t* values, const Slots& slots, const Key& seed, const Key& key,
                 unsigned threads, std::uint8_t* packed) const;
    // Shares of M v, or by prime and sample of sums, from the responses of `ProductResponder`: `useful` and `other` as that
    // wrote them.
    void open(const ProductScheme& scheme, const Tiles& tiles, const std::uint8_t* useful, const std::uint8_t* other,
              unsigned threads, std::uint64_t* shares) const;
    void open(const ProductScheme& scheme, const Slots& slots, const std::uint8_t* useful, const std::uint8_t* other,
              unsigned threads, std::uint64_t* shares) const;

private:
    void check(const ProductScheme& scheme) const;  // throws std::invalid_argument for other rings than the key's
    void encrypt_one(const ProductScheme& scheme, const ProductMessage& message, std::uint64_t number, const Key& seed, const Key& key,
                     std::uint8_t* packed) const;
    std::vector<std::uint64_t> primes_;
    Secret<std::int8_t> secret_;
    std::vector<Secret<double>> transformed_;
};

// What the matrix holder needs of the peer's public key. All throw std::out_of_range if a residue is not below its prime.
class ProductResponder {
public:
    ProductResponder(const ProductScheme& scheme, const Key& seed, const std::uint8_t* packed);
    // Answer with ciphertexts of (M v - share), re-randomised, flooded, switched to powers of two: `useful` the
    // coefficients of b that hold a result, packed, each group's in whole bytes; `other` all of a. Of slots, values and
    // shares are by prime, then as above.
    void respond(const ProductScheme& scheme, const Tiles& tiles, const Key& seed, const std::uint8_t* packed, const Key& key,
                 unsigned threads, std::uint8_t* useful, std::uint8_t* other, std::uint64_t* shares) const;
    void respond(const ProductScheme& scheme, const Slots& slots, const std::int64_t* values, const Key& seed,
                 const std::uint8_t* packed, const Key& key, unsigned threads, std::uint8_t* useful, std::uint8_t* other,
                 std::uint64_t* shares) const;

private:
    friend class Reply;
    void check(const ProductScheme& scheme) const;
    std::vector<std::uint64_t> primes_;
    std::vector<Residues> b_, a_;  // transformed
};

// Bytes of all useful coefficients of a product.
std::size_t useful_bytes(const ProductScheme& scheme, const Tiles& tiles);
std::size_t useful_bytes(const ProductScheme& scheme, const Slots& slots);

}  // namespace fedbank
