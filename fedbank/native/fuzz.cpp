// Everything in the core that takes bytes from a peer, fed with any bytes of the right size: the first six bytes choose
// the function and small sizes, the others are the peer's, repeated or cut to the exact number that the sizes ask for.
// Every instruction set must give the same, a plain definition must agree, and residues not below their prime must be
// refused.
// Built for libFuzzer by clang (scripts/fuzz), and for `replay.cpp` by any compiler.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>

#include "curve25519.hpp"
#include "hint.hpp"
#include "kernels.hpp"
#include "products.hpp"
#include "rlwe.hpp"
#include "sampler.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fedbank {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Words = std::vector<std::uint64_t>;

// Just below a power of two, where nearly any bytes are residues, and just above one, where nearly none are. All are 1
// modulo 16384.
const std::vector<std::vector<std::uint64_t>> prime_sets = {
    {562949952847873, 562949952798721, 562949952700417},
    {8796092858369, 8796092792833, 8796092661761, 8796092399617},
    {562949952847873},
    {1073872897},
    {281474977349633, 2147352577},
    {2147352577, 1099511922689, 562949952274433, 1073971201},
    {562949952847873, 281474977349633, 8796092858369, 1099511922689, 2147352577, 1073872897, 2147205121, 1099512004609},
};

void expect(bool holds, const char* sentence) {
    if (holds) return;
    std::fprintf(stderr, "%s\n", sentence);
    std::abort();
}

// One input, read from its beginning.
class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}
    std::size_t choice(std::size_t bound) { return at_ < size_ ? data_[at_++] % bound : 0; }
    // Exactly `count` bytes of the peer, so that a read beyond them is one beyond the allocation.
    Bytes peer(std::size_t count) {
        Bytes bytes(count);
        for (std::size_t done = 0; done < count && at_ < size_;) {
            std::size_t begin = used_ % (size_ - at_), piece = std::min(count - done, size_ - at_ - begin);
            std::copy_n(data_ + at_ + begin, piece, bytes.begin() + static_cast<std::ptrdiff_t>(done));
            done += piece;
            used_ += piece;
        }
        return bytes;
    }
    Key seed() {
        Bytes bytes = peer(32);
        Key key;
        std::copy(bytes.begin(), bytes.end(), key.begin());
        return key;
    }

private:
    const std::uint8_t* data_;
    std::size_t size_, at_ = 0, used_ = 0;
};

// The same numbers from every instruction set, without an error or with the same.
template <class Result>
Result on_every_path(const std::function<Result()>& compute) {
    std::vector<Result> results;
    for (const auto& name : available_kernels()) {
        use_kernels(name);
        results.push_back(compute());
    }
    for (const auto& result : results) expect(result == results[0], "The instruction sets differ.");
    return results[0];
}

Layout small_layout(Input& input) {
    Layout layout;
    layout.primes = prime_sets[input.choice(prime_sets.size())];
    std::size_t sizes = input.choice(256), widths = input.choice(256);
    layout.vectors = sizes & 1 ? 32 : 16;
    layout.rows = std::size_t{1} << ((sizes >> 1) % 5);
    layout.columns = 16 / layout.rows;
    layout.dimension = layout.vectors * layout.rows * layout.columns;
    layout.inner_dimension = layout.columns < 8 ? 128 : 128 * (1 + (sizes >> 5) % 3);
    while (layout.primes.size() > 1 && layout.primes.size() * layout.blocks() > 64) layout.primes.pop_back();
    layout.steps.assign(layout.primes.size(), 1);
    layout.ring_bits = static_cast<unsigned>(1 + widths % 53);
    layout.response_bits = std::max((layout.ring_bits / 8 + 1) * 8, widths & 64 ? 56u : widths & 128 ? 64u : 8u);
    layout.flood_bits = static_cast<unsigned>(1 + (widths * 37) % 120);
    layout.check();
    return layout;
}

// Visit the residues of packed polynomials: `visit(value, prime)` gives what to put in its place.
template <class Rings, class Visit>
void visit_residues(const Rings& layout, Bytes& packed, Visit visit) {
    std::size_t size = packed.size();
    packed.resize(size + 8);  // so that eight bytes can be read at every residue
    for (std::size_t begin = 0; begin < size;)
        for (std::uint64_t p : layout.primes) {
            std::size_t bits = bit_length(p);
            for (std::size_t at = 0; at < layout.dimension * bits; at += bits) {
                std::uint64_t around, mask = (1ull << bits) - 1;
                std::memcpy(&around, &packed[begin + at / 8], 8);
                std::uint64_t value = (around >> (at % 8)) & mask;
                around ^= (value ^ visit(value, p)) << (at % 8);
                std::memcpy(&packed[begin + at / 8], &around, 8);
            }
            begin += layout.dimension * bits / 8;
        }
    packed.resize(size);
    packed.shrink_to_fit();
}

// Packed polynomials from the peer, as they are or with each residue brought to its prime's range.
template <class Rings>
Bytes polynomials(Input& input, const Rings& layout, std::size_t count, bool in_range) {
    Bytes packed = input.peer(count * layout.packed_bytes());
    if (in_range)
        visit_residues(layout, packed, [](std::uint64_t x, std::uint64_t p) { return std::min(x, p - 1); });
    return packed;
}

template <class Rings>
bool all_below(const Rings& layout, Bytes packed) {
    bool below = true;
    visit_residues(layout, packed, [&](std::uint64_t x, std::uint64_t p) { return below &= x < p, x; });
    return below;
}

// The bytes as the core gets them. A build with FEDBANK_BREAK_UNPACK promises one byte that is not there: the sanitizer
// must find it, or it would find nothing.
Bytes as_received(Bytes packed) {
#if defined(FEDBANK_BREAK_UNPACK)
    packed.pop_back();
    packed.shrink_to_fit();
#endif
    return packed;
}

// ---- the matrix holder: a public key and ciphertexts ----

struct Answer {
    Bytes useful, other;
    Words masks;
    bool refused = false;
    bool operator==(const Answer&) const = default;
};

Answer respond(const Layout& layout, const Key& seed, const Bytes& key, const Bytes& secrets, const Words& hint,
               std::size_t hint_rows, unsigned threads) {
    std::size_t groups = layout.groups(hint_rows), bytes = layout.response_bits / 8;
    Answer answer{Bytes(groups * layout.useful() * bytes), Bytes(groups * layout.dimension * bytes),
                  Words(layout.vectors * hint_rows)};
    try {
        Responder responder(layout, seed, key.data());
        responder.respond(layout, seed, secrets.data(), hint.data(), hint_rows, Key{}, threads, answer.useful.data(),
                          answer.other.data(), answer.masks.data());
    } catch (const std::out_of_range&) {
        answer = {{}, {}, {}, true};
    }
    return answer;
}

void matrix_holder(Input& input) {
    Layout layout = small_layout(input);
    std::size_t hint_rows = input.choice(20), flags = input.choice(256);
    Key seed = input.seed();
    Bytes key = polynomials(input, layout, 1, flags & 1);
    Bytes secrets = polynomials(input, layout, layout.blocks(), flags & 2);
    Bytes hint_bytes = input.peer(hint_rows * layout.inner_dimension * 8);
    Words hint(hint_rows * layout.inner_dimension);
    if (!hint.empty()) std::memcpy(hint.data(), hint_bytes.data(), hint_bytes.size());
    bool fits = all_below(layout, key) && all_below(layout, secrets);
    Bytes key_received = as_received(key), secrets_received = as_received(secrets);
    Answer answer = on_every_path<Answer>([&] {
        return respond(layout, seed, key_received, secrets_received, hint, hint_rows, flags & 4 ? 2 : 1);
    });
    expect(!(fits && answer.refused), "Residues below their primes are refused.");
    expect(fits || answer.refused, "A residue that is not below its prime passes.");
    for (std::uint64_t mask : answer.masks) expect(!(mask >> layout.ring_bits), "A mask is not in its ring.");
}

// ---- the vector holder: responses ----

// The definition: coefficients of b - a z, rounded to the ring.
Words opened(const Layout& layout, const Bytes& useful, const Bytes& other, std::size_t hint_rows) {
    std::vector<std::int8_t> z(layout.dimension);
    Stream stream(Key{}, Purpose::secret, 0);
    ternary(stream, z.data(), z.size());
    std::size_t bytes = layout.response_bits / 8, n = layout.dimension;
    auto word = [&](const Bytes& from, std::size_t at) {
        std::uint64_t value = 0;
        std::memcpy(&value, from.data() + at * bytes, bytes);
        return value;
    };
    unsigned down = layout.response_bits - layout.ring_bits;
    Words shares(layout.vectors * hint_rows);
    for (std::size_t row = 0; row < hint_rows; ++row)
        for (std::size_t v = 0; v < layout.vectors; ++v) {
            std::size_t g = row / layout.rows, r = row % layout.rows, place = layout.place(v, r);
            std::uint64_t phase = word(useful, g * layout.useful() + r * layout.vectors + v);
            for (std::size_t i = 0; i < n; ++i) {
                std::uint64_t factor = word(other, g * n + i) * static_cast<std::uint64_t>(z[(n + place - i) % n]);
                phase -= i <= place ? factor : -factor;
            }
            shares[v * hint_rows + row] =
                ((phase + (1ull << (down - 1))) >> down) & ((1ull << layout.ring_bits) - 1);
        }
    return shares;
}

void vector_holder(Input& input) {
    Layout layout = small_layout(input);
    std::size_t hint_rows = input.choice(7), flags = input.choice(256);
    std::size_t groups = layout.groups(hint_rows), bytes = layout.response_bits / 8;
    Bytes useful = input.peer(groups * layout.useful() * bytes), other = input.peer(groups * layout.dimension * bytes);
    Words shares = on_every_path<Words>([&] {
        OuterKey key(Key{}, layout.primes, layout.dimension);
        Words out(layout.vectors * hint_rows);
        key.decrypt(layout, useful.data(), other.data(), hint_rows, flags & 1 ? 2 : 1, out.data());
        return out;
    });
    expect(shares == opened(layout, useful, other, hint_rows), "The opened responses are not b - a z.");
}

// ---- the matrix holder: words ----

constexpr std::size_t edges[] = {0, 1, 2, 7, 2047, 2048, 2049, 70000};  // around the tiles and stretches of the sums

void word_sums(Input& input) {
    std::size_t length = input.choice(256), samples = length < 248 ? length : edges[length - 248];
    std::size_t features = input.choice(4), width = input.choice(256) + 1, bytes = input.choice(8) + 1;
    std::size_t flags = input.choice(256), count = samples > 3000 ? flags % 3 : flags % 18;
    unsigned threads = flags & 64 ? 2 : 1;
    Bytes packed = input.peer(count * samples * bytes), codes(features * samples);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>((i * 40503 >> 4) % width);
    Codes matrix{codes.data(), features, samples, width};
    Words expected(count * matrix.rows());
    for (std::size_t v = 0; v < count; ++v)
        for (std::size_t i = 0; i < samples; ++i) {
            std::uint64_t word = 0;
            std::memcpy(reinterpret_cast<std::uint8_t*>(&word) + 8 - bytes, &packed[(v * samples + i) * bytes], bytes);
            for (std::size_t f = 0; f < features; ++f)
                expected[v * matrix.rows() + f * width + codes[f * samples + i]] += word;
        }
    Words sums = on_every_path<Words>([&] {
        Words out(count * matrix.rows());
        sum_packed(matrix, packed.data(), bytes, count, threads, out.data());
        return out;
    });
    expect(sums == expected, "The sums of packed words are not the sums by bin.");
}

// ---- both: seeds ----

// Row i of a block of A, entry c.
std::uint64_t rotated(const Words& a, std::size_t i, std::size_t c) { return c <= i ? a[i - c] : -a[a.size() + i - c]; }

void hint_of_seed(Input& input) {
    constexpr std::size_t dimension = 128;
    std::size_t samples = input.choice(256) + (input.choice(2) ? 129 : 0), features = input.choice(3);
    std::size_t width = input.choice(9) + 1, threads = input.choice(2) + 1;
    Key seed = input.seed();
    Bytes codes(features * samples);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>((i * 40503 >> 4) % width);
    Codes matrix{codes.data(), features, samples, width};
    Words hint = on_every_path<Words>([&] {
        Words out(matrix.rows() * dimension);
        make_hint(matrix, seed, dimension, static_cast<unsigned>(threads), out.data());
        return out;
    });
    Words expected(hint.size()), a(dimension);
    for (std::size_t i = 0; i < samples; ++i) {
        public_block(seed, dimension, i / dimension, a.data());
        for (std::size_t f = 0; f < features; ++f)
            for (std::size_t c = 0; c < dimension; ++c)
                expected[(f * width + codes[f * samples + i]) * dimension + c] += rotated(a, i % dimension, c);
    }
    expect(hint == expected, "The hint is not M A.");
}

void polynomial_of_seed(Input& input) {
    const auto& primes = prime_sets[input.choice(prime_sets.size())];
    std::uint64_t p = primes[input.choice(primes.size())];
    std::size_t dimension = std::size_t{16} << input.choice(7), index = input.choice(256) << input.choice(48);
    Key seed = input.seed();
    Words polynomial = on_every_path<Words>([&] {
        Words out(dimension);
        public_polynomial(seed, Purpose::outer_public, index, p, dimension, out.data());
        return out;
    });
    for (std::uint64_t x : polynomial) expect(x < p, "A public polynomial has a residue above its prime.");
}

// ---- both: points ----

// Multiplications commute, in one batch and another; points of small order end at zero in both orders.
void points(Input& input) {
    std::size_t count = input.choice(10), threads = input.choice(2) + 1;
    Bytes points = input.peer(32 * count), scalars = input.peer(32 * count);
    Key scalar = input.seed();
    scalar[31] &= 127;
    for (std::size_t i = 0; i < count; ++i) scalars[32 * i + 31] &= 127;
    auto once = [&](const Bytes& from) {
        Bytes out(32 * count);
        multiply_points(scalar, from.data(), count, static_cast<unsigned>(threads), out.data());
        return out;
    };
    auto each = [&](const Bytes& from) {
        Bytes out(32 * count);
        multiply_each(scalars.data(), from.data(), count, static_cast<unsigned>(threads), out.data());
        return out;
    };
    Bytes one = on_every_path<Bytes>([&] { return each(once(points)); });
    Bytes other = on_every_path<Bytes>([&] { return once(each(points)); });
    expect(one == other, "Multiplications do not commute.");
}

// A message's point does not depend on the others of its batch.
void messages(Input& input) {
    std::size_t count = input.choice(10), domain_bytes = input.choice(255) + 1, threads = input.choice(2) + 1;
    std::vector<std::int64_t> offsets{0};
    for (std::size_t i = 0; i < count; ++i)
        offsets.push_back(offsets.back() + static_cast<std::int64_t>(input.choice(256) * (1 + i % 2)));
    Bytes data = input.peer(static_cast<std::size_t>(offsets.back())), domain = input.peer(domain_bytes);
    Bytes batch = on_every_path<Bytes>([&] {
        Bytes out(32 * count);
        hash_points({data.data(), offsets.data()}, count, {domain.data(), domain_bytes},
                    static_cast<unsigned>(threads), out.data());
        return out;
    });
    use_kernels("portable");
    for (std::size_t i = 0; i < count; ++i) {
        Bytes alone(32);
        hash_points({data.data(), &offsets[i]}, 1, {domain.data(), domain_bytes}, 1, alone.data());
        expect(std::equal(alone.begin(), alone.end(), &batch[32 * i]), "A hash depends on the messages beside it.");
    }
}

// ---- private products: a public key and ciphertexts, and responses ----

ProductScheme small_scheme(Input& input, bool slots) {
    ProductScheme scheme;
    scheme.primes = prime_sets[input.choice(slots ? 2 : prime_sets.size())];
    std::size_t sizes = input.choice(256), widths = input.choice(256);
    scheme.dimension = std::size_t{16} << (sizes % 3);
    if (!slots) scheme.plains = {1ull << (1 + widths % 50)};
    else if (widths & 8) scheme.plains = {1073872897, 1073971201};
    else scheme.plains = {1073872897};
    scheme.steps.assign(scheme.plains.size(), Words(scheme.primes.size(), 12345));
    scheme.rests.assign(scheme.plains.size(), 0.25);
    unsigned most = scheme.plains.size() == 2 ? 86 : 63;
    scheme.useful_bits = scheme.ring_bits() + 1 + static_cast<unsigned>((sizes >> 2) % 8);
    scheme.other_bits = std::min(most, scheme.useful_bits + static_cast<unsigned>(widths >> 6) * (slots ? 6 : 1));
    scheme.flood_bits = static_cast<unsigned>(1 + (widths * 37) % 142);
    scheme.check();
    return scheme;
}

Tiles small_tiles(Input& input, const ProductScheme& scheme) {
    std::size_t rows = input.choice(9), columns = input.choice(40), width = 1 + input.choice(scheme.dimension);
    return {nullptr, rows, columns, static_cast<std::ptrdiff_t>(columns), 1, scheme.dimension / width, width};
}

template <class Reply>
Answer answered(const ProductScheme& scheme, const Key& seed, const Bytes& key, std::size_t useful, std::size_t responses,
                std::size_t results, Reply reply) {
    Answer answer{Bytes(useful), Bytes(responses * scheme.other_bytes()), Words(results)};
    try {
        reply(ProductResponder(scheme, seed, key.data()), answer);
    } catch (const std::out_of_range&) {
        answer = {{}, {}, {}, true};
    }
    return answer;
}

void product_matrix_holder(Input& input) {
    bool by_slots = input.choice(2);
    ProductScheme scheme = small_scheme(input, by_slots);
    Tiles tiles = small_tiles(input, scheme);
    Slots slots{3 * tiles.columns, 1 + tiles.rows, scheme.dimension};
    std::size_t flags = input.choice(256);
    unsigned threads = flags & 4 ? 2 : 1;
    Key seed = input.seed();
    Bytes key = polynomials(input, scheme, 1, flags & 1);
    Bytes sent = polynomials(input, scheme, by_slots ? slots.ciphertexts() : tiles.blocks(), flags & 2);
    std::vector<std::int32_t> entries(tiles.rows * tiles.columns);
    for (std::size_t i = 0; i < entries.size(); ++i) entries[i] = static_cast<std::int32_t>(i * 2654435761u);
    tiles.entries = entries.data();
    std::vector<std::int64_t> values(scheme.plains.size() * slots.terms * slots.samples);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i * 40503 % 1073872897) - 536936448;
    bool fits = all_below(scheme, key) && all_below(scheme, sent);
    Bytes key_received = as_received(key), sent_received = as_received(sent);
    Answer answer = on_every_path<Answer>([&] {
        return answered(scheme, seed, key_received, by_slots ? useful_bytes(scheme, slots) : useful_bytes(scheme, tiles),
                        by_slots ? slots.blocks() : tiles.groups(),
                        by_slots ? scheme.plains.size() * slots.samples : tiles.rows,
                        [&](const ProductResponder& responder, Answer& out) {
            if (by_slots) responder.respond(scheme, slots, values.data(), seed, sent_received.data(), Key{}, threads,
                                            out.useful.data(), out.other.data(), out.masks.data());
            else responder.respond(scheme, tiles, seed, sent_received.data(), Key{}, threads, out.useful.data(),
                                   out.other.data(), out.masks.data());
        });
    });
    bool looked_at = by_slots || tiles.groups() || fits;  // without a row nothing but the residues is looked at, too
    expect(!(fits && answer.refused), "Residues below their primes are refused by the products.");
    expect(fits || answer.refused || !looked_at, "A residue that is not below its prime passes the products.");
    std::size_t row = by_slots ? slots.samples : tiles.rows;
    for (std::size_t i = 0; i < answer.masks.size(); ++i)
        expect(answer.masks[i] < scheme.plains[i / row], "A share is not in its ring.");
}

// The definition: numbers of so many bits, the lowest first.
unsigned __int128 number_at(const Bytes& from, std::size_t begin, std::size_t i, unsigned bits) {
    unsigned __int128 value = 0;
    for (std::size_t k = 0; k < bits; ++k) {
        std::size_t at = i * bits + k;
        value |= static_cast<unsigned __int128>(from[begin + at / 8] >> (at % 8) & 1) << k;
    }
    return value;
}

// b - a z at one place, by the definition, and its share round(phase T / 2^bits) modulo T.
unsigned __int128 message_at(const ProductScheme& scheme, const Bytes& useful, std::size_t useful_begin, std::size_t i,
                             const Bytes& other, std::size_t other_begin, std::size_t place,
                             const std::vector<std::int8_t>& z) {
    std::size_t n = scheme.dimension;
    unsigned bits = scheme.other_bits;
    constexpr unsigned __int128 one = 1;
    unsigned __int128 phase = number_at(useful, useful_begin, i, scheme.useful_bits) << (bits - scheme.useful_bits);
    for (std::size_t k = 0; k < n; ++k) {
        unsigned __int128 factor = number_at(other, other_begin, k, bits) *
                                   static_cast<unsigned __int128>(static_cast<__int128>(z[(n + place - k) % n]));
        phase -= k <= place ? factor : -factor;
    }
    phase &= (one << bits) - 1;
    unsigned low = std::min(bits - 1, 43u);  // phase T + 2^(bits-1) in two parts, the lower one of so many bits
    unsigned __int128 lower = (phase & ((one << low) - 1)) * scheme.plain(), upper = (phase >> low) * scheme.plain();
    lower += (one << (bits - 1)) & ((one << low) - 1);
    upper += (one << (bits - 1)) >> low;
    return ((upper + (lower >> low)) >> (bits - low)) % scheme.plain();
}

std::vector<std::int8_t> secret_of(const ProductScheme& scheme) {
    std::vector<std::int8_t> z(scheme.dimension);
    Stream stream(Key{}, Purpose::secret, 0);
    ternary(stream, z.data(), z.size());
    return z;
}

// The shares that every path opens; none if bits are left over.
template <class Layout>
Words opened(const ProductScheme& scheme, const Layout& layout, std::size_t count, const Bytes& useful, const Bytes& other,
             unsigned threads) {
    return on_every_path<Words>([&] {
        ProductKey key(Key{}, scheme);
        Words out(count);
        try {
            key.open(scheme, layout, useful.data(), other.data(), threads, out.data());
        } catch (const std::out_of_range&) {
            return Words{};
        }
        return out;
    });
}

void product_vector_holder(Input& input) {
    ProductScheme scheme = small_scheme(input, false);
    Tiles tiles = small_tiles(input, scheme);
    unsigned threads = input.choice(2) ? 2 : 1;
    std::size_t group_bytes = (tiles.tile_rows * scheme.useful_bits + 7) / 8;
    Bytes useful = input.peer(useful_bytes(scheme, tiles)), other = input.peer(tiles.groups() * scheme.other_bytes());
    Words shares = opened(scheme, tiles, tiles.rows, useful, other, threads);
    std::vector<std::int8_t> z = secret_of(scheme);
    for (std::size_t row = 0; row < shares.size(); ++row) {
        std::size_t g = row / tiles.tile_rows, r = row % tiles.tile_rows;
        expect(shares[row] == message_at(scheme, useful, g * group_bytes, r, other, g * scheme.other_bytes(), tiles.place(r), z),
               "The opened products are not b - a z.");
    }
}

// The same for slots: of the message V modulo T the slots modulo each prime p are those of V p / T.
void slots_vector_holder(Input& input) {
    ProductScheme scheme = small_scheme(input, true);
    std::size_t n = scheme.dimension;
    Slots slots{input.choice(256) % (3 * n), 1 + input.choice(9), n};
    unsigned threads = input.choice(2) ? 2 : 1;
    std::size_t block_bytes = useful_bytes(scheme, slots) / std::max<std::size_t>(1, slots.blocks());
    Bytes useful = input.peer(useful_bytes(scheme, slots)), other = input.peer(slots.blocks() * scheme.other_bytes());
    Words shares = opened(scheme, slots, scheme.plains.size() * slots.samples, useful, other, threads);
    if (shares.empty()) return;
    std::vector<std::int8_t> z = secret_of(scheme);
    for (std::size_t block = 0; block < slots.blocks(); ++block)
        for (std::size_t h = 0; h < scheme.plains.size(); ++h) {
            std::uint64_t p = scheme.plains[h];
            auto others = static_cast<std::uint64_t>(scheme.plain() / p % p);
            Residues x(n);
            for (std::size_t i = 0; i < n; ++i) {
                auto message = static_cast<std::uint64_t>(
                    message_at(scheme, useful, block * block_bytes, i, other, block * scheme.other_bytes(), i, z) % p);
                x[i] = static_cast<double>(static_cast<unsigned __int128>(message) * inverse_modulo(others, p) % p);
            }
            ring(p, n)->forward(x.data());
            std::vector<std::uint64_t> whole(n);
            ring(p, n)->canonical(whole.data(), x.data(), n);
            for (std::size_t i = 0; i < slots.size(block); ++i) {
                std::uint64_t sum = 0;
                for (std::size_t part = 0; part < slots.parts(block); ++part) sum += whole[part * slots.size(block) + i];
                expect(shares[h * slots.samples + block * n + i] == sum % p, "The opened slots are not those of b - a z.");
            }
        }
}

}  // namespace
}  // namespace fedbank

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace fedbank;
    Input input(data, size);
    constexpr void (*targets[])(Input&) = {matrix_holder, vector_holder, word_sums, hint_of_seed, polynomial_of_seed,
                                           points, messages};
    constexpr void (*later[])(Input&) = {product_matrix_holder, product_vector_holder};
    std::size_t chosen = input.choice(256);  // the first targets keep their bytes, so that the corpus keeps its meaning
    if (chosen < 240) targets[chosen % std::size(targets)](input);
    else if (chosen < 252) later[chosen % std::size(later)](input);
    else slots_vector_holder(input);
    return 0;
}
