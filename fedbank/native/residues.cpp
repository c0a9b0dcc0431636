#include "residues.hpp"

namespace fedbank {
namespace {

using Wide = unsigned __int128;

Wide whole(std::uint64_t modulus) { return modulus ? static_cast<Wide>(modulus) : static_cast<Wide>(1) << 64; }

std::uint64_t times(std::uint64_t x, std::uint64_t y, std::uint64_t m) {
    return static_cast<std::uint64_t>(static_cast<Wide>(x) * y % whole(m));
}

// 1 / x modulo m for coprime numbers, by Euclid's algorithm; both are public.
std::uint64_t inverse(Wide x, std::uint64_t modulus) {
    Wide m = whole(modulus), a = x % m, b = m, u = 1, v = 0;  // a = u x, b = v x modulo m
    while (a > 1) {
        Wide q = b / a, rest = b % a, next = (v + (m - q * u % m)) % m;
        b = a, v = u, a = rest, u = next;
    }
    return static_cast<std::uint64_t>(u);
}

class Number {
public:
    explicit Number(const Moduli& from) : from_(from), product_(whole(from.moduli[0])) {
        if (from.parts == 2) {
            first_inverse_ = inverse(product_, from.moduli[1]);
            second_inverse_ = inverse(from.moduli[1], from.moduli[0]);
            product_ *= from.moduli[1];
        }
    }
    Wide product() const { return product_; }
    // The integer below the product (Garner 1959).
    Wide of(const std::uint64_t* x) const {
        if (from_.parts == 1) return x[0];
        std::uint64_t q = from_.moduli[1], low = static_cast<std::uint64_t>(x[0] % static_cast<Wide>(q));
        std::uint64_t difference = x[1] + (x[1] >= low ? 0 - low : q - low);
        return x[0] + static_cast<Wide>(from_.moduli[0]) * times(difference, first_inverse_, q);
    }
    // floor of 2^64 times the number over the product, but for one unit with two moduli.
    std::uint64_t fraction(const std::uint64_t* x) const {
        if (from_.parts == 1) return part(x[0], from_.moduli[0]);
        return part(times(x[0], second_inverse_, from_.moduli[0]), from_.moduli[0]) +
               part(times(x[1], first_inverse_, from_.moduli[1]), from_.moduli[1]);
    }

private:
    static std::uint64_t part(std::uint64_t x, std::uint64_t m) {
        return m ? static_cast<std::uint64_t>((static_cast<Wide>(x) << 64) / m) : x;
    }
    Moduli from_;
    Wide product_;
    std::uint64_t first_inverse_ = 0, second_inverse_ = 0;
};

}  // namespace

void lift(const std::uint64_t* shares, std::size_t count, const Moduli& from, bool shifted, const Moduli& to,
          std::uint64_t* lifted, std::uint8_t* upper) {
    const Number number(from);
    const Wide m = number.product(), quarter = shifted ? m / 4 : 0;
    for (std::size_t i = 0; i < count; ++i) {
        Wide x = number.of(shares + i * from.parts) + quarter;
        x -= x >= m ? m : 0;
        upper[i] = 2 * x >= m;
        for (std::size_t k = 0; k < to.parts; ++k)
            lifted[i * to.parts + k] = static_cast<std::uint64_t>(to.moduli[k] ? x % to.moduli[k] : x);
    }
}

void lift_constants(const Moduli& from, const Moduli& to, std::uint64_t* minus_quarter, std::uint64_t* whole_number) {
    const Wide m = Number(from).product();
    for (std::size_t k = 0; k < to.parts; ++k) {
        const Wide target = whole(to.moduli[k]);
        minus_quarter[k] = static_cast<std::uint64_t>((target - m / 4 % target) % target);
        whole_number[k] = static_cast<std::uint64_t>(m % target);
    }
}

void scale(const std::uint64_t* shares, std::size_t count, const Moduli& from, unsigned bits, std::uint64_t* scaled) {
    const Number number(from);
    const unsigned down = 64 - bits;
    for (std::size_t i = 0; i < count; ++i)
        scaled[i] = (number.fraction(shares + i * from.parts) + (1ull << (down - 1))) >> down;
}

}  // namespace fedbank
