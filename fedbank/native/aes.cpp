#include "aes.hpp"

#include <cstring>

#include "aes_planes.hpp"
#include "kernels.hpp"
#include "sampler.hpp"

namespace fedbank {
namespace {

// The S-box on four bytes.
void substitute(std::uint8_t word[4]) {
    std::uint8_t bytes[64] = {};
    Planes planes;
    std::memcpy(bytes, word, 4);
    to_planes(bytes, planes);
    sub_bytes(planes);
    from_planes(planes, bytes);
    std::memcpy(word, bytes, 4);
}

#if defined(FEDBANK_X86)
bool has_vaes() {
    static const bool found = __builtin_cpu_supports("vaes") && __builtin_cpu_supports("avx512f") &&
                              __builtin_cpu_supports("avx512dq");
    return found;
}
bool has_aes() {
    static const bool found = __builtin_cpu_supports("aes") && __builtin_cpu_supports("avx2");
    return found;
}
#endif

}  // namespace

// FIPS 197, section 5.2.
AesKey::AesKey(const std::uint8_t key[16]) {
    std::memcpy(round[0], key, aes_block);
    std::uint8_t constant = 1;
    for (unsigned r = 1; r <= 10; ++r) {
        std::uint8_t word[4];
        for (unsigned i = 0; i < 4; ++i) word[i] = round[r - 1][12 + (i + 1) % 4];
        substitute(word);
        word[0] ^= constant;
        constant = static_cast<std::uint8_t>((constant << 1) ^ (constant & 0x80 ? 0x1b : 0));
        for (unsigned i = 0; i < aes_block; ++i) {
            word[i % 4] ^= round[r - 1][i];
            round[r][i] = word[i % 4];
        }
    }
    for (unsigned r = 0; r <= 10; ++r) {
        std::uint8_t four[64];
        for (unsigned i = 0; i < 4; ++i) std::memcpy(four + aes_block * i, round[r], aes_block);
        to_planes(four, planes[r]);
        wipe(four, sizeof four);
    }
}

AesKey::~AesKey() {
    wipe(round, sizeof round);
    wipe(planes, sizeof planes);
}

AesKey public_key(std::uint64_t number) {
    std::uint8_t key[16] = {0x24, 0x3f, 0x6a, 0x88, 0x85, 0xa3, 0x08, 0xd3, 0x13, 0x19, 0x8a, 0x2e, 0x03, 0x70, 0x73, 0x44};
    for (unsigned i = 0; i < 8; ++i) key[i] = static_cast<std::uint8_t>(key[i] ^ (number >> (8 * i)));
    return AesKey(key);
}

const AesKernels& aes() {
#if defined(FEDBANK_X86)
    const char* path = kernels().name;
    if (!std::strcmp(path, "avx512") && has_vaes()) return vaes_aes();
    if (std::strcmp(path, "portable") && has_aes()) return ni_aes();
#endif
    return portable_aes();
}

}  // namespace fedbank
