#include "ciphertexts.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

namespace fedbank {

namespace {

// Numbers one after the other, whole words at a time, the lowest bit first.
class Written {
public:
    explicit Written(std::uint8_t* out) : out_(out) {}
    void add(std::uint64_t value, unsigned bits) {
        waiting_ |= static_cast<unsigned __int128>(value) << held_;
        held_ += bits;
        if (held_ < 64) return;
        auto word = static_cast<std::uint64_t>(waiting_);
        std::memcpy(out_, &word, 8);
        out_ += 8;
        waiting_ >>= 64;
        held_ -= 64;
    }
    void finish() {
        for (std::size_t left = packed_size(held_, 1); left--; waiting_ >>= 8)
            *out_++ = static_cast<std::uint8_t>(waiting_);
    }

private:
    std::uint8_t* out_;
    unsigned __int128 waiting_ = 0;
    unsigned held_ = 0;
};

class Read {
public:
    Read(const std::uint8_t* in, std::size_t bytes) : in_(in), left_(bytes) {}
    std::uint64_t next(unsigned bits) {  // up to 64
        while (held_ < bits) {
            std::size_t taken = left_ < 8 ? left_ : 8;
            std::uint64_t word = 0;
            std::memcpy(&word, in_, taken);
            waiting_ |= static_cast<unsigned __int128>(word) << held_;
            held_ += static_cast<unsigned>(8 * taken);
            in_ += taken;
            left_ -= taken;
        }
        std::uint64_t value = static_cast<std::uint64_t>(waiting_) & (bits == 64 ? ~0ull : (1ull << bits) - 1);
        waiting_ >>= bits;
        held_ -= bits;
        return value;
    }
    bool ended() const { return !waiting_; }

private:
    const std::uint8_t* in_;
    std::size_t left_;
    unsigned __int128 waiting_ = 0;
    unsigned held_ = 0;
};

}  // namespace

void pack(const std::uint64_t* values, std::size_t count, unsigned bits, std::uint8_t* out) {
    Written written(out);
    for (std::size_t i = 0; i < count; ++i) written.add(values[i], bits);
    written.finish();
}

void pack_wide(const unsigned __int128* values, std::size_t count, unsigned bits, std::uint8_t* out) {
    Written written(out);
    unsigned low = std::min(bits, 64u), high = bits - low;
    for (std::size_t i = 0; i < count; ++i) {
        written.add(static_cast<std::uint64_t>(values[i]), low);
        if (high) written.add(static_cast<std::uint64_t>(values[i] >> 64), high);
    }
    written.finish();
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

void unpack_wide(const std::uint8_t* in, std::size_t count, unsigned bits, unsigned __int128* out) {
    Read read(in, packed_size(count, bits));
    unsigned low = std::min(bits, 64u), high = bits - low;
    for (std::size_t i = 0; i < count; ++i) {
        out[i] = read.next(low);
        if (high) out[i] |= static_cast<unsigned __int128>(read.next(high)) << 64;
    }
    if (!read.ended()) throw std::out_of_range("Bits are left over behind the last number.");
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
