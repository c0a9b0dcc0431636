// SHA-256 (FIPS 180-4) of many short messages, all behind one prefix.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fedbank {

struct Prefix {
    const std::uint8_t* data;
    std::size_t size;
};

// Message i is data[offsets[i] .. offsets[i + 1]); out is (count, 32).
void digest_ids(const std::uint8_t* data, const std::int64_t* offsets, std::size_t count, Prefix prefix, unsigned threads,
                std::uint8_t* out);

// Message i is row i of (count, width); out is (count, length): the first bytes, at most 32.
void digest_rows(const std::uint8_t* rows, std::size_t count, std::size_t width, Prefix prefix, std::size_t length,
                 unsigned threads, std::uint8_t* out);

}  // namespace fedbank
