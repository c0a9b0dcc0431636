#include "rlwe.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "ciphertexts.hpp"
#include "parallel.hpp"

namespace fedbank {
namespace {

// b = a z + error + message, canonical residues; `a` (coefficients) is overwritten.
void add_encryption(const Ring& ring, double* a, const Residues& z, const std::int64_t* error, const std::int8_t* message,
                    double step, std::uint64_t* out) {
    ring.forward(a);
    ring.multiply(a, a, z.data());
    ring.inverse(a);
    for (std::size_t i = 0; i < ring.size(); ++i)
        a[i] += static_cast<double>(error[i]) + (message ? message[i] * step : 0.0);
    ring.canonical(out, a, ring.size());
}

}  // namespace

void Layout::check() const {
    bool fits = !primes.empty() && primes.size() <= 8 && steps.size() == primes.size() && vectors && rows && columns &&
                vectors % 16 == 0 && points() >= 16 && vectors * points() == dimension && dimension <= 8192 &&
                inner_dimension % columns == 0 && inner_dimension % 128 == 0 && blocks() <= 1024 &&
                ring_bits >= 1 && ring_bits <= 53 && response_bits > ring_bits && response_bits <= 64 &&
                response_bits % 8 == 0 && flood_bits >= 1 && flood_bits <= 120;
    if (!fits) throw std::invalid_argument("The layout of the ciphertexts does not fit together.");
    for (std::size_t k = 0; k < primes.size(); ++k) {
        ring(primes[k], dimension);  // throws if it is no such prime
        if (std::count(primes.begin(), primes.end(), primes[k]) != 1 || steps[k] >= primes[k])
            throw std::invalid_argument("The primes of a layout must differ, and its steps lie below them.");
    }
}

std::size_t Layout::packed_bytes() const {
    std::size_t bytes = 0;
    for (std::uint64_t p : primes) bytes += run_bytes(p, dimension);
    return bytes;
}

OuterKey::OuterKey(const Key& key, std::vector<std::uint64_t> primes, std::size_t dimension)
    : primes_(std::move(primes)), secret_(dimension) {
    Stream stream(key, Purpose::secret, 0);
    ternary(stream, secret_.data(), dimension);
    for (std::uint64_t p : primes_) {
        Secret<double> z(secret_.begin(), secret_.end());
        ring(p, dimension)->forward(z.data());
        transformed_.push_back(std::move(z));
    }
}

void OuterKey::check(const Layout& layout) const {
    layout.check();
    if (layout.primes != primes_ || layout.dimension != secret_.size())
        throw std::invalid_argument("The layout is of other rings than the key.");
}

void OuterKey::public_key(const Layout& layout, const Key& seed, const Key& key, std::uint8_t* packed) const {
    check(layout);
    Secret<std::int64_t> error(layout.dimension);
    Stream stream(key, Purpose::error, 0);
    gaussian(stream, Width::narrow, error.data(), error.size());
    Residues a(layout.dimension);
    std::vector<std::uint64_t> b(layout.dimension);
    for (std::size_t k = 0; k < layout.primes.size(); ++k) {
        std::uint64_t p = layout.primes[k];
        public_residues(seed, Purpose::key_public, k, p, layout.dimension, a.data());
        add_encryption(*ring(p, layout.dimension), a.data(), transformed_[k], error.data(), nullptr, 0.0, b.data());
        pack(b.data(), b.size(), bit_length(p), packed);
        packed += run_bytes(p, layout.dimension);
    }
}

void OuterKey::encrypt(const Layout& layout, const InnerSecrets& secrets, const Key& seed, const Key& key,
                       unsigned threads, std::uint8_t* packed) const {
    check(layout);
    if (secrets.count() != layout.vectors || secrets.dimension() != layout.inner_dimension)
        throw std::invalid_argument("There must be as many secrets as vectors together.");
    if (!secrets.untouched()) throw std::logic_error("Some of these secrets have met their message already.");
    std::size_t primes = layout.primes.size(), bytes = layout.packed_bytes();
    in_parallel(layout.blocks(), threads, [&](std::size_t j) {
        Secret<std::int8_t> message(layout.dimension);
        for (std::size_t v = 0; v < layout.vectors; ++v)
            for (std::size_t c = 0; c < layout.columns; ++c)
                message[v + layout.vectors * c] = secrets.secret(v)[j * layout.columns + c];
        Secret<std::int64_t> error(layout.dimension);
        Stream stream(key, Purpose::error, j);
        gaussian(stream, Width::narrow, error.data(), error.size());
        Residues a(layout.dimension);
        std::vector<std::uint64_t> b(layout.dimension);
        std::uint8_t* out = packed + j * bytes;
        for (std::size_t k = 0; k < primes; ++k) {
            std::uint64_t p = layout.primes[k];
            auto here = ring(p, layout.dimension);
            public_residues(seed, Purpose::outer_public, j * primes + k, p, layout.dimension, a.data());
            add_encryption(*here, a.data(), transformed_[k], error.data(), message.data(),
                           here->residue(layout.steps[k]), b.data());
            pack(b.data(), b.size(), bit_length(p), out);
            out += run_bytes(p, layout.dimension);
        }
    });
}

void OuterKey::decrypt(const Layout& layout, const std::uint8_t* useful, const std::uint8_t* other,
                       std::size_t hint_rows, unsigned threads, std::uint64_t* shares) const {
    check(layout);
    auto words = word_ring(layout.dimension);
    WordRing::Pair z = words->transform(secret_.data());
    std::size_t bytes = layout.response_bits / 8;
    unsigned above = 64 - layout.response_bits, down = layout.response_bits - layout.ring_bits;
    std::uint64_t mask = (1ull << layout.ring_bits) - 1, half = 1ull << (down - 1);
    in_parallel(layout.groups(hint_rows), threads, [&](std::size_t g) {
        std::vector<std::uint64_t> a(layout.dimension, 0);
        Secret<std::uint64_t> product(layout.dimension);
        for (std::size_t i = 0; i < layout.dimension; ++i) {
            std::memcpy(&a[i], other + (g * layout.dimension + i) * bytes, bytes);
            a[i] = static_cast<std::uint64_t>(static_cast<std::int64_t>(a[i] << above) >> above);  // near zero
        }
        WordRing::Pair transformed = words->transform(a.data());
        words->multiply(product.data(), transformed[0].data(), transformed[1].data(), z);
        for (std::size_t r = 0; r < layout.rows && g * layout.rows + r < hint_rows; ++r)
            for (std::size_t v = 0; v < layout.vectors; ++v) {
                std::uint64_t b = 0;
                std::memcpy(&b, useful + (g * layout.useful() + r * layout.vectors + v) * bytes, bytes);
                std::uint64_t phase = b - product[layout.place(v, r)];
                shares[v * hint_rows + g * layout.rows + r] = ((phase + half) >> down) & mask;
            }
    });
}

Responder::Responder(const Layout& layout, const Key& seed, const std::uint8_t* packed) : primes_(layout.primes) {
    layout.check();
    for (std::size_t k = 0; k < layout.primes.size(); ++k) {
        std::uint64_t p = layout.primes[k];
        Residues b(layout.dimension), a(layout.dimension);
        unpack(packed, layout.dimension, p, b.data());
        public_residues(seed, Purpose::key_public, k, p, layout.dimension, a.data());
        ring(p, layout.dimension)->forward(b.data());
        ring(p, layout.dimension)->forward(a.data());
        packed += run_bytes(p, layout.dimension);
        b_.push_back(std::move(b));
        a_.push_back(std::move(a));
    }
}

namespace {

// The peer's ciphertexts, transformed as far as plaintexts in Y need: by prime, half, point and strips of
// sixteen vectors by block.
class Batch {
public:
    Batch(const Layout& layout, const Key& seed, const std::uint8_t* packed, unsigned threads)
        : layout_(layout), values_(layout.primes.size() * 2 * layout.dimension * layout.blocks()) {
        auto layers = static_cast<unsigned>(__builtin_ctzll(layout.points()));
        std::size_t primes = layout.primes.size(), bytes = layout.packed_bytes();
        in_parallel(layout.blocks(), threads, [&](std::size_t j) {
            Residues x(layout.dimension);
            const std::uint8_t* in = packed + j * bytes;
            for (std::size_t k = 0; k < primes; ++k) {
                std::uint64_t p = layout.primes[k];
                auto here = ring(p, layout.dimension);
                for (std::size_t half = 0; half < 2; ++half) {
                    if (half == 0) unpack(in, layout.dimension, p, x.data());
                    else public_residues(seed, Purpose::outer_public, j * primes + k, p, layout.dimension, x.data());
                    here->forward(x.data(), layers);
                    for (std::size_t point = 0; point < layout.points(); ++point)
                        for (std::size_t v = 0; v < layout.vectors; v += 16)
                            here->canonical(slot(k, half, point) + v * layout.blocks() + j * 16,
                                            x.data() + point * layout.vectors + v, 16);
                }
                in += run_bytes(p, layout.dimension);
            }
        });
    }
    const std::uint64_t* at(std::size_t prime, std::size_t half, std::size_t point) const {
        return values_.data() + ((prime * 2 + half) * layout_.points() + point) * layout_.blocks() * layout_.vectors;
    }

private:
    std::uint64_t* slot(std::size_t prime, std::size_t half, std::size_t point) {
        return const_cast<std::uint64_t*>(at(prime, half, point));
    }
    const Layout& layout_;
    Aligned<std::uint64_t> values_;
};

// The plaintexts of some groups modulo one prime, transformed: by point, group and block.
void transform_tiles(const Layout& layout, const Ring& ring, const std::uint64_t* hint, std::size_t hint_rows,
                     std::size_t first, std::size_t count, std::uint64_t* out) {
    std::size_t points = layout.points(), blocks = layout.blocks();
    unsigned down = 64 - layout.ring_bits;
    Residues tile(points);
    std::vector<std::uint64_t> whole(points);
    for (std::size_t g = 0; g < count; ++g)
        for (std::size_t j = 0; j < blocks; ++j) {
            std::fill(tile.begin(), tile.end(), 0.0);
            for (std::size_t r = 0; r < layout.rows && (first + g) * layout.rows + r < hint_rows; ++r) {
                const std::uint64_t* row = hint + ((first + g) * layout.rows + r) * layout.inner_dimension;
                for (std::size_t c = 0; c < layout.columns; ++c) {
                    auto rounded = static_cast<std::int64_t>(row[j * layout.columns + c] + (1ull << (down - 1))) >> down;
                    tile[r * layout.columns + layout.columns - 1 - c] = -static_cast<double>(rounded);
                }
            }
            ring.canonical(whole.data(), tile.data(), points);  // numbers of up to 53 bits become residues
            for (std::size_t i = 0; i < points; ++i) tile[i] = static_cast<double>(whole[i]);
            ring.forward(tile.data());
            ring.canonical(whole.data(), tile.data(), points);
            for (std::size_t point = 0; point < points; ++point) out[(point * count + g) * blocks + j] = whole[point];
        }
}

}  // namespace

void Responder::respond(const Layout& layout, const Key& seed, const std::uint8_t* packed, const std::uint64_t* hint,
                        std::size_t hint_rows, const Key& key, unsigned threads, std::uint8_t* useful,
                        std::uint8_t* other, std::uint64_t* masks) const {
    layout.check();
    if (layout.primes != primes_ || layout.dimension != a_[0].size())
        throw std::invalid_argument("The layout is of other rings than the public key.");
    Batch batch(layout, seed, packed, threads);
    Fraction fraction(layout.primes, layout.dimension);
    std::vector<std::shared_ptr<const Ring>> rings;
    for (std::uint64_t p : layout.primes) rings.push_back(ring(p, layout.dimension));
    constexpr std::size_t chunk = 16;  // groups at once
    std::size_t dimension = layout.dimension, primes = layout.primes.size(), groups = layout.groups(hint_rows);
    std::size_t bytes = layout.response_bits / 8;
    auto layers = static_cast<unsigned>(__builtin_ctzll(layout.points()));
    in_parallel((groups + chunk - 1) / chunk, threads, [&](std::size_t part) {
        std::size_t first = part * chunk, count = std::min(chunk, groups - first);
        Secret<std::uint64_t> tiles(layout.points() * count * layout.blocks());
        Secret<double> sums(count * 2 * primes * dimension);  // by group, half and prime
        for (std::size_t k = 0; k < primes; ++k) {
            transform_tiles(layout, *ring(layout.primes[k], layout.points()), hint, hint_rows, first, count, tiles.data());
            for (std::size_t half = 0; half < 2; ++half)
                for (std::size_t point = 0; point < layout.points(); ++point)
                    kernels().products(tiles.data() + point * count * layout.blocks(), batch.at(k, half, point), count,
                                       layout.blocks(), layout.vectors, rings[k]->barrett(),
                                       sums.data() + (half * primes + k) * dimension + point * layout.vectors,
                                       2 * primes * dimension);
        }
        Secret<std::int8_t> randomiser(dimension);
        Secret<std::int64_t> errors(2 * dimension);
        Secret<double> u(dimension), product(dimension);
        Secret<std::uint64_t> b(primes * dimension);
        std::vector<std::uint64_t> a(primes * dimension);
        for (std::size_t g = 0; g < count; ++g) {
            std::size_t group = first + g;
            Stream tape(key, Purpose::randomiser, group), floods(key, Purpose::flood, group),
                mask_tape(key, Purpose::mask, group);
            ternary(tape, randomiser.data(), dimension);
            gaussian(tape, Width::narrow, errors.data(), errors.size());
            for (std::size_t k = 0; k < primes; ++k) {
                const Ring* here = rings[k].get();
                std::copy(randomiser.begin(), randomiser.end(), u.begin());
                here->forward(u.data());
                for (std::size_t half = 0; half < 2; ++half) {
                    double* sum = sums.data() + ((g * 2 + half) * primes + k) * dimension;
                    here->multiply(product.data(), u.data(), (half ? a_ : b_)[k].data());
                    here->inverse(product.data());
                    here->inverse(sum, layers);
                    for (std::size_t i = 0; i < dimension; ++i)
                        product[i] += sum[i] + static_cast<double>(errors[half * dimension + i]);
                    here->canonical((half ? a.data() : b.data()) + k * dimension, product.data(), dimension);
                }
            }
            for (std::size_t i = 0; i < dimension; ++i) {
                auto x = static_cast<std::uint64_t>(switched(
                    fraction.of([&](std::size_t k) { return a[k * dimension + i]; }), layout.response_bits));
                std::memcpy(other + (group * dimension + i) * bytes, &x, bytes);
            }
            for (std::size_t r = 0; r < layout.rows; ++r)
                for (std::size_t v = 0; v < layout.vectors; ++v) {
                    std::size_t place = layout.place(v, r), row = group * layout.rows + r;
                    __int128 noise = flood(floods, layout.flood_bits);
                    auto x = static_cast<std::uint64_t>(switched(fraction.of([&](std::size_t k) {
                        const Barrett& modulus = rings[k]->barrett();
                        return (b[k * dimension + place] + modulo(noise, modulus)) % modulus.p;
                    }), layout.response_bits));
                    std::uint64_t mask = mask_tape.word() >> (64 - layout.ring_bits);
                    x += mask << (layout.response_bits - layout.ring_bits);
                    std::memcpy(useful + (group * layout.useful() + r * layout.vectors + v) * bytes, &x, bytes);
                    if (row < hint_rows) masks[v * hint_rows + row] = mask;
                }
        }
    });
}

}  // namespace fedbank
