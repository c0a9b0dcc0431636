// Shares modulo a number that stands as one or two coprime moduli, residue by residue (2^64 is written as 0).
#pragma once
#include <cstddef>
#include <cstdint>

namespace fedbank {

struct Moduli {
    const std::uint64_t* moduli;
    std::size_t parts;  // 1 or 2; the product of two is below 2^126
};

// Of each share x of (count, parts), plus floor(m / 4) where `shifted`: x modulo each target, and whether 2 x >= m.
void lift(const std::uint64_t* shares, std::size_t count, const Moduli& from, bool shifted, const Moduli& to,
          std::uint64_t* lifted, std::uint8_t* upper);
// -floor(m / 4) modulo each target, and m modulo each target.
void lift_constants(const Moduli& from, const Moduli& to, std::uint64_t* minus_quarter, std::uint64_t* whole);
// round(x 2^bits / m) modulo 2^bits, bits <= 62, off by 2^(bits - 63) more at most.
void scale(const std::uint64_t* shares, std::size_t count, const Moduli& from, unsigned bits, std::uint64_t* scaled);

}  // namespace fedbank
