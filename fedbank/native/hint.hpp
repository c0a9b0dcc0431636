// The inner scheme of the private histogram: words c = A s + e + shift v modulo 2^64, the hint H = M A of a one-hot
// matrix M given by its codes, and sums of words by bin.
#pragma once
#include <cstdint>
#include <vector>

#include "ring.hpp"
#include "sampler.hpp"

namespace fedbank {

// M's codes: one byte a sample, feature by feature; each below `width` <= 256.
struct Codes {
    const std::uint8_t* codes;
    std::size_t features, samples, width;
    std::size_t rows() const { return features * width; }
};

// The public polynomial of one block of `dimension` samples, from a seed. Row i of the block of A is its i-th rotation.
void public_block(const Key& seed, std::size_t dimension, std::uint64_t block, std::uint64_t* out);

// H = M A modulo 2^64: rows x dimension numbers.
void make_hint(const Codes& matrix, const Key& seed, std::size_t dimension, unsigned threads, std::uint64_t* hint);

// Sums of int64 vectors (count x samples) by bin: count x rows numbers modulo 2^64.
void sum_words(const Codes& matrix, const std::uint64_t* words, std::size_t count, unsigned threads,
               std::uint64_t* sums);
// The same for words of which the `bytes` top bytes were sent.
void sum_packed(const Codes& matrix, const std::uint8_t* packed, std::size_t bytes, std::size_t count, unsigned threads,
                std::uint64_t* sums);

// Ternary secrets, one a vector; each serves one message.
class InnerSecrets {
public:
    InnerSecrets(const Key& key, std::size_t count, std::size_t dimension);
    std::size_t count() const { return used_.size(); }
    std::size_t dimension() const { return dimension_; }
    const std::int8_t* secret(std::size_t k) const { return secrets_.data() + k * dimension_; }
    bool untouched() const;  // no secret has been taken
    // Take secret k for its one message; a second time is refused (std::logic_error).
    Secret<std::int8_t> take(std::size_t k);

private:
    std::size_t dimension_;
    Secret<std::int8_t> secrets_;
    std::vector<bool> used_;
};

// A's blocks in transformed form, for whoever encrypts.
class InnerRing {
public:
    InnerRing(const Key& seed, std::size_t dimension, std::size_t samples, unsigned threads);
    std::size_t samples() const { return samples_; }
    // Encrypt int64 vectors (count x samples) with the secrets from `first` on; send the `bytes` top bytes of each word.
    void encrypt(const std::int64_t* vectors, std::size_t count, InnerSecrets& secrets, std::size_t first,
                 unsigned shift, Width width, std::size_t bytes, const Key& key, unsigned threads,
                 std::uint8_t* packed) const;

private:
    std::shared_ptr<const WordRing> ring_;
    std::size_t samples_, blocks_;
    Residues transformed_;  // blocks x 2 primes x dimension
};

}  // namespace fedbank
