#include "sampler.hpp"

#include <cmath>
#include <cstring>

#include "kernels.hpp"

namespace fedbank {
namespace {

constexpr double narrow_sigma = 3.2;
constexpr double wide_sigma = 81920.0;
constexpr int wide_step = 181;

class Table {
public:
    explicit Table(long double sigma) : most_(static_cast<int>(std::ceil(10 * sigma))) {
        std::vector<long double> weights;
        long double total = 0;
        for (int x = -most_; x <= most_; ++x) {
            weights.push_back(std::exp(-static_cast<long double>(x) * x / (2 * sigma * sigma)));
            total += weights.back();
        }
        long double sum = 0;
        for (long double weight : weights) {
            sum += weight;
            long double scaled = std::floor(std::ldexp(sum / total, 64));
            std::uint64_t limit = scaled >= std::ldexp(1.0L, 64) ? ~0ull : static_cast<std::uint64_t>(scaled);
            high_.push_back(static_cast<std::uint32_t>(limit >> 32));
            low_.push_back(static_cast<std::uint32_t>(limit));
        }
        high_.back() = low_.back() = ~0u;
        for (std::size_t top = 0, k = 0; top < starts_.size(); ++top) {
            while (high_[k] < (top << 20)) ++k;
            starts_[top] = static_cast<std::uint16_t>(k);
        }
    }

    // The first 32 of 64 random bits decide almost always; the others are drawn where they meet a limit exactly.
    std::int64_t sample(std::uint32_t random, Stream& stream) const {
        std::size_t k = starts_[random >> 20];
        k += random > high_[k];
        while (random > high_[k]) ++k;
        if (random == high_[k]) {
            auto rest = static_cast<std::uint32_t>(stream.word());
            while (random == high_[k] && rest >= low_[k] && k + 1 < high_.size()) ++k;
        }
        return static_cast<std::int64_t>(k) - most_;
    }

private:
    int most_;
    std::vector<std::uint32_t> high_, low_;     // halves of 2^64 P(X <= x) for x = -most .. most
    std::array<std::uint16_t, 4096> starts_{};  // where to begin for each value of the top 12 bits
};

}  // namespace

Stream::Stream(const Key& key, Purpose purpose, std::uint64_t number) {
    constexpr std::uint32_t constants[4] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
    std::memcpy(state_.data(), constants, 16);
    std::memcpy(state_.data() + 4, key.data(), 32);
    state_[12] = state_[13] = 0;
    std::uint64_t nonce = (static_cast<std::uint64_t>(purpose) << 56) | number;
    std::memcpy(state_.data() + 14, &nonce, 8);
}

Stream::~Stream() {
    wipe(state_.data(), sizeof state_);
    wipe(words_.data(), sizeof words_);
}

void Stream::refill() {
    constexpr std::size_t blocks = sizeof words_ / 64;
    kernels().chacha(state_.data(), counter_, blocks, reinterpret_cast<std::uint8_t*>(words_.data()));
    counter_ += blocks;
    at_ = 0;
}

void Stream::fill(std::uint64_t* out, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) out[i] = word();
}

void Stream::fill_from(std::uint64_t block, std::uint64_t* out, std::size_t count) const {
    kernels().chacha(state_.data(), block, count / 8, reinterpret_cast<std::uint8_t*>(out));
}

std::uint64_t below(Stream& stream, std::uint64_t bound) {
    std::uint64_t mask = ~0ull >> __builtin_clzll(bound - 1 ? bound - 1 : 1);
    std::uint64_t x;
    do x = stream.word() & mask;
    while (x >= bound);
    return x;
}

void ternary(Stream& stream, std::int8_t* out, std::size_t count) {
    std::uint64_t word = 0;
    unsigned left = 0;
    for (std::size_t i = 0; i < count;) {
        if (!left) word = stream.word(), left = 32;
        auto pair = static_cast<std::int8_t>(word & 3);
        word >>= 2;
        --left;
        out[i] = static_cast<std::int8_t>(pair - 1);
        i += pair != 3;
    }
}

void gaussian(Stream& stream, Width width, std::int64_t* out, std::size_t count) {
    static const Table narrow{narrow_sigma};
    static const Table part{static_cast<long double>(wide_sigma) / std::sqrt(1.0L + wide_step * wide_step)};
    const Table& table = width == Width::narrow ? narrow : part;
    for (std::size_t i = 0; i < count; ++i) {
        std::uint64_t random = stream.word();
        std::int64_t fine = table.sample(static_cast<std::uint32_t>(random), stream);
        if (width == Width::narrow) {
            out[i] = fine;
            if (++i < count) out[i] = table.sample(static_cast<std::uint32_t>(random >> 32), stream);
        } else {
            out[i] = fine + wide_step * table.sample(static_cast<std::uint32_t>(random >> 32), stream);
        }
    }
}

void wipe(void* at, std::size_t bytes) {
    if (!bytes) return;  // nothing was ever there, or it has moved
    std::memset(at, 0, bytes);
    __asm__ __volatile__("" : : "r"(at) : "memory");
}

}  // namespace fedbank
