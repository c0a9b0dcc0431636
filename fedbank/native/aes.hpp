// AES-128 (FIPS 197) over whole batches, and the hash that is made of it with a key that everybody knows.
//
// Three paths: VAES with AVX-512 (four blocks an instruction), AES-NI, and portable code on bit planes. None of them
// reads memory at an address that depends on a key or a block. The path follows `kernels().name` and what the machine has.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fedbank {

constexpr std::size_t aes_block = 16;

// An expanded key. Forgets itself.
struct AesKey {
    explicit AesKey(const std::uint8_t key[16]);
    ~AesKey();
    AesKey(const AesKey&) = delete;
    AesKey& operator=(const AesKey&) = delete;
    std::uint8_t round[11][aes_block];
    std::uint64_t planes[11][8];  // the same for the portable path: bit b of every byte of four blocks
};

// The public keys of the hashes below: the first 16 bytes of pi's fraction, so that nobody chose them, XOR `number` in
// the lower half. Guessing one of q hashed words succeeds q times as often as guessing one word if all have one key
// (the bound p q / 2^128 of Guo et al.); so a key serves a few thousand words only.
AesKey public_key(std::uint64_t number);

struct AesKernels {
    const char* name;
    // Encrypt blocks one by one (ECB: modes are the caller's); `in` may be `out`. No alignment is needed.
    void (*encrypt)(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks);
    // out[i] = H(in[i], tweak + i / repeat), the first of Guo, Katz, Wang, Yu 2020 (eprint 2019/074) with a tweak, TMMO:
    // H(x, t) = pi(pi(x) ^ t) ^ pi(x) with pi = AES under `key`; t is the low half of a block whose high half is zero.
    void (*hash)(const AesKey& key, const std::uint8_t* in, std::uint8_t* out, std::size_t blocks, std::uint64_t tweak,
                 std::size_t repeat);
    // For each of `count` blocks x_i and each j < entries <= 32: the top bits of both halves of
    // H(x_i ^ j Delta, tweak + i), as bits 2 j (low half) and 2 j + 1 (high half) of pads[i]; and in first[i] the low
    // half of the hash for j = 0. `multiples` holds j Delta for j < 32.
    void (*pads)(const AesKey& key, const std::uint8_t* x, const std::uint8_t* multiples, std::size_t count,
                 std::size_t entries, std::uint64_t tweak, std::uint64_t* pads, std::uint64_t* first);
};

const AesKernels& aes();

const AesKernels& portable_aes();
#if defined(FEDBANK_X86)
const AesKernels& ni_aes();
const AesKernels& vaes_aes();
#endif

}  // namespace fedbank
