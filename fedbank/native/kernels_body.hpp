// The kernels, written once. Included by one file per instruction set, each compiled with its own flags.
#include <cstring>

#include "kernels.hpp"
#include "lanes.hpp"

namespace fedbank {
namespace {

constexpr std::size_t lanes = Lanes::width;

// ---- the number-theoretic transform ----
// Entries stay below 4 p < 2^51: a butterfly adds at most 3/4 p, and every fourth layer tames its upper half first.

struct Modulus {
    Real p, one_over_p;
};

inline void butterfly(Real& a, Real& b, Real root, Real over, const Modulus& modulus, bool tame_first) {
    if (tame_first) a = tame(a, modulus.p, modulus.one_over_p);
    Real t = product_modulo(b, root, over, modulus.p);
    b = a - t;
    a = a + t;
}

inline void inverse_butterfly(Real& a, Real& b, Real root, Real over, const Modulus& modulus, bool tame_after) {
    Real difference = a - b;
    a = a + b;
    if (tame_after) a = tame(a, modulus.p, modulus.one_over_p);
    b = product_modulo(difference, root, over, modulus.p);
}

template <class Step>
void wide_layer(double* x, std::size_t size, std::size_t length, const Roots::List& list, Step step) {
    std::size_t blocks = size / (2 * length);
    for (std::size_t i = 0; i < blocks; ++i) {
        Real root = real(list.root[blocks + i]), over = real(list.over[blocks + i]);
        double* block = x + 2 * length * i;
        for (std::size_t j = 0; j < length; j += lanes) {
            Real a = load<Real>(block + j), b = load<Real>(block + length + j);
            step(a, b, root, over);
            store(block + j, a);
            store(block + length + j, b);
        }
    }
}

#if defined(__AVX2__)
// Layers whose length is below the number of lanes: both halves of each block are gathered from two vectors.
template <std::size_t length, class Step>
void narrow_layer(double* x, std::size_t size, const Roots::List& list, Step step) {
    using Index = Lanes::Index;
    Index upper{}, lower{}, first{}, second{};
    for (std::size_t e = 0, a = 0, b = 0; e < 2 * lanes; ++e) {
        bool is_lower = (e & length) != 0;
        std::int64_t place = is_lower ? static_cast<std::int64_t>(lanes + b) : static_cast<std::int64_t>(a);
        if (is_lower) lower[b++] = static_cast<std::int64_t>(e);
        else upper[a++] = static_cast<std::int64_t>(e);
        if (e < lanes) first[e] = place;
        else second[e - lanes] = place;
    }
    for (std::size_t at = 0; at < size; at += 2 * lanes) {
        Real one = load<Real>(x + at), two = load<Real>(x + at + lanes);
        Real a = __builtin_shuffle(one, two, upper), b = __builtin_shuffle(one, two, lower);
        step(a, b, load<Real>(list.root.data() + at / 2), load<Real>(list.over.data() + at / 2));
        store(x + at, __builtin_shuffle(a, b, first));
        store(x + at + lanes, __builtin_shuffle(a, b, second));
    }
}
#endif

template <class Step>
void layer(double* x, std::size_t size, std::size_t length, const Roots::List& by_block, const Roots::List* by_butterfly,
           Step step) {
#if defined(__AVX2__)
    if (length < lanes) {  // a ring has at least 16 entries
        if (length == 1) return narrow_layer<1>(x, size, by_butterfly[2], step);
        if (length == 2) return narrow_layer<2>(x, size, by_butterfly[1], step);
        return narrow_layer<4>(x, size, by_butterfly[0], step);
    }
#endif
    (void)by_butterfly;
    wide_layer(x, size, length, by_block, step);
}

void tame_all(double* x, std::size_t count, const Modulus& modulus) {
    for (std::size_t i = 0; i < count; i += lanes)
        store(x + i, tame(load<Real>(x + i), modulus.p, modulus.one_over_p));
}

void forward(double* x, const Roots& roots, unsigned layers) {
    Modulus modulus{real(roots.p), real(roots.one_over_p)};
    std::size_t length = roots.size / 2;
    for (unsigned k = 0; k < layers; ++k, length /= 2) {
        bool tame_first = k % 4 == 3;
        layer(x, roots.size, length, roots.forward, roots.narrow_forward, [&](Real& a, Real& b, Real root, Real over) {
            butterfly(a, b, root, over, modulus, tame_first);
        });
    }
    tame_all(x, roots.size, modulus);
}

void inverse(double* x, const Roots& roots, unsigned layers) {
    Modulus modulus{real(roots.p), real(roots.one_over_p)};
    std::size_t length = roots.size >> layers;
    for (unsigned k = 0; k < layers; ++k, length *= 2) {
        bool tame_after = k % 2 == 1;
        layer(x, roots.size, length, roots.inverse, roots.narrow_inverse, [&](Real& a, Real& b, Real root, Real over) {
            inverse_butterfly(a, b, root, over, modulus, tame_after);
        });
    }
    Real shrink = real(roots.shrink[layers]), over = real(roots.shrink_over[layers]);
    for (std::size_t i = 0; i < roots.size; i += lanes)
        store(x + i, product_modulo(load<Real>(x + i), shrink, over, modulus.p));
    tame_all(x, roots.size, modulus);
}

void multiply(double* out, const double* x, const double* y, std::size_t count, double p) {
    Modulus modulus{real(p), real(1.0 / p)};
    for (std::size_t i = 0; i < count; i += lanes) {
        Real a = tame(load<Real>(x + i), modulus.p, modulus.one_over_p);
        Real b = tame(load<Real>(y + i), modulus.p, modulus.one_over_p);
        store(out + i, product_modulo(a, b, b * modulus.one_over_p, modulus.p));
    }
}

void add_products(double* sum, const double* x, const double* y, std::size_t count, double p) {
    Modulus modulus{real(p), real(1.0 / p)};
    for (std::size_t i = 0; i < count; i += lanes) {
        Real b = load<Real>(y + i);
        Real product = product_modulo(load<Real>(x + i), b, b * modulus.one_over_p, modulus.p);
        store(sum + i, tame(load<Real>(sum + i) + product, modulus.p, modulus.one_over_p));
    }
}

void add_multiple(double* sum, const double* x, double y, std::size_t count, double p) {
    Modulus modulus{real(p), real(1.0 / p)};
    Real b = real(y), over = real(y / p);
    for (std::size_t i = 0; i < count; i += lanes) {
        Real product = product_modulo(load<Real>(x + i), b, over, modulus.p);
        store(sum + i, tame(load<Real>(sum + i) + product, modulus.p, modulus.one_over_p));
    }
}

void canonical(std::uint64_t* out, const double* x, std::size_t count, double p) {
    Modulus modulus{real(p), real(1.0 / p)};
    for (std::size_t i = 0; i < count; i += lanes) {
        Real near = tame(load<Real>(x + i), modulus.p, modulus.one_over_p);
        Real below = near + modulus.p, least = near < real(0.0) ? below : near;
#if defined(__AVX2__)
        store(out + i, __builtin_convertvector(least, Word));
#else
        out[i] = static_cast<std::uint64_t>(least);
#endif
    }
}

// ---- matrix products modulo p ----

#if defined(__AVX512IFMA__)
inline __m512i low_product(__m512i sum, __m512i x, __m512i y) { return _mm512_madd52lo_epu64(sum, x, y); }
inline __m512i high_product(__m512i sum, __m512i x, __m512i y) { return _mm512_madd52hi_epu64(sum, x, y); }

// 2^50 and 2^100 modulo p, to reduce sums in three limbs of 50 bits.
struct Powers {
    Real p, one_over_p, once, once_over, twice, twice_over;
    explicit Powers(const Barrett& modulus) {
        double q = static_cast<double>(modulus.p);
        auto near_zero = [&](unsigned bits) {
            auto rest = static_cast<std::uint64_t>((static_cast<unsigned __int128>(1) << bits) % modulus.p);
            return static_cast<double>(rest) - (rest > modulus.p / 2 ? q : 0.0);
        };
        double one = near_zero(50), two = near_zero(100);
        p = real(q), one_over_p = real(1.0 / q);
        once = real(one), once_over = real(one / q), twice = real(two), twice_over = real(two / q);
    }
    // low + 2^52 high, for low < 2^62 and high < 2^56.
    Real reduce(Word low, Word high) const {
        constexpr std::uint64_t limb = (1ull << 50) - 1;
        Word middle = (low >> 50) + (high << 2);
        Real a = __builtin_convertvector(low & limb, Real), b = __builtin_convertvector(middle & limb, Real),
             c = __builtin_convertvector(middle >> 50, Real);
        Real sum = a + product_modulo(b, once, once_over, p) + product_modulo(c, twice, twice_over, p);
        return tame(sum, p, one_over_p);
    }
};

// `count` (at most 4) rows of `plain` times 16 columns of `cipher`: sums of the low and high 52 bits of the products.
template <std::size_t count>
void product_tile(const std::uint64_t* plain, const std::uint64_t* cipher, std::size_t depth, const Powers& powers,
                  double* out, std::size_t out_stride) {
    __m512i low[count][2] = {}, high[count][2] = {};
    for (std::size_t d = 0; d < depth; ++d) {
        __m512i left = _mm512_loadu_si512(cipher + d * 16), right = _mm512_loadu_si512(cipher + d * 16 + 8);
        for (std::size_t r = 0; r < count; ++r) {
            __m512i factor = _mm512_set1_epi64(static_cast<long long>(plain[r * depth + d]));
            low[r][0] = low_product(low[r][0], factor, left);
            high[r][0] = high_product(high[r][0], factor, left);
            low[r][1] = low_product(low[r][1], factor, right);
            high[r][1] = high_product(high[r][1], factor, right);
        }
    }
    for (std::size_t r = 0; r < count; ++r)
        for (std::size_t side = 0; side < 2; ++side)
            store(out + r * out_stride + 8 * side, powers.reduce((Word)low[r][side], (Word)high[r][side]));
}
#else
template <std::size_t count>
void product_tile(const std::uint64_t* plain, const std::uint64_t* cipher, std::size_t depth, const Barrett& modulus,
                  double* out, std::size_t out_stride) {
    for (std::size_t w = 0; w < 16; ++w) {
        unsigned __int128 sums[count] = {};
        for (std::size_t d = 0; d < depth; ++d)
            for (std::size_t r = 0; r < count; ++r)
                sums[r] += static_cast<unsigned __int128>(plain[r * depth + d]) * cipher[d * 16 + w];
        for (std::size_t r = 0; r < count; ++r)
            out[r * out_stride + w] = static_cast<double>(modulus.reduce(sums[r]));
    }
}
#endif

void products(const std::uint64_t* plain, const std::uint64_t* cipher, std::size_t rows, std::size_t depth,
              std::size_t width, const Barrett& barrett, double* out, std::size_t out_stride) {
#if defined(__AVX512IFMA__)
    const Powers modulus(barrett);
#else
    const Barrett& modulus = barrett;
#endif
    for (std::size_t w = 0; w < width; w += 16) {
        const std::uint64_t* strip = cipher + w * depth;
        std::size_t r = 0;
        for (; r + 4 <= rows; r += 4)
            product_tile<4>(plain + r * depth, strip, depth, modulus, out + r * out_stride + w, out_stride);
        for (; r < rows; ++r)
            product_tile<1>(plain + r * depth, strip, depth, modulus, out + r * out_stride + w, out_stride);
    }
}

// ---- sums of 64-bit numbers ----

inline void add_eight(std::uint64_t* sum, const std::uint64_t* words) {
    for (std::size_t k = 0; k < 8; k += lanes)
        store(sum + k, load<Word>(sum + k) + load<Word>(words + k));
}

void add_to_bins(const std::uint8_t* codes, const std::uint64_t* words, std::size_t count, std::uint64_t* even,
                 std::uint64_t* odd) {
    std::size_t i = 0;
    for (; i + 2 <= count; i += 2) {
        add_eight(even + 8 * codes[i], words + 8 * i);
        add_eight(odd + 8 * codes[i + 1], words + 8 * (i + 1));
    }
    if (i < count) add_eight(even + 8 * codes[i], words + 8 * i);
}

void add_windows(const std::uint64_t* window, const std::uint32_t* offsets, std::size_t count, std::uint64_t* row,
                 std::size_t columns) {
    constexpr std::size_t together = lanes == 8 ? 16 : 8;  // sums held in registers
    for (std::size_t c = 0; c < columns; c += together * lanes) {
        Word sums[together];
        for (std::size_t t = 0; t < together; ++t) sums[t] = load<Word>(row + c + t * lanes);
        for (std::size_t k = 0; k < count; ++k) {
            const std::uint64_t* from = window + offsets[k] + c;
            for (std::size_t t = 0; t < together; ++t) sums[t] += load<Word>(from + t * lanes);
        }
        for (std::size_t t = 0; t < together; ++t) store(row + c + t * lanes, sums[t]);
    }
}

// ---- ChaCha20, one block a lane ----

using Small = Lanes::Small;
constexpr std::size_t at_once = sizeof(Small) / 4;

inline Small turned(Small x, int by) { return (x << by) | (x >> (32 - by)); }

inline void quarter_round(Small& a, Small& b, Small& c, Small& d) {
    a += b; d = turned(d ^ a, 16);
    c += d; b = turned(b ^ c, 12);
    a += b; d = turned(d ^ a, 8);
    c += d; b = turned(b ^ c, 7);
}

// A square of words: rows become columns, by exchanging ever larger blocks off the diagonal.
inline void transpose(Small* x) {
    using Index = Lanes::Place;
    for (std::size_t step = 1; step < at_once; step *= 2) {
        Index first{}, second{};
        for (std::size_t lane = 0; lane < at_once; ++lane) {
            bool lower = (lane & step) != 0;
            first[lane] = static_cast<std::int32_t>(lower ? at_once + lane - step : lane);
            second[lane] = static_cast<std::int32_t>(lower ? at_once + lane : lane + step);
        }
        for (std::size_t i = 0; i < at_once; ++i)
            if (!(i & step)) {
                Small a = x[i], b = x[i + step];
                x[i] = __builtin_shuffle(a, b, first);
                x[i + step] = __builtin_shuffle(a, b, second);
            }
    }
}

void chacha(const std::uint32_t state[16], std::uint64_t counter, std::size_t count, std::uint8_t* out) {
    for (std::size_t done = 0; done < count; done += at_once) {
        Small begin[16], x[16];
        for (int i = 0; i < 16; ++i) begin[i] = Small{} + state[i];
        for (std::size_t lane = 0; lane < at_once; ++lane) {
            std::uint64_t number = counter + done + lane;
            begin[12][lane] = static_cast<std::uint32_t>(number);
            begin[13][lane] = static_cast<std::uint32_t>(number >> 32);
        }
        std::memcpy(x, begin, sizeof x);
        for (int round = 0; round < 10; ++round) {
            quarter_round(x[0], x[4], x[8], x[12]);
            quarter_round(x[1], x[5], x[9], x[13]);
            quarter_round(x[2], x[6], x[10], x[14]);
            quarter_round(x[3], x[7], x[11], x[15]);
            quarter_round(x[0], x[5], x[10], x[15]);
            quarter_round(x[1], x[6], x[11], x[12]);
            quarter_round(x[2], x[7], x[8], x[13]);
            quarter_round(x[3], x[4], x[9], x[14]);
        }
        for (int i = 0; i < 16; ++i) x[i] += begin[i];
        for (std::size_t i = 0; i < 16; i += at_once) transpose(x + i);
        std::size_t take = count - done < at_once ? count - done : at_once;
        for (std::size_t lane = 0; lane < take; ++lane)
            for (std::size_t i = 0; i < 16; i += at_once)
                store(out + 64 * (done + lane) + 4 * i, x[i + lane]);
    }
}

}  // namespace
}  // namespace fedbank

#define FEDBANK_KERNELS(name)                                                                                          \
    {name, fedbank::forward, fedbank::inverse, fedbank::multiply, fedbank::add_products, fedbank::add_multiple,         \
     fedbank::products, fedbank::canonical,                                                                            \
     fedbank::add_to_bins, fedbank::add_windows, fedbank::chacha}
