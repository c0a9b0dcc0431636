#include "digest.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "cpu.hpp"
#include "parallel.hpp"
#include "sampler.hpp"
#if defined(FEDBANK_X86)
#include <immintrin.h>
#endif

namespace fedbank {
namespace {

constexpr std::size_t block_size = 64, digest_size = 32, batch = 1024;

using State = std::array<std::uint32_t, 8>;

// FIPS 180-4, sections 5.3.3 and 4.2.2.
constexpr State start = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
alignas(16) constexpr std::uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01,
    0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc,
    0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08,
    0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t from_big(const std::uint8_t* at) {
    return static_cast<std::uint32_t>(at[0]) << 24 | static_cast<std::uint32_t>(at[1]) << 16 |
           static_cast<std::uint32_t>(at[2]) << 8 | at[3];
}

void to_big(std::uint8_t* at, std::uint32_t x) {
    for (int i = 0; i < 4; ++i) at[i] = static_cast<std::uint8_t>(x >> (24 - 8 * i));
}

void compress(State& state, const std::uint8_t* block) {
    std::uint32_t w[16];
    for (int i = 0; i < 16; ++i) w[i] = from_big(block + 4 * i);
    auto [a, b, c, d, e, f, g, h] = state;
    for (int i = 0; i < 64; ++i) {
        if (i >= 16) {
            std::uint32_t x = w[(i + 1) % 16], y = w[(i + 14) % 16];
            w[i % 16] += w[(i + 9) % 16] + (std::rotr(x, 7) ^ std::rotr(x, 18) ^ x >> 3) +
                         (std::rotr(y, 17) ^ std::rotr(y, 19) ^ y >> 10);
        }
        std::uint32_t first = h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) +
                              constants[i] + w[i % 16];
        std::uint32_t second = (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
        h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    State turned = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; ++i) state[i] += turned[i];
}

void compress_two(State* states, const std::uint8_t* first, const std::uint8_t* second) {
    compress(states[0], first);
    compress(states[1], second);
}

#if defined(FEDBANK_X86)
// Two blocks abreast: the instructions for one wait for each other, those of the other fill the gaps.
__attribute__((target("sha,sse4.1,ssse3"))) void compress_two_sha(State* states, const std::uint8_t* first,
                                                                  const std::uint8_t* second) {
    const std::uint8_t* blocks[2] = {first, second};
    const __m128i turn = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[2], cdgh[2], w[2][4], old_abef[2], old_cdgh[2];
    for (int k = 0; k < 2; ++k) {
        __m128i low, high;
        std::memcpy(&low, &states[k][0], 16);
        std::memcpy(&high, &states[k][4], 16);
        low = _mm_shuffle_epi32(low, 0xb1);
        high = _mm_shuffle_epi32(high, 0x1b);
        old_abef[k] = abef[k] = _mm_alignr_epi8(low, high, 8);
        old_cdgh[k] = cdgh[k] = _mm_blend_epi16(high, low, 0xf0);
        for (int i = 0; i < 4; ++i) {
            std::memcpy(&w[k][i], blocks[k] + 16 * i, 16);
            w[k][i] = _mm_shuffle_epi8(w[k][i], turn);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
        __m128i constant = _mm_load_si128(reinterpret_cast<const __m128i*>(constants + 4 * i));
#pragma GCC unroll 2
        for (int k = 0; k < 2; ++k) {
            __m128i* x = w[k];
            if (i >= 4)
                x[i % 4] = _mm_sha256msg2_epu32(
                    _mm_add_epi32(_mm_sha256msg1_epu32(x[i % 4], x[(i + 1) % 4]),
                                  _mm_alignr_epi8(x[(i + 3) % 4], x[(i + 2) % 4], 4)),
                    x[(i + 3) % 4]);
            __m128i message = _mm_add_epi32(x[i % 4], constant);
            cdgh[k] = _mm_sha256rnds2_epu32(cdgh[k], abef[k], message);
            abef[k] = _mm_sha256rnds2_epu32(abef[k], cdgh[k], _mm_shuffle_epi32(message, 0x0e));
        }
    }
    for (int k = 0; k < 2; ++k) {
        __m128i feba = _mm_shuffle_epi32(_mm_add_epi32(abef[k], old_abef[k]), 0x1b);
        __m128i dchg = _mm_shuffle_epi32(_mm_add_epi32(cdgh[k], old_cdgh[k]), 0xb1);
        __m128i low = _mm_blend_epi16(feba, dchg, 0xf0), high = _mm_alignr_epi8(dchg, feba, 8);
        std::memcpy(&states[k][0], &low, 16);
        std::memcpy(&states[k][4], &high, 16);
    }
}
#endif

using CompressTwo = void (*)(State*, const std::uint8_t*, const std::uint8_t*);

CompressTwo fastest() {
#if defined(FEDBANK_X86)
    if (instructions().sha) return compress_two_sha;
#endif
    return compress_two;
}

// The prefix: its whole blocks in a state, the rest as bytes.
struct Begun {
    State state = start;
    std::uint8_t rest[block_size];
    std::size_t rest_size, done;

    explicit Begun(Prefix prefix) : rest_size(prefix.size % block_size), done(prefix.size - rest_size) {
        for (std::size_t at = 0; at < done; at += block_size) compress(state, prefix.data + at);
        if (rest_size) std::memcpy(rest, prefix.data + done, rest_size);
    }
};

struct Message {
    const std::uint8_t* data;
    std::size_t size;
};

class Hasher {
public:
    explicit Hasher(Prefix prefix) : begun_(prefix), compress_(fastest()) {}
    ~Hasher() {
        wipe(states_, sizeof states_);
        wipe(blocks_, sizeof blocks_);
        wipe(spare_.data(), sizeof spare_);
    }

    // The digests of two messages; the second may be the first again.
    void two(Message first, Message second, std::uint8_t* out_first, std::uint8_t* out_second, std::size_t length) {
        const Message messages[2] = {first, second};
        std::size_t counts[2];
        for (int k = 0; k < 2; ++k) {
            states_[k] = begun_.state;
            counts[k] = (begun_.rest_size + messages[k].size + 9 + block_size - 1) / block_size;
        }
        for (std::size_t i = 0, most = std::max(counts[0], counts[1]); i < most; ++i) {
            for (int k = 0; k < 2; ++k) {
                if (i == counts[k]) spare_ = states_[k];  // this one is done: what follows is thrown away
                if (i < counts[k]) block(messages[k], i, i + 1 == counts[k], blocks_[k]);
            }
            compress_(states_, blocks_[0], blocks_[1]);
        }
        if (counts[0] != counts[1]) states_[counts[0] > counts[1]] = spare_;
        write(states_[0], out_first, length);
        write(states_[1], out_second, length);
    }

private:
    // Block `i` after the prefix's whole blocks: rest of the prefix, message, 0x80, zeros, length in bits.
    void block(Message message, std::size_t i, bool last, std::uint8_t* out) const {
        std::size_t from = i * block_size, rest = begun_.rest_size, size = rest + message.size, at = 0;
        if (from < rest) {
            std::memcpy(out, begun_.rest, rest);
            at = rest;
        }
        if (from + at < size) {
            std::size_t piece = std::min(block_size - at, size - from - at);
            std::memcpy(out + at, message.data + (from + at - rest), piece);
            at += piece;
        }
        if (at < block_size) std::memset(out + at, 0, block_size - at);
        if (size >= from && size - from < block_size) out[size - from] = 0x80;
        if (!last) return;
        std::uint64_t bits = static_cast<std::uint64_t>(begun_.done + size) * 8;
        to_big(out + 56, static_cast<std::uint32_t>(bits >> 32));
        to_big(out + 60, static_cast<std::uint32_t>(bits));
    }

    static void write(const State& state, std::uint8_t* out, std::size_t length) {
        std::uint8_t whole[digest_size];
        for (std::size_t i = 0; i < 8; ++i) to_big(whole + 4 * i, state[i]);
        std::memcpy(out, whole, length);
    }

    Begun begun_;
    CompressTwo compress_;
    State states_[2], spare_{};
    std::uint8_t blocks_[2][block_size];
};

template <class MessageOf>
void digest(std::size_t count, MessageOf message, Prefix prefix, std::size_t length, unsigned threads, std::uint8_t* out) {
    in_parallel((count + batch - 1) / batch, threads, [&](std::size_t part) {
        Hasher hasher(prefix);
        for (std::size_t i = part * batch, end = std::min(count, i + batch); i < end; i += 2) {
            std::size_t j = std::min(i + 1, end - 1);
            hasher.two(message(i), message(j), out + i * length, out + j * length, length);
        }
    });
}

}  // namespace

void digest_ids(const std::uint8_t* data, const std::int64_t* offsets, std::size_t count, Prefix prefix, unsigned threads,
                std::uint8_t* out) {
    auto message = [=](std::size_t i) {
        return Message{data + offsets[i], static_cast<std::size_t>(offsets[i + 1] - offsets[i])};
    };
    digest(count, message, prefix, digest_size, threads, out);
}

void digest_rows(const std::uint8_t* rows, std::size_t count, std::size_t width, Prefix prefix, std::size_t length,
                 unsigned threads, std::uint8_t* out) {
    digest(count, [=](std::size_t i) { return Message{rows + i * width, width}; }, prefix, length, threads, out);
}

}  // namespace fedbank
