#include "ot.hpp"

#include <atomic>
#include <bit>
#include <cstring>

#include "aes.hpp"
#include "parallel.hpp"
#include "sampler.hpp"

namespace fedbank {
namespace {

using Wide = unsigned __int128;

constexpr std::size_t chunk = 512;   // transfers under one key; a multiple of 8, so its bits begin on a byte
constexpr std::size_t piece = 64;    // transfers whose pads stand in the first cache
constexpr std::uint64_t every_pair = 0x5555555555555555ull;

template <class Work> void by_chunks(std::size_t count, unsigned threads, Work work) {
    in_parallel((count + chunk - 1) / chunk, threads, [&](std::size_t c) {
        work(c * chunk, count - c * chunk < chunk ? count : (c + 1) * chunk);
    });
}

constexpr std::uint64_t ones(unsigned bits) { return bits == 0 ? 0 : ~0ull >> (64 - bits); }

// Eight bytes as a number, the lowest first, on every machine.
void store_little(std::uint8_t* at, std::uint64_t word) {
    if constexpr (std::endian::native == std::endian::little) std::memcpy(at, &word, 8);
    else for (unsigned i = 0; i < 8; ++i) at[i] = static_cast<std::uint8_t>(word >> (8 * i));
}
std::uint64_t load_little(const std::uint8_t* at) {
    std::uint64_t word = 0;
    if constexpr (std::endian::native == std::endian::little) std::memcpy(&word, at, 8);
    else for (unsigned i = 0; i < 8; ++i) word |= static_cast<std::uint64_t>(at[i]) << (8 * i);
    return word;
}

// Bits one after the other, up to 64 at once. What is left over is written when it goes.
class BitWriter {
public:
    explicit BitWriter(std::uint8_t* at) : at_(at) {}
    ~BitWriter() {
        for (; fill_ > 0; fill_ = fill_ > 8 ? fill_ - 8 : 0, held_ >>= 8) *at_++ = static_cast<std::uint8_t>(held_);
    }
    BitWriter(const BitWriter&) = delete;
    BitWriter& operator=(const BitWriter&) = delete;
    void put(std::uint64_t value, unsigned bits) {
        held_ |= static_cast<Wide>(value) << fill_;
        fill_ += bits;
        if (fill_ >= 64) {
            store_little(at_, static_cast<std::uint64_t>(held_));
            at_ += 8;
            held_ >>= 64;
            fill_ -= 64;
        }
    }

private:
    std::uint8_t* at_;
    Wide held_ = 0;
    unsigned fill_ = 0;
};

class BitReader {
public:
    BitReader(const std::uint8_t* data, std::size_t bytes) : data_(data), bytes_(bytes) {}
    std::uint64_t bits(std::size_t first, unsigned count) const {
        const std::size_t at = first / 8, rest = bytes_ - at;
        std::uint8_t last[9] = {};
        const std::uint8_t* from = data_ + at;
        if (rest < sizeof last) {
            std::memcpy(last, from, rest);
            from = last;
        }
        const Wide held = load_little(from) | static_cast<Wide>(from[8]) << 64;
        return static_cast<std::uint64_t>(held >> (first % 8)) & ones(count);
    }

private:
    const std::uint8_t* data_;
    std::size_t bytes_;
};

// j Delta for j < 2^bits, X times a word being a shift.
Secret<std::uint64_t> multiples_of(const std::uint64_t delta[2], unsigned bits) {
    Secret<std::uint64_t> all(2 * (bits < 5 ? 32 : std::size_t{1} << bits));
    std::uint64_t low = delta[0], high = delta[1];
    for (std::size_t j = 1; j < all.size() / 2; j *= 2) {
        for (std::size_t k = 0; k < j; ++k) {
            all[2 * (j + k)] = all[2 * k] ^ low;
            all[2 * (j + k) + 1] = all[2 * k + 1] ^ high;
        }
        std::uint64_t out = high >> 63;
        high = (high << 1) | (low >> 63);
        low = (low << 1) ^ (0x87 & (0 - out));
    }
    return all;
}

const std::uint8_t* bytes(const std::uint64_t* words) { return reinterpret_cast<const std::uint8_t*>(words); }
std::uint8_t* bytes(std::uint64_t* words) { return reinterpret_cast<std::uint8_t*>(words); }

// ---- trits ----

constexpr unsigned modulo_3(unsigned below_6) { return below_6 - (below_6 >= 3 ? 3 : 0); }

// Uniform modulo 3 but for 2^-64: floor(3 r / 2^64).
unsigned trit_of(std::uint64_t random) { return static_cast<unsigned>((static_cast<Wide>(random) * 3) >> 64); }

// What stands in a table for each trit 0, 1, 2, repeated over all 32 entries; and the sender's share.
struct Codes {
    std::uint64_t pattern[3];
    std::uint8_t share;
};

// The share is chosen so that entry 0, whose value is `first`, equals the trit or bit that its pad is anyway.
Codes codes_of(unsigned first, std::uint64_t pad, Outcome outcome) {
    Codes codes;
    if (outcome == Outcome::trit) {
        unsigned share = modulo_3(first + 3 - trit_of(pad));
        for (unsigned v = 0; v < 3; ++v) codes.pattern[v] = every_pair * modulo_3(v + 3 - share);
        codes.share = static_cast<std::uint8_t>(share);
        return codes;
    }
    const unsigned truth = outcome == Outcome::less ? 0b010 : 0b011;  // bit v: what the trit v means
    unsigned share = ((truth >> first) ^ static_cast<unsigned>(pad)) & 1;
    for (unsigned v = 0; v < 3; ++v) codes.pattern[v] = every_pair * (((truth >> v) ^ share) & 1);
    codes.share = static_cast<std::uint8_t>(share);
    return codes;
}

// Entry y holds the comparison of x with y.
std::uint64_t leaf_table(unsigned x, const Codes& codes) {
    std::uint64_t at = 1ull << (2 * x), below = at - 1, here = 3 * at;
    return (codes.pattern[2] & below) | (codes.pattern[0] & here) | (codes.pattern[1] & ~(below | here));
}

// Built from the last child up: thrice as many entries, the first third for a trit that is 0, turned by the share.
std::uint64_t node_table(const std::uint8_t* shares, unsigned fan_in, const Codes& codes) {
    std::uint64_t table = codes.pattern[0] & 3;
    unsigned bits = 2;
    for (unsigned child = fan_in; child-- > 0;) {
        std::uint64_t all = table | ((codes.pattern[1] & ones(bits)) << bits) |
                            ((codes.pattern[2] & ones(bits)) << (2 * bits));
        unsigned turn = shares[child] * bits;
        table = ((all >> turn) | (all << (3 * bits - turn))) & ones(3 * bits);
        bits *= 3;
    }
    return table;
}

// The even bits of a word, side by side.
std::uint64_t even_bits(std::uint64_t x) {
    x &= every_pair;
    x = (x | (x >> 1)) & 0x3333333333333333ull;
    x = (x | (x >> 2)) & 0x0f0f0f0f0f0f0f0full;
    x = (x | (x >> 4)) & 0x00ff00ff00ff00ffull;
    x = (x | (x >> 8)) & 0x0000ffff0000ffffull;
    return (x | (x >> 16)) & 0x00000000ffffffffull;
}

unsigned width_of(Outcome outcome) { return outcome == Outcome::trit ? 2 : 1; }

// Every transfer of a batch of comparisons: `value(i)` is that of entry 0, `table(i, codes)` all entries.
template <class Value, class Table>
void send_shares(const Offered& o, std::size_t entries, Outcome outcome, std::uint8_t* shares, std::uint8_t* message,
                 Value value, Table table) {
    const Secret<std::uint64_t> multiples = multiples_of(o.delta, o.bits);
    const unsigned width = width_of(outcome), travel = static_cast<unsigned>(entries - 1) * width;
    const BitReader corrections(o.corrections, packed_size(o.count, o.bits));
    by_chunks(o.count, o.threads, [&](std::size_t begin, std::size_t end) {
        const AesKey key = public_key(o.tweak + begin);
        BitWriter out(message + begin * travel / 8);
        Secret<std::uint64_t> x(2 * piece), pads(piece), first(piece);
        for (std::size_t at = begin; at < end; at += piece) {
            const std::size_t now = end - at < piece ? end - at : piece;
            for (std::size_t i = 0; i < now; ++i) {
                const std::size_t c = corrections.bits((at + i) * o.bits, o.bits);
                x[2 * i] = o.words[2 * (at + i)] ^ multiples[2 * c];
                x[2 * i + 1] = o.words[2 * (at + i) + 1] ^ multiples[2 * c + 1];
            }
            aes().pads(key, bytes(x.data()), bytes(multiples.data()), now, entries, o.tweak + at, pads.data(),
                       first.data());
            for (std::size_t i = 0; i < now; ++i) {
                const Codes codes = codes_of(value(at + i), first[i], outcome);
                shares[at + i] = codes.share;
                const std::uint64_t masked = (table(at + i, codes) ^ pads[i]) >> 2;  // without entry 0
                out.put((width == 2 ? masked : even_bits(masked)) & ones(travel), travel);
            }
        }
    });
}

// ---- residues ----

std::uint64_t add_modulo(std::uint64_t x, std::uint64_t y, std::uint64_t modulus) {
    if (modulus == 0) return x + y;
    Wide sum = static_cast<Wide>(x) + y;
    return static_cast<std::uint64_t>(sum - (sum >= modulus ? modulus : 0));
}

// floor(r m / 2^128) for 128 random bits r: uniform below the modulus but for 2^-64.
std::uint64_t residue_of(const std::uint64_t random[2], std::uint64_t modulus) {
    if (modulus == 0) return random[1];
    Wide low = static_cast<Wide>(random[0]) * modulus, high = static_cast<Wide>(random[1]) * modulus;
    return static_cast<std::uint64_t>((high + (low >> 64)) >> 64);
}

unsigned bits_of_all(const std::uint64_t* moduli, std::size_t parts) {
    unsigned bits = 0;
    for (std::size_t k = 0; k < parts; ++k) bits += bits_of(moduli[k]);
    return bits;
}

}  // namespace

unsigned bits_of(std::uint64_t modulus) {
    if (modulus == 0) return 64;
    return modulus == 1 ? 1 : 64 - static_cast<unsigned>(__builtin_clzll(modulus - 1));
}

void pack(const std::uint8_t* values, std::size_t count, unsigned bits, std::uint8_t* packed) {
    BitWriter out(packed);
    for (std::size_t i = 0; i < count; ++i) out.put(values[i] & ones(bits), bits);
}

void unpack(const std::uint8_t* packed, std::size_t count, unsigned bits, std::uint8_t* values) {
    const BitReader in(packed, packed_size(count, bits));
    for (std::size_t i = 0; i < count; ++i) values[i] = static_cast<std::uint8_t>(in.bits(i * bits, bits));
}

void send_chosen(const Offered& o, const std::uint64_t* tables, std::size_t entries, unsigned width,
                 std::uint8_t* message) {
    const Secret<std::uint64_t> multiples = multiples_of(o.delta, o.bits);
    const BitReader corrections(o.corrections, packed_size(o.count, o.bits));
    by_chunks(o.count, o.threads, [&](std::size_t begin, std::size_t end) {
        const AesKey key = public_key(o.tweak + begin);
        BitWriter out(message + begin / 8 * entries * width);
        Secret<std::uint64_t> x(2 * entries);
        for (std::size_t i = begin; i < end; ++i) {
            const std::size_t c = corrections.bits(i * o.bits, o.bits);
            for (std::size_t j = 0; j < entries; ++j) {
                x[2 * j] = o.words[2 * i] ^ multiples[2 * (j ^ c)];
                x[2 * j + 1] = o.words[2 * i + 1] ^ multiples[2 * (j ^ c) + 1];
            }
            aes().hash(key, bytes(x.data()), bytes(x.data()), entries, o.tweak + i, entries);
            for (std::size_t j = 0; j < entries; ++j) out.put((tables[i * entries + j] ^ x[2 * j]) & ones(width), width);
        }
    });
}

void receive_chosen(const Chosen& c, std::size_t entries, unsigned width, std::uint64_t* values) {
    const BitReader in(c.message, c.message_bytes);
    by_chunks(c.count, c.threads, [&](std::size_t begin, std::size_t end) {
        Secret<std::uint64_t> pads(2 * (end - begin));
        aes().hash(public_key(c.tweak + begin), bytes(c.words + 2 * begin), bytes(pads.data()), end - begin, c.tweak + begin, 1);
        for (std::size_t i = begin; i < end; ++i) {
            std::uint64_t masked = 0;
            for (std::size_t j = 0; j < entries; ++j)  // all are read, one is kept
                masked |= in.bits((i * entries + j) * width, width) & (0 - static_cast<std::uint64_t>(j == c.choices[i]));
            values[i] = (masked ^ pads[2 * (i - begin)]) & ones(width);
        }
    });
}

void send_correlated(const Offered& o, const std::uint64_t* differences, const std::uint64_t* moduli,
                     std::size_t parts, std::uint64_t* pads, std::uint8_t* message) {
    const BitReader corrections(o.corrections, packed_size(o.count, 1));
    const unsigned travel = bits_of_all(moduli, parts);
    by_chunks(o.count, o.threads, [&](std::size_t begin, std::size_t end) {
        const std::size_t rows = (end - begin) * parts;
        Secret<std::uint64_t> x(4 * rows);  // the pad for b = 0, that for b = 1
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t i = begin + row / parts;
            const std::uint64_t flip = 0 - corrections.bits(i, 1);
            for (unsigned half = 0; half < 2; ++half) {
                x[4 * row + half] = o.words[2 * i + half] ^ (o.delta[half] & flip);
                x[4 * row + 2 + half] = o.words[2 * i + half] ^ (o.delta[half] & ~flip);
            }
        }
        const std::uint64_t tweak = o.tweak + begin * parts;
        aes().hash(public_key(tweak), bytes(x.data()), bytes(x.data()), 2 * rows, tweak, 2);
        BitWriter out(message + begin / 8 * travel);
        for (std::size_t row = 0; row < rows; ++row) {
            const std::size_t at = begin * parts + row;
            const std::uint64_t m = moduli[row % parts], r = residue_of(&x[4 * row], m);
            pads[at] = r;
            const std::uint64_t masked = add_modulo(r, residue_of(&x[4 * row + 2], m), m);
            out.put(add_modulo(masked, differences[at], m), bits_of(m));
        }
    });
}

bool receive_correlated(const Chosen& c, const std::uint64_t* moduli, std::size_t parts, std::uint64_t* values) {
    const BitReader in(c.message, c.message_bytes);
    const unsigned travel = bits_of_all(moduli, parts);
    std::atomic<bool> good{true};
    by_chunks(c.count, c.threads, [&](std::size_t begin, std::size_t end) {
        const std::size_t rows = (end - begin) * parts;
        Secret<std::uint64_t> x(2 * rows);
        for (std::size_t row = 0; row < rows; ++row)
            std::memcpy(&x[2 * row], c.words + 2 * (begin + row / parts), aes_block);
        const std::uint64_t tweak = c.tweak + begin * parts;
        aes().hash(public_key(tweak), bytes(x.data()), bytes(x.data()), rows, tweak, 1);
        bool below = true;
        std::size_t at = begin * travel;
        for (std::size_t row = 0; row < rows; ++row) {
            const std::uint64_t m = moduli[row % parts], pad = residue_of(&x[2 * row], m);
            const std::uint64_t entry = in.bits(at, bits_of(m));
            at += bits_of(m);
            below &= m == 0 || entry < m;
            const std::uint64_t opened = add_modulo(entry, m - pad, m);
            const std::uint64_t one = 0 - static_cast<std::uint64_t>(c.choices[begin + row / parts] & 1);
            values[begin * parts + row] = (opened & one) | (pad & ~one);
        }
        if (!below) good = false;
    });
    return good;
}

void send_leaf(const Offered& o, const std::uint64_t* x, unsigned shift, Outcome outcome, std::uint8_t* shares,
               std::uint8_t* message) {
    auto digit = [&](std::size_t i) { return static_cast<unsigned>((x[i] >> shift) & ones(o.bits)); };
    send_shares(o, std::size_t{1} << o.bits, outcome, shares, message,
                [&](std::size_t i) { return 2u * (digit(i) != 0); },
                [&](std::size_t i, const Codes& codes) { return leaf_table(digit(i), codes); });
}

void send_node(const Offered& o, const std::uint8_t* children, unsigned fan_in, Outcome outcome,
               std::uint8_t* shares, std::uint8_t* message) {
    send_shares(o, fan_in == 2 ? 9 : 27, outcome, shares, message,
                [&](std::size_t i) {
                    unsigned value = 0;
                    for (unsigned child = fan_in; child-- > 0;) {
                        unsigned own = children[child * o.count + i];
                        value = own + value * (own == 0);
                    }
                    return value;
                },
                [&](std::size_t i, const Codes& codes) {
                    std::uint8_t own[3] = {};
                    for (unsigned child = 0; child < fan_in; ++child) own[child] = children[child * o.count + i];
                    return node_table(own, fan_in, codes);
                });
}

bool receive_share(const Chosen& c, std::size_t entries, Outcome outcome, std::uint8_t* shares) {
    const unsigned width = width_of(outcome), travel = static_cast<unsigned>(entries - 1) * width;
    const BitReader in(c.message, c.message_bytes);
    std::atomic<bool> good{true};
    by_chunks(c.count, c.threads, [&](std::size_t begin, std::size_t end) {
        Secret<std::uint64_t> pads(2 * (end - begin));
        aes().hash(public_key(c.tweak + begin), bytes(c.words + 2 * begin), bytes(pads.data()), end - begin, c.tweak + begin, 1);
        unsigned other = 0;
        for (std::size_t i = begin; i < end; ++i) {
            const std::uint64_t low = pads[2 * (i - begin)], high = pads[2 * (i - begin) + 1];
            const unsigned x = c.choices[i];
            const unsigned zero = 0u - static_cast<unsigned>(x == 0);
            const std::uint64_t all = in.bits(i * travel, travel) << width;
            unsigned kept, own;
            if (width == 2) {
                kept = (static_cast<unsigned>(all >> (2 * x)) ^ static_cast<unsigned>((low >> 63) | (high >> 63 << 1))) & 3;
                own = trit_of(low);
            } else {
                kept = (static_cast<unsigned>(all >> x) ^ static_cast<unsigned>(low >> 63)) & 1;
                own = low & 1;
            }
            const unsigned share = (own & zero) | (kept & ~zero);
            other |= share == 3;
            shares[i] = static_cast<std::uint8_t>(share);
        }
        if (other) good = false;
    });
    return good;
}

}  // namespace fedbank
