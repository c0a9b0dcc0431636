// AES-128 (FIPS 197) of many blocks under one key. No path looks anything up by a secret.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace fedbank {

class Aes128 {
public:
    explicit Aes128(const std::uint8_t key[16]);
    ~Aes128();
    Aes128(const Aes128&) = delete;
    Aes128& operator=(const Aes128&) = delete;
    // `count` blocks of 16 bytes; in place or apart.
    void encrypt(const std::uint8_t* in, std::size_t count, std::uint8_t* out) const;

private:
    alignas(16) std::uint8_t round_keys_[11][16];
};

}  // namespace fedbank
