// The kernels of aes.hpp, written once over vectors of blocks. Included by one file per instruction set.
#include <cstring>

#include "aes.hpp"
#include "sampler.hpp"

#if defined(__VAES__) && defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__AES__)
#include <immintrin.h>
#else
#include "aes_planes.hpp"
#endif

namespace fedbank {
namespace {

#if defined(__VAES__) && defined(__AVX512F__)

struct Blocks {
    static constexpr std::size_t width = 4;      // blocks in a vector
    static constexpr std::size_t together = 8;   // vectors whose rounds overlap
    __m512i v;
};
inline Blocks load_blocks(const std::uint8_t* at) { return {_mm512_loadu_si512(at)}; }
inline void store_blocks(std::uint8_t* at, Blocks x) { _mm512_storeu_si512(at, x.v); }
inline Blocks operator^(Blocks x, Blocks y) { return {_mm512_xor_si512(x.v, y.v)}; }
inline Blocks repeated(const std::uint8_t* at) {
    return {_mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)))};
}
inline std::uint64_t top_bits(Blocks x) { return _mm512_movepi64_mask(x.v); }
inline Blocks numbered(const std::uint64_t (&t)[4]) {
    auto n = [&](unsigned i) { return static_cast<long long>(t[i]); };
    return {_mm512_set_epi64(0, n(3), 0, n(2), 0, n(1), 0, n(0))};
}
template <std::size_t count> inline void encrypt_blocks(const AesKey& key, Blocks (&x)[count]) {
    Blocks k = repeated(key.round[0]);
    for (auto& one : x) one = one ^ k;
    for (int r = 1; r < 10; ++r) {
        k = repeated(key.round[r]);
        for (auto& one : x) one.v = _mm512_aesenc_epi128(one.v, k.v);
    }
    k = repeated(key.round[10]);
    for (auto& one : x) one.v = _mm512_aesenclast_epi128(one.v, k.v);
}
#define FEDBANK_AES_NAME "vaes"

#elif defined(__AES__)

struct Blocks {
    static constexpr std::size_t width = 1, together = 8;
    __m128i v;
};
inline Blocks load_blocks(const std::uint8_t* at) { return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(at))}; }
inline void store_blocks(std::uint8_t* at, Blocks x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(at), x.v); }
inline Blocks operator^(Blocks x, Blocks y) { return {_mm_xor_si128(x.v, y.v)}; }
inline Blocks repeated(const std::uint8_t* at) { return load_blocks(at); }
inline Blocks numbered(const std::uint64_t (&t)[1]) { return {_mm_set_epi64x(0, static_cast<long long>(t[0]))}; }
inline std::uint64_t top_bits(Blocks x) { return static_cast<unsigned>(_mm_movemask_pd(_mm_castsi128_pd(x.v))); }
template <std::size_t count> inline void encrypt_blocks(const AesKey& key, Blocks (&x)[count]) {
    Blocks k = load_blocks(key.round[0]);
    for (auto& one : x) one = one ^ k;
    for (int r = 1; r < 10; ++r) {
        k = load_blocks(key.round[r]);
        for (auto& one : x) one.v = _mm_aesenc_si128(one.v, k.v);
    }
    k = load_blocks(key.round[10]);
    for (auto& one : x) one.v = _mm_aesenclast_si128(one.v, k.v);
}
#define FEDBANK_AES_NAME "aesni"

#else

struct Blocks {
    static constexpr std::size_t width = 4, together = 1;
    std::uint8_t bytes[64];
};
inline Blocks load_blocks(const std::uint8_t* at) {
    Blocks x;
    std::memcpy(x.bytes, at, 64);
    return x;
}
inline void store_blocks(std::uint8_t* at, const Blocks& x) { std::memcpy(at, x.bytes, 64); }
inline Blocks operator^(Blocks x, const Blocks& y) {
    for (unsigned i = 0; i < 64; ++i) x.bytes[i] ^= y.bytes[i];
    return x;
}
inline Blocks repeated(const std::uint8_t* at) {
    Blocks x;
    for (unsigned i = 0; i < 4; ++i) std::memcpy(x.bytes + 16 * i, at, 16);
    return x;
}
inline Blocks numbered(const std::uint64_t (&t)[4]) {
    Blocks x{};
    for (unsigned i = 0; i < 4; ++i) std::memcpy(x.bytes + 16 * i, &t[i], 8);
    return x;
}
inline std::uint64_t top_bits(const Blocks& x) {
    std::uint64_t bits = 0;
    for (unsigned half = 0; half < 8; ++half) bits |= static_cast<std::uint64_t>(x.bytes[8 * half + 7] >> 7) << half;
    return bits;
}
inline void add_round_key(Planes q, const std::uint64_t* planes) {
    for (unsigned b = 0; b < 8; ++b) q[b] ^= planes[b];
}
template <std::size_t count> inline void encrypt_blocks(const AesKey& key, Blocks (&x)[count]) {
    for (auto& one : x) {
        Planes q;
        to_planes(one.bytes, q);
        add_round_key(q, key.planes[0]);
        for (int r = 1; r <= 10; ++r) {
            sub_bytes(q);
            shift_rows(q);
            if (r < 10) mix_columns(q);
            add_round_key(q, key.planes[r]);
        }
        from_planes(q, one.bytes);
    }
}
#define FEDBANK_AES_NAME "portable"

#endif

constexpr std::size_t step = Blocks::width * Blocks::together;  // blocks in flight
constexpr std::size_t step_bytes = step * aes_block;

inline void load_step(const std::uint8_t* at, Blocks (&x)[Blocks::together]) {
    for (std::size_t i = 0; i < Blocks::together; ++i) x[i] = load_blocks(at + i * Blocks::width * aes_block);
}
inline void store_step(std::uint8_t* at, const Blocks (&x)[Blocks::together]) {
    for (std::size_t i = 0; i < Blocks::together; ++i) store_blocks(at + i * Blocks::width * aes_block, x[i]);
}

// Whole steps through `work(in, out)`, and the last blocks by a copy that is padded.
template <class Work> void by_steps(const std::uint8_t* in, std::uint8_t* out, std::size_t blocks, Work work) {
    std::size_t at = 0;
    for (; at + step <= blocks; at += step) work(in + at * aes_block, out + at * aes_block, at);
    if (at == blocks) return;
    std::uint8_t padded[step_bytes] = {};
    std::memcpy(padded, in + at * aes_block, (blocks - at) * aes_block);
    work(padded, padded, at);
    std::memcpy(out + at * aes_block, padded, (blocks - at) * aes_block);
    wipe(padded, sizeof padded);
}

void encrypt(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks) {
    by_steps(in, out, blocks, [&](const std::uint8_t* from, std::uint8_t* to, std::size_t) {
        Blocks x[Blocks::together];
        load_step(from, x);
        encrypt_blocks(key, x);
        store_step(to, x);
    });
}

// One step of the hash.
inline void hash_step(const AesKey& key, Blocks (&x)[Blocks::together], const Blocks (&tweak)[Blocks::together]) {
    Blocks once[Blocks::together];
    encrypt_blocks(key, x);
    for (std::size_t i = 0; i < Blocks::together; ++i) once[i] = x[i], x[i] = x[i] ^ tweak[i];
    encrypt_blocks(key, x);
    for (std::size_t i = 0; i < Blocks::together; ++i) x[i] = x[i] ^ once[i];
}

void hash(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks, std::uint64_t tweak,
          std::size_t repeat) {
    std::size_t left = repeat;  // blocks that still take this tweak
    by_steps(in, out, blocks, [&](const std::uint8_t* from, std::uint8_t* to, std::size_t) {
        Blocks x[Blocks::together], tweaks[Blocks::together];
        for (auto& own : tweaks) {
            std::uint64_t numbers[Blocks::width];
            for (auto& number : numbers) {
                number = tweak;
                if (--left == 0) ++tweak, left = repeat;
            }
            own = numbered(numbers);
        }
        load_step(from, x);
        hash_step(key, x, tweaks);
        store_step(to, x);
    });
}

// Some transfers at a time: their blocks x ^ j Delta stand in a buffer in the first cache, are hashed and give up their bits.
void pads_in_cache(const AesKey& key, const std::uint8_t* x, const std::uint8_t* multiples, std::size_t count,
          std::size_t entries, std::uint64_t tweak, std::uint64_t* pads, std::uint64_t* first) {
    constexpr std::size_t room = 256;  // blocks
    alignas(64) std::uint8_t buffer[room * aes_block] = {}, tweaks[room * aes_block] = {};
    const std::size_t vectors = (entries + Blocks::width - 1) / Blocks::width, each = vectors * Blocks::width;
    const std::size_t together = room / each;
    for (std::size_t start = 0; start < count; start += together) {
        const std::size_t now = count - start < together ? count - start : together;
        for (std::size_t i = 0; i < now; ++i) {
            Blocks one = repeated(x + (start + i) * aes_block);
            std::uint64_t numbers[Blocks::width];
            for (auto& number : numbers) number = tweak + start + i;
            const Blocks own = numbered(numbers);
            for (std::size_t k = 0; k < vectors; ++k) {
                std::size_t at = (i * vectors + k) * Blocks::width * aes_block;
                store_blocks(buffer + at, one ^ load_blocks(multiples + k * Blocks::width * aes_block));
                store_blocks(tweaks + at, own);
            }
        }
        for (std::size_t at = 0; at < now * each * aes_block; at += step_bytes) {  // what is beyond is not read
            Blocks blocks[Blocks::together], own[Blocks::together];
            load_step(buffer + at, blocks);
            load_step(tweaks + at, own);
            hash_step(key, blocks, own);
            store_step(buffer + at, blocks);
        }
        for (std::size_t i = 0; i < now; ++i) {
            std::uint64_t bits = 0;
            for (std::size_t k = 0; k < vectors; ++k)
                bits |= top_bits(load_blocks(buffer + (i * vectors + k) * Blocks::width * aes_block))
                        << (2 * Blocks::width * k);
            pads[start + i] = bits & (~0ull >> (64 - 2 * entries));
            std::memcpy(&first[start + i], buffer + i * each * aes_block, 8);
        }
    }
    wipe(buffer, sizeof buffer);
}

#if defined(__VAES__) && defined(__AVX512F__)
// The same without a buffer, `group` transfers of `vectors` vectors at once; returns how many transfers are done.
template <std::size_t vectors, std::size_t group>
std::size_t pads_in_registers(const AesKey& key, const std::uint8_t* x, const std::uint8_t* multiples, std::size_t count,
                              std::size_t entries, std::uint64_t tweak, std::uint64_t* pads, std::uint64_t* first) {
    std::size_t at = 0;
    for (; at + group <= count; at += group) {
        Blocks blocks[vectors * group], once[vectors * group];
        for (std::size_t i = 0; i < group; ++i)
            for (std::size_t k = 0; k < vectors; ++k)
                blocks[i * vectors + k] = repeated(x + (at + i) * aes_block) ^ load_blocks(multiples + 64 * k);
        encrypt_blocks(key, blocks);
        for (std::size_t i = 0; i < group; ++i) {
            const std::uint64_t t = tweak + at + i;
            const Blocks own = numbered({t, t, t, t});
            for (std::size_t k = i * vectors; k < (i + 1) * vectors; ++k) once[k] = blocks[k], blocks[k] = blocks[k] ^ own;
        }
        encrypt_blocks(key, blocks);
        for (std::size_t i = 0; i < group; ++i) {
            std::uint64_t bits = 0;
            for (std::size_t k = 0; k < vectors; ++k)
                bits |= top_bits(blocks[i * vectors + k] ^ once[i * vectors + k]) << (8 * k);
            pads[at + i] = bits & (~0ull >> (64 - 2 * entries));
            const Blocks zero = blocks[i * vectors] ^ once[i * vectors];
            first[at + i] = static_cast<std::uint64_t>(_mm_cvtsi128_si64(_mm512_castsi512_si128(zero.v)));
        }
    }
    return at;
}
#endif

void pads(const AesKey& key, const std::uint8_t* x, const std::uint8_t* multiples, std::size_t count,
          std::size_t entries, std::uint64_t tweak, std::uint64_t* pads, std::uint64_t* first) {
    std::size_t done = 0;
#if defined(__VAES__) && defined(__AVX512F__)
    const std::size_t vectors = (entries + 3) / 4;
    if (vectors == 8) done = pads_in_registers<8, 1>(key, x, multiples, count, entries, tweak, pads, first);
    if (vectors == 7) done = pads_in_registers<7, 1>(key, x, multiples, count, entries, tweak, pads, first);
    if (vectors == 4) done = pads_in_registers<4, 2>(key, x, multiples, count, entries, tweak, pads, first);
    if (vectors == 3) done = pads_in_registers<3, 3>(key, x, multiples, count, entries, tweak, pads, first);
    if (vectors == 2) done = pads_in_registers<2, 4>(key, x, multiples, count, entries, tweak, pads, first);
#endif
    pads_in_cache(key, x + done * aes_block, multiples, count - done, entries, tweak + done, pads + done, first + done);
}

}  // namespace
}  // namespace fedbank

#define FEDBANK_AES {FEDBANK_AES_NAME, &encrypt, &hash, &pads}
