// Arithmetic on Curve25519, written once. Included by one file per instruction set, each compiled with its own flags.
// Everything secret is chosen by masks, and what holds it wiped.
#include "curve25519.hpp"
#include "curve_fields.hpp"
#include "sha512_body.hpp"

namespace fedbank {
namespace {

constexpr std::size_t groups = 32;  // of lanes, in one batch: they share an inversion
constexpr std::uint64_t J = 486662;

// What is forgotten at the end of its scope.
template <class T>
struct Wiped {
    T value;
    Wiped() = default;
    Wiped(const Wiped&) = delete;
    Wiped& operator=(const Wiped&) = delete;
    ~Wiped() { wipe(&value, sizeof value); }
};

// ---- bytes ----

using Words = Word[4];

// 32 bytes for each lane, `stride` bytes apart; lanes from `count` on get zeros.
static inline void gather(Words& words, const std::uint8_t* at, std::size_t stride, std::size_t count) {
    Wiped<std::uint64_t[4][lanes]> turned;
    std::memset(turned.value, 0, sizeof turned.value);
    for (std::size_t lane = 0; lane < count && lane < lanes; ++lane)
        for (std::size_t i = 0; i < 4; ++i) std::memcpy(&turned.value[i][lane], at + stride * lane + 8 * i, 8);
    for (std::size_t i = 0; i < 4; ++i) words[i] = load<Word>(turned.value[i]);
}

static inline void scatter(const Canonical& number, std::uint8_t* out, std::size_t count) {
    std::uint64_t turned[4][lanes];
    for (std::size_t i = 0; i < 4; ++i) store(turned[i], number.word[i]);
    for (std::size_t lane = 0; lane < count && lane < lanes; ++lane)
        for (std::size_t i = 0; i < 4; ++i) std::memcpy(out + 32 * lane + 8 * i, &turned[i][lane], 8);
}

// ---- powers ----

// Several numbers at once: their squarings do not wait for each other.
template <std::size_t many>
struct Numbers {
    Element each[many];
};

template <std::size_t many>
static inline Numbers<many> multiplied(const Numbers<many>& x, const Numbers<many>& y) {
    Numbers<many> out;
    for (std::size_t i = 0; i < many; ++i) out.each[i] = multiplied(x.each[i], y.each[i]);
    return out;
}

// x^(2^times)
template <std::size_t many>
static inline Numbers<many> squared(Numbers<many> x, unsigned times) {
    for (unsigned k = 0; k < times; ++k)
#pragma GCC unroll 4
        for (std::size_t i = 0; i < many; ++i) x.each[i] = squared(x.each[i]);
    return x;
}

template <std::size_t many>
struct Powers {
    Numbers<many> x11, x_250;  // x^11 and x^(2^250 - 1)
};

// The usual chain (Bernstein 2006): 250 squarings and 11 multiplications.
template <std::size_t many>
static inline Powers<many> powers(const Numbers<many>& x) {
    auto x2 = squared(x, 1);
    auto x9 = multiplied(squared(x2, 2), x);
    auto x11 = multiplied(x9, x2);
    auto x_5 = multiplied(squared(x11, 1), x9);
    auto x_10 = multiplied(squared(x_5, 5), x_5);
    auto x_20 = multiplied(squared(x_10, 10), x_10);
    auto x_40 = multiplied(squared(x_20, 20), x_20);
    auto x_50 = multiplied(squared(x_40, 10), x_10);
    auto x_100 = multiplied(squared(x_50, 50), x_50);
    auto x_200 = multiplied(squared(x_100, 100), x_100);
    return {x11, multiplied(squared(x_200, 50), x_50)};
}

// x^(p - 2) = x^(2^255 - 21): 1 / x, or 0 of 0.
static inline Element inverse(const Element& x) {
    Powers<1> known = powers<1>({{x}});
    return multiplied(squared(known.x_250, 5), known.x11).each[0];
}

// x^((p - 5) / 8) = x^(2^252 - 3)
template <std::size_t many>
static inline Numbers<many> root_power(const Numbers<many>& x) {
    return multiplied(squared(powers(x).x_250, 2), x);
}

// ---- fractions ----

// A point in projective form: u = top / bottom, or infinity where bottom is 0.
struct Fraction {
    Element top, bottom;
};

struct Fractions {
    Fraction each[groups];
    Element before[groups];  // the product of all bottoms before
};

static inline Mask is_zero(const Element& x) {
    Canonical number = canonical(x);
    return is_zero(number.word[0] | number.word[1] | number.word[2] | number.word[3]);
}

// The u-coordinates, 0 for infinity, with one inversion (Montgomery 1987).
static inline void divide(Fractions& all, std::size_t count, std::uint8_t* out) {
    std::size_t used = (count + lanes - 1) / lanes;
    Element product = element(1);
    for (std::size_t g = 0; g < used; ++g) {
        auto& [top, bottom] = all.each[g];
        Mask infinite = is_zero(bottom);
        top = choose(infinite, element(0), top);
        bottom = choose(infinite, element(1), bottom);
        all.before[g] = product;
        product = multiplied(product, bottom);
    }
    product = inverse(product);
    for (std::size_t g = used; g-- > 0;) {
        auto& [top, bottom] = all.each[g];
        scatter(canonical(times(top, multiplied(product, all.before[g]))), out + 32 * lanes * g, count - lanes * g);
        product = multiplied(product, bottom);
    }
}

// ---- multiplication ----

// Two points whose difference is the one multiplied, by sums and differences of their projective coordinates x and z.
struct Pair {
    Element sum, difference, other_sum, other_difference;
};

// One step of the ladder (RFC 7748, section 5): the other point becomes the sum of both, and the first is doubled, or
// the other one where the mask says so. Both enter the sum in the same way, so only what is doubled is chosen.
FEDBANK_INLINE void step(Pair& pair, Mask other, const Element& u) {
    Product one = times(pair.other_difference, pair.sum), two = times(pair.other_sum, pair.difference);
    Element aa = squared(choose(other, pair.other_sum, pair.sum));
    Element bb = squared(choose(other, pair.other_difference, pair.difference));
    Product x_sum = square(plus(one, two)), z_sum = times(u, squared(minus(one, two)));
    pair.other_sum = plus(x_sum, z_sum);
    pair.other_difference = minus(x_sum, z_sum);
    Element e = minus(aa, bb);
    Product x = times(aa, bb), z = times(e, carried(times_small((J - 2) / 4, e, aa)));
    pair.sum = plus(x, z);
    pair.difference = minus(x, z);
}

// From the highest bit to the lowest; the first point is infinity, the other the given one.
static inline Fraction ladder(const Words& scalar, const Element& u) {
    Element one = element(1);
    Wiped<Pair> state;
    Pair& pair = state.value;
    pair = {one, one, plus(u, one), minus(u, one)};
    Mask exchanged{};
    for (std::size_t at = 4; at-- > 0;)
        for (std::size_t bit = at == 3 ? 63 : 64; bit-- > 0;) {
            Mask now = Word{} - ((scalar[at] >> bit) & word(1));
#if !defined(__AVX2__)
            __asm__("" : "+r"(now));  // or the compiler might see a condition in it, and make it a branch
#endif
            step(pair, now ^ exchanged, u);
            exchanged = now;
        }
    pair.sum = choose(exchanged, pair.other_sum, pair.sum);
    pair.difference = choose(exchanged, pair.other_difference, pair.difference);
    return {plus(pair.sum, pair.difference), minus(pair.sum, pair.difference)};
}

void multiply(const std::uint8_t* scalars, std::size_t stride, const std::uint8_t* points, std::size_t count,
              std::uint8_t* out) {
    Wiped<Fractions> results;
    Wiped<Words> scalar, point;
    for (std::size_t first = 0; first < count; first += lanes) {
        gather(scalar.value, scalars + stride * first, stride, count - first);
        gather(point.value, points + 32 * first, 32, count - first);
        results.value.each[first / lanes] = ladder(scalar.value, reduced(point.value));
    }
    divide(results.value, count, out);
}

// ---- hashing to the curve ----

struct Mapped {
    Element top, bottom, v;  // u = top / bottom, and v
};

FEDBANK_INLINE Element constant(std::uint64_t a, std::uint64_t b, std::uint64_t c, std::uint64_t d) {
    Words words = {word(a), word(b), word(c), word(d)};
    return reduced(words);
}
FEDBANK_INLINE Element negative(const Element& x) { return minus(element(0), x); }
FEDBANK_INLINE Mask equal(const Product& x, const Product& y) { return is_zero(minus(x, y)); }
FEDBANK_INLINE Mask is_odd(const Element& x) { return ~is_zero(canonical(x).word[0] & word(1)); }

// RFC 9380, G.2.1, map_to_curve_elligator2_curve25519, of several elements at once. Names are those of the RFC.
template <std::size_t many>
static inline void elligator(const Numbers<many>& u, Mapped (&out)[many]) {
    const Element c2 = constant(0xc4ee1b274a0ea0b1, 0x2f431806ad2fe478, 0x2b4d00993dfbd7a7, 0x2b8324804fc1df0b);
    const Element c3 = constant(0xc4ee1b274a0ea0b0, 0x2f431806ad2fe478, 0x2b4d00993dfbd7a7, 0x2b8324804fc1df0b);
    const Element x1n = negative(element(J));
    struct {
        Numbers<many> tv1, xd, gxd, gx1, tv3, power;
    } at;
    for (std::size_t i = 0; i < many; ++i) {
        Product uu = square(u.each[i]);
        Element tv1 = at.tv1.each[i] = plus(uu, uu), xd = at.xd.each[i] = plus(tv1, element(1));
        Element square_of_xd = squared(xd), gxd = at.gxd.each[i] = multiplied(square_of_xd, xd);
        Element gx1 = multiplied(multiplied(element(J), tv1), x1n);
        gx1 = at.gx1.each[i] = multiplied(plus(gx1, square_of_xd), x1n);
        Element gxd2 = squared(gxd), gxd3 = multiplied(gxd2, gxd);
        Element tv3 = at.tv3.each[i] = multiplied(gxd3, gx1);  // gx1 gxd^3
        at.power.each[i] = multiplied(squared(gxd2), tv3);     // gx1 gxd^7
    }
    at.power = root_power(at.power);
    for (std::size_t i = 0; i < many; ++i) {
        const Element &tv1 = at.tv1.each[i], &gxd = at.gxd.each[i], &gx1 = at.gx1.each[i];
        Element y11 = multiplied(at.power.each[i], at.tv3.each[i]), y12 = multiplied(y11, c3);
        Element y1 = choose(equal(times(squared(y11), gxd), gx1), y11, y12);
        Element x2n = multiplied(x1n, tv1), gx2 = multiplied(gx1, tv1);
        Element y21 = multiplied(multiplied(y11, u.each[i]), c2), y22 = multiplied(y21, c3);
        Element y2 = choose(equal(times(squared(y21), gxd), gx2), y21, y22);
        Mask e3 = equal(times(squared(y1), gxd), gx1);
        Element y = choose(e3, y1, y2);
        out[i] = {choose(e3, x1n, x2n), at.xd.each[i], choose(e3 ^ is_odd(y), negative(y), y)};
    }
    wipe(&at, sizeof at);
}

// u of the double (RFC 7748, section 5); of infinity, infinity.
static inline Fraction doubled(const Fraction& point) {
    Element aa = squared(plus(point.top, point.bottom)), bb = squared(minus(point.top, point.bottom)), e = minus(aa, bb);
    return {multiplied(aa, bb), multiplied(e, carried(times_small((J - 2) / 4, e, aa)))};
}

// u of the sum by the chord, slope^2 - J - u1 - u2; where both points are the same, of the double. Opposite points have
// different v and the same u, so that the bottom is 0: infinity.
static inline Fraction added(const Mapped& one, const Mapped& two) {
    Element left = multiplied(one.top, two.bottom), right = multiplied(two.top, one.bottom);
    Element run = minus(right, left), rise = minus(two.v, one.v);
    Element both = multiplied(one.bottom, two.bottom), run2 = squared(run);
    Element chord = multiplied(multiplied(squared(both), both), squared(rise));
    Element others = plus(multiplied(element(J), both), plus(left, right));
    Fraction sum{minus(chord, times(others, run2)), multiplied(both, run2)};
    Fraction twice = doubled({one.top, one.bottom});
    Mask same = is_zero(run) & is_zero(rise);
    return {choose(same, twice.top, sum.top), choose(same, twice.bottom, sum.bottom)};
}

// The sum of both images, times the cofactor 8.
static inline Fraction image(const Numbers<2>& elements) {
    Wiped<Mapped[2]> points;
    elligator<2>(elements, points.value);
    return doubled(doubled(doubled(added(points.value[0], points.value[1]))));
}

// What every message of a domain ends with: 96 as two bytes, a zero byte, the tag and its length; the last two parts
// end the later blocks of expand_message_xmd too (RFC 9380, 5.3.1).
struct Tail {
    std::uint8_t bytes[3 + 255 + 1];
    std::size_t count;
    explicit Tail(const Domain& domain) : bytes{0, 96, 0}, count(3 + domain.bytes + 1) {
        std::memcpy(bytes + 3, domain.data, domain.bytes);
        bytes[count - 1] = static_cast<std::uint8_t>(domain.bytes);
    }
};

static inline std::uint64_t big_endian(const std::uint8_t* at) { return __builtin_bswap64(load<std::uint64_t>(at)); }

// A message of SHA-512 in up to three parts, read in padded blocks.
struct Padded {
    const std::uint8_t* body;
    std::size_t body_bytes;
    const std::uint8_t* tail;
    std::size_t tail_bytes;
    std::size_t before;  // bytes hashed already, whole blocks

    std::size_t blocks() const { return (body_bytes + tail_bytes + 17 + block_bytes - 1) / block_bytes; }

    void block(std::size_t index, std::uint8_t (&out)[block_bytes]) const {
        std::memset(out, 0, block_bytes);
        std::size_t begin = index * block_bytes, bytes = body_bytes + tail_bytes;
        copy(out, begin, body, 0, body_bytes);
        copy(out, begin, tail, body_bytes, tail_bytes);
        const std::uint8_t mark = 0x80;
        copy(out, begin, &mark, bytes, 1);
        if (index + 1 != blocks()) return;
        std::uint64_t bits = __builtin_bswap64(8 * static_cast<std::uint64_t>(before + bytes));
        std::memcpy(out + block_bytes - 8, &bits, 8);
    }

private:
    // Of `count` bytes whose place in the message is `place`, what lies in the block that begins at `begin`.
    static void copy(std::uint8_t (&out)[block_bytes], std::size_t begin, const std::uint8_t* from, std::size_t place,
                     std::size_t count) {
        std::size_t first = place > begin ? place : begin;
        std::size_t last = place + count < begin + block_bytes ? place + count : begin + block_bytes;
        if (first < last) std::memcpy(out + (first - begin), from + (first - place), last - first);
    }
};

// The state after Z_pad, a block of zeros.
static inline Hash after_zeros() {
    Word zeros[16] = {};
    return compressed(first_state(), zeros);
}

// b_0, of one message a lane. A lane that has no block left keeps its state.
static inline Hash first_hash(const Messages& messages, std::size_t count, const Tail& tail, Hash state) {
    Padded padded[lanes];
    std::size_t most = 0;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
        std::size_t i = lane < count ? lane : 0;
        auto begin = messages.offsets[i], end = messages.offsets[i + 1];
        padded[lane] = {messages.data + begin, static_cast<std::size_t>(end - begin), tail.bytes, tail.count, block_bytes};
        most = padded[lane].blocks() > most ? padded[lane].blocks() : most;
    }
    Wiped<std::uint64_t[16][lanes]> turned;
    Wiped<std::uint8_t[block_bytes]> bytes;
    Wiped<Word[16]> block;
    for (std::size_t index = 0; index < most; ++index) {
        std::uint64_t open[lanes];
        for (std::size_t lane = 0; lane < lanes; ++lane) {
            padded[lane].block(index, bytes.value);
            open[lane] = index < padded[lane].blocks() ? ~0ull : 0;
            for (std::size_t i = 0; i < 16; ++i) turned.value[i][lane] = big_endian(bytes.value + 8 * i);
        }
        for (std::size_t i = 0; i < 16; ++i) block.value[i] = load<Word>(turned.value[i]);
        Hash next = compressed(state, block.value);
        for (std::size_t i = 0; i < 8; ++i) state.word[i] = choose(load<Word>(open), next.word[i], state.word[i]);
    }
    return state;
}

// b_1 and b_2: of a hash, a number and the tag.
static inline Hash later_hash(const Hash& start, std::uint8_t number, const Tail& tail) {
    std::uint8_t end[1 + 255 + 1] = {number}, bytes[block_bytes];
    std::memcpy(end + 1, tail.bytes + 3, tail.count - 3);
    const std::uint8_t zeros[64] = {};
    Padded padded{zeros, sizeof zeros, end, tail.count - 2, 0};
    Hash state = first_state();
    Wiped<Word[16]> block;
    for (std::size_t index = 0; index < padded.blocks(); ++index) {
        padded.block(index, bytes);
        for (std::size_t i = 0; i < 16; ++i) block.value[i] = word(big_endian(bytes + 8 * i));
        for (std::size_t i = 0; i < 8 && index == 0; ++i) block.value[i] = start.word[i];
        state = compressed(state, block.value);
    }
    return state;
}

struct Uniform {
    Hash b[3];
    Word number[2][6];  // two numbers of 48 bytes, least significant word first
};

// hash_to_field (RFC 9380, 5.2): expand_message_xmd gives 96 bytes, which are two numbers, big endian.
static inline Numbers<2> hash_to_field(const Messages& messages, std::size_t count, const Tail& tail, const Hash& zeros) {
    Wiped<Uniform> secret;
    auto& [b, number] = secret.value;
    b[0] = first_hash(messages, count, tail, zeros);
    b[1] = later_hash(b[0], 1, tail);
    for (std::size_t i = 0; i < 8; ++i) b[0].word[i] ^= b[1].word[i];
    b[2] = later_hash(b[0], 2, tail);
    for (std::size_t i = 0; i < 12; ++i) number[i / 6][5 - i % 6] = b[1 + i / 8].word[i % 8];
    return {{reduced(number[0]), reduced(number[1])}};
}

void hash(const Messages& messages, std::size_t count, const Domain& domain, std::uint8_t* out) {
    Wiped<Fractions> results;
    Wiped<Numbers<2>> elements;
    const Tail tail(domain);
    const Hash zeros = after_zeros();
    for (std::size_t first = 0; first < count; first += lanes) {
        elements.value = hash_to_field({messages.data, messages.offsets + first}, count - first, tail, zeros);
        results.value.each[first / lanes] = image(elements.value);
    }
    divide(results.value, count, out);
}

void map(const std::uint8_t* elements, std::size_t count, std::uint8_t* out) {
    Wiped<Fractions> results;
    for (std::size_t first = 0; first < count; first += lanes) {
        Words one, two;
        gather(one, elements + 64 * first, 64, count - first);
        gather(two, elements + 64 * first + 32, 64, count - first);
        results.value.each[first / lanes] = image({{reduced(one), reduced(two)}});
    }
    divide(results.value, count, out);
}

}  // namespace
}  // namespace fedbank

#define FEDBANK_CURVE(name) \
    { name, fedbank::groups * fedbank::lanes, fedbank::multiply, fedbank::hash, fedbank::map }
