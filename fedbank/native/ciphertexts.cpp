#include "ciphertexts.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace fedbank {

void pack(const std::uint64_t* values, std::size_t count, unsigned bits, std::uint8_t* out) {
    unsigned __int128 waiting = 0;
    unsigned held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        waiting |= static_cast<unsigned __int128>(values[i]) << held;
        held += bits;
        if (held < 64) continue;
        auto word = static_cast<std::uint64_t>(waiting);
        std::memcpy(out, &word, 8);
        out += 8;
        waiting >>= 64;
        held -= 64;
    }
    for (std::size_t left = packed_size(held, 1); left--; waiting >>= 8) *out++ = static_cast<std::uint8_t>(waiting);
}

void unpack(const std::uint8_t* in, std::size_t count, std::uint64_t p, double* out) {
    unsigned bits = bit_length(p);
    std::size_t bytes = run_bytes(p, count);
    std::uint64_t mask = (1ull << bits) - 1, largest = 0;
    for (std::size_t i = 0; i < count; ++i) {  // a value and its offset of up to 7 bits lie within 8 bytes
        std::size_t at = i * bits / 8;
        std::uint64_t word = 0;
        if (at + 8 <= bytes) std::memcpy(&word, in + at, 8);
        else std::memcpy(&word, in + at, bytes - at);
        std::uint64_t value = (word >> (i * bits % 8)) & mask;
        largest = std::max(largest, value);
        out[i] = static_cast<double>(static_cast<std::int64_t>(value));
    }
    unsigned over = static_cast<unsigned>(8 * bytes - count * bits);
    if (largest >= p || (over && in[bytes - 1] >> (8 - over))) throw std::out_of_range("A residue is not below its prime.");
}

void unpack_words(const std::uint8_t* in, std::size_t count, unsigned bits, std::uint64_t* out) {
    std::size_t left = packed_size(count, bits);
    std::uint64_t mask = bits == 64 ? ~0ull : (1ull << bits) - 1;
    unsigned __int128 waiting = 0;
    unsigned held = 0;
    for (std::size_t i = 0; i < count; ++i) {
        while (held < bits) {
            std::size_t taken = left < 8 ? left : 8;
            std::uint64_t word = 0;
            std::memcpy(&word, in, taken);
            waiting |= static_cast<unsigned __int128>(word) << held;
            held += static_cast<unsigned>(8 * taken);
            in += taken;
            left -= taken;
        }
        out[i] = static_cast<std::uint64_t>(waiting) & mask;
        waiting >>= bits;
        held -= bits;
    }
    if (waiting) throw std::out_of_range("Bits are left over behind the last number.");
}

void public_polynomial(const Key& seed, Purpose purpose, std::uint64_t index, std::uint64_t p, std::size_t dimension,
                       std::uint64_t* out) {
    Stream stream(seed, purpose, index);
    for (std::size_t i = 0; i < dimension; ++i) out[i] = below(stream, p);
}

void public_residues(const Key& seed, Purpose purpose, std::uint64_t index, std::uint64_t p, std::size_t dimension,
                     double* out) {
    std::vector<std::uint64_t> whole(dimension);
    public_polynomial(seed, purpose, index, p, dimension, whole.data());
    for (std::size_t i = 0; i < dimension; ++i) out[i] = static_cast<double>(static_cast<std::int64_t>(whole[i]));
}

}  // namespace fedbank
