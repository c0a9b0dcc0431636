// The convolution with its 24 slots in six registers.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12 mistakes its own intrinsics (bug 105593)
#include <immintrin.h>

#include <utility>

#include "convolute.hpp"

namespace fedbank {
namespace {

inline __m128i at(const Block* x) {
    __m128i value;
    __builtin_memcpy(&value, x, 16);
    return value;
}

inline __m128i doubled(__m128i b) {  // times X
    __m128i carry = _mm_srli_epi64(b, 63);
    __m128i moved = _mm_or_si128(_mm_slli_epi64(b, 1), _mm_slli_si128(carry, 8));
    __m128i high = _mm_srli_si128(carry, 8);
    return _mm_xor_si128(moved, _mm_xor_si128(_mm_slli_epi64(high, 7), _mm_xor_si128(_mm_slli_epi64(high, 2),
                                                                                      _mm_xor_si128(_mm_slli_epi64(high, 1), high))));
}

// Puts a number into slot `s`.
template <std::size_t s>
inline void put(__m512i slots[6], __m128i value) {
    slots[s / 4] = _mm512_mask_broadcast_i64x2(slots[s / 4], static_cast<__mmask8>(3u << (2 * (s % 4))), value);
}

struct State {
    __m512i slots[6];
    __m128i last, before;
};

template <std::size_t s, bool mixing>
inline void step(State& state, Block* x, std::size_t i, const std::uint32_t* taps, const __m512i bits[6]) {
    put<(s + 22) % 24>(state.slots, state.before);
    __m512i tap = _mm512_set1_epi64(taps[i]);
    __m512i sum[6];
    for (int g = 0; g < 6; ++g) sum[g] = _mm512_maskz_mov_epi64(_mm512_test_epi64_mask(tap, bits[g]), state.slots[g]);
    __m512i all = _mm512_ternarylogic_epi64(_mm512_ternarylogic_epi64(sum[0], sum[1], sum[2], 0x96),
                                            _mm512_xor_si512(sum[3], sum[4]), sum[5], 0x96);
    __m256i half = _mm256_xor_si256(_mm512_castsi512_si256(all), _mm512_extracti64x4_epi64(all, 1));
    __m128i quarter = _mm_xor_si128(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    __m128i value = _mm_xor_si128(_mm_xor_si128(at(x + i), quarter), mixing ? doubled(state.last) : state.last);
    state.before = state.last;
    state.last = value;
    __builtin_memcpy(x + i, &value, 16);
}

template <bool mixing, std::size_t... s>
inline void round(State& state, Block* x, std::size_t i, const std::uint32_t* taps, const __m512i bits[6],
                  std::index_sequence<s...>) {
    (step<s, mixing>(state, x, i + s, taps, bits), ...);
}

template <bool mixing, std::size_t s = 0>
inline void rest(State& state, Block* x, std::size_t i, std::size_t count, const std::uint32_t* taps, const __m512i bits[6]) {
    if constexpr (s < 23) {
        if (i + s >= count) return;
        step<s, mixing>(state, x, i + s, taps, bits);
        rest<mixing, s + 1>(state, x, i, count, taps, bits);
    }
}

template <bool mixing>
void all_steps(Block* x, std::size_t count, const std::uint32_t* taps) {
    __m512i bits[6];
    for (int g = 0; g < 6; ++g) {
        long long one = 1ll << (4 * g);
        bits[g] = _mm512_set_epi64(one << 3, one << 3, one << 2, one << 2, one << 1, one << 1, one, one);
    }
    State state = {};
    std::size_t i = 0;
    for (; i + 24 <= count; i += 24) round<mixing>(state, x, i, taps, bits, std::make_index_sequence<24>{});
    rest<mixing>(state, x, i, count, taps, bits);
    wipe(&state, sizeof state);
}

// Small numbers: the 24 slots are bytes of one register, and a step's taps are its mask.
template <std::size_t s>
inline void small_step(__m256i& slots, std::uint8_t& last, std::uint8_t& before, std::uint8_t& x, std::uint32_t tap) {
    slots = _mm256_mask_set1_epi8(slots, __mmask32{1} << ((s + 22) % 24), static_cast<char>(before));
    __m256i chosen = _mm256_maskz_mov_epi8(tap, slots);
    __m128i half = _mm_xor_si128(_mm256_castsi256_si128(chosen), _mm256_extracti128_si256(chosen, 1));
    std::uint64_t sum = static_cast<std::uint64_t>(_mm_cvtsi128_si64(half)) ^ static_cast<std::uint64_t>(_mm_extract_epi64(half, 1));
    sum ^= sum >> 32;
    sum ^= sum >> 16;
    sum ^= sum >> 8;
    before = last;
    last = x = static_cast<std::uint8_t>(x ^ sum ^ last);
}

template <std::size_t... s>
inline void small_round(__m256i& slots, std::uint8_t& last, std::uint8_t& before, std::uint8_t* x, const std::uint32_t* taps,
                        std::size_t count, std::index_sequence<s...>) {
    ((s < count ? small_step<s>(slots, last, before, x[s], taps[s]) : void()), ...);
}

}  // namespace

void convolve_avx512(std::uint8_t* x, std::size_t count, const std::uint32_t* taps) {
    __m256i slots = _mm256_setzero_si256();
    std::uint8_t last = 0, before = 0;
    for (std::size_t i = 0; i < count; i += 24)
        small_round(slots, last, before, x + i, taps + i, count - i, std::make_index_sequence<24>{});
}

void convolve_avx512(Block* x, std::size_t count, const std::uint32_t* taps, bool mixing) {
    mixing ? all_steps<true>(x, count, taps) : all_steps<false>(x, count, taps);
}

}  // namespace fedbank
