// Curve25519, v^2 = u^3 + 486662 u^2 + u modulo p = 2^255 - 19: multiplication as in X25519 (RFC 7748), and hashing to the
// curve (RFC 9380). Points are u-coordinates of 32 bytes, little endian; time does not depend on scalars, points and
// messages, but on how long the messages are.
#pragma once
#include <cstddef>
#include <cstdint>

#include "sampler.hpp"

namespace fedbank {

// out = scalar * point for each point, or zero where that is the point at infinity. All bits of the scalar below 2^255
// count: nothing is clamped. A point's highest bit is ignored, and one that is not below p reduced.
void multiply_points(const Key& scalar, const std::uint8_t* points, std::size_t count, unsigned threads,
                     std::uint8_t* out);
// The same with a scalar of 32 bytes for each point.
void multiply_each(const std::uint8_t* scalars, const std::uint8_t* points, std::size_t count, unsigned threads,
                   std::uint8_t* out);

// Messages one after the other: the message i is data[offsets[i]] .. data[offsets[i + 1]].
struct Messages {
    const std::uint8_t* data;
    const std::int64_t* offsets;
};
// A domain separation tag of 1 to 255 bytes.
struct Domain {
    const std::uint8_t* data;
    std::size_t bytes;
};
// curve25519_XMD:SHA-512_ELL2_RO_ of each message.
void hash_points(const Messages& messages, std::size_t count, const Domain& domain, unsigned threads,
                 std::uint8_t* out);
// Its second half, for tests: from pairs of field elements of 32 bytes, reduced modulo p after the highest bit is dropped.
void map_pairs(const std::uint8_t* elements, std::size_t count, std::uint8_t* out);

// The same for a batch of up to `most` items, by instruction set; `stride` is 0 or 32 bytes from scalar to scalar.
struct Curve {
    const char* name;
    std::size_t most;
    void (*multiply)(const std::uint8_t* scalars, std::size_t stride, const std::uint8_t* points, std::size_t count,
                     std::uint8_t* out);
    void (*hash)(const Messages& messages, std::size_t count, const Domain& domain, std::uint8_t* out);
    void (*map)(const std::uint8_t* elements, std::size_t count, std::uint8_t* out);
};

const Curve& portable_curve();
#if defined(FEDBANK_X86)
const Curve& avx2_curve();
const Curve& avx512_curve();
#endif

}  // namespace fedbank
