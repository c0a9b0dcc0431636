// Random numbers: ChaCha20 under a 32-byte key from the operating system, and what is drawn from it.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels.hpp"

namespace fedbank {

using Key = std::array<std::uint8_t, 32>;

// Which part of a call a stream serves, so that no two streams of one key are the same.
enum class Purpose : std::uint64_t {
    inner_public = 1,
    outer_public = 2,
    key_public = 3,
    secret = 4,
    error = 5,
    randomiser = 6,
    flood = 7,
    mask = 8,
    rounding = 9,
    code_taps = 20,
    code_places = 21,
    correlation = 22,
    okvs_free = 40,
};

// The ChaCha20 key stream (Bernstein 2008; blocks as in RFC 8439) of one key, purpose and number; 64-bit counter.
class Stream {
public:
    Stream(const Key& key, Purpose purpose, std::uint64_t number);
    ~Stream();
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    std::uint64_t word() {
        if (at_ == words_.size()) refill();
        return words_[at_++];
    }
    void fill(std::uint64_t* out, std::size_t count);
    // `count` words, a multiple of eight, from the stream's block `block` on; leaves the stream where it was.
    void fill_from(std::uint64_t block, std::uint64_t* out, std::size_t count) const;

private:
    void refill();
    std::array<std::uint32_t, 16> state_;
    std::uint64_t counter_ = 0;
    std::array<std::uint64_t, 512> words_;
    std::size_t at_ = 512;
};

// Uniform in [0, bound), by rejection of the lowest bits that do not fit.
std::uint64_t below(Stream& stream, std::uint64_t bound);

// Each of -1, 0, 1 with a third, by rejection.
void ternary(Stream& stream, std::int8_t* out, std::size_t count);

// Discrete Gaussians by their cumulative table with 64-bit entries, statistical distance below 2^-50.
//
// The wide one is x + 181 y for two samples of width 81920 / sqrt(1 + 181^2) = 452.6: a sum of discrete Gaussians whose
// step, 181, is below the smoothing parameter of the finer one (Micciancio and Walter 2017, corollary 4.1).
enum class Width { narrow, wide };  // 3.2 and 81920
void gaussian(Stream& stream, Width width, std::int64_t* out, std::size_t count);

// Forget secrets in a way that the compiler does not leave out.
void wipe(void* at, std::size_t bytes);

// Several secrets, forgotten when they leave their scope, however they leave it.
template <class T>
struct Secret : Aligned<T> {
    using std::vector<T, OnCacheLine<T>>::vector;
    Secret(Secret&&) noexcept = default;
    Secret(const Secret&) = delete;
    Secret& operator=(const Secret&) = delete;
    ~Secret() { wipe(this->data(), this->size() * sizeof(T)); }
};

}  // namespace fedbank
