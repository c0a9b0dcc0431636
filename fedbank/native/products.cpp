#include "products.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "ciphertexts.hpp"
#include "parallel.hpp"

namespace fedbank {
namespace {

constexpr unsigned most_ring_bits = 50, limb_bits = 40;

// The nearest integer of |x| < 2^51, the same on every instruction set.
double nearest_integer(double x) {
    constexpr double shift = 6755399441055744.0;  // 1.5 * 2^52
    return (x + shift) - shift;
}

double centred(std::uint64_t x, std::uint64_t modulus) {
    return x > modulus / 2 ? -static_cast<double>(modulus - x) : static_cast<double>(x);
}

std::size_t padded(std::size_t count) { return (count + 15) / 16 * 16; }

// round(Q m / T) + small modulo one prime: m step + (m (Q / T - step) + small).
void encode(const ProductScheme& scheme, const Ring& here, std::size_t k, const double* message, const double* small,
            std::size_t count, double* out) {
    std::copy(small, small + count, out);
    kernels().add_multiple(out, message, here.residue(scheme.steps[k]), count, static_cast<double>(here.p()));
}

std::vector<std::shared_ptr<const Ring>> rings_of(const ProductScheme& scheme) {
    std::vector<std::shared_ptr<const Ring>> rings;
    for (std::uint64_t p : scheme.primes) rings.push_back(ring(p, scheme.dimension));
    return rings;
}

std::uint64_t uniform(Stream& stream, const ProductScheme& scheme) {
    return scheme.prime() ? below(stream, scheme.plain) : stream.word() & (scheme.plain - 1);
}

// Opens one response after the other under one secret.
class Opening {
public:
    Opening(const ProductScheme& scheme, const Secret<std::int8_t>& secret)
        : scheme_(scheme), secret_(secret), words_(word_ring(scheme.dimension)), z_(words_->transform(secret.data())) {}

    // The messages modulo T at some places: of b those, of a all coefficients were sent.
    template <class Place>
    void open(const std::uint8_t* useful, std::size_t count, const std::uint8_t* other, Place place,
              std::uint64_t* values) const {
        std::size_t dimension = scheme_.dimension;
        std::vector<std::uint64_t> a(dimension), b(count);
        unpack_words(useful, count, scheme_.useful_bits, b.data());
        unpack_words(other, dimension, scheme_.other_bits, a.data());
        unsigned above = 64 - scheme_.other_bits;
        for (auto& x : a) x = static_cast<std::uint64_t>(static_cast<std::int64_t>(x << above) >> above);  // near zero
        if (count <= few) {
            for (std::size_t i = 0; i < count; ++i) values[i] = rounded(b[i], coefficient(a.data(), place(i)));
            return;
        }
        Secret<std::uint64_t> product(dimension);
        WordRing::Pair transformed = words_->transform(a.data());
        words_->multiply(product.data(), transformed[0].data(), transformed[1].data(), z_);
        for (std::size_t i = 0; i < count; ++i) values[i] = rounded(b[i], product[place(i)]);
    }

private:
    static constexpr std::size_t few = 16;  // coefficients that cost less one by one

    // One coefficient of a z modulo 2^64.
    std::uint64_t coefficient(const std::uint64_t* a, std::size_t place) const {
        std::uint64_t sum = 0;
        const std::int8_t* z = secret_.data();
        auto word = [](std::int8_t x) { return static_cast<std::uint64_t>(static_cast<std::int64_t>(x)); };
        for (std::size_t i = 0; i <= place; ++i) sum += a[i] * word(z[place - i]);
        for (std::size_t i = place + 1; i < scheme_.dimension; ++i) sum -= a[i] * word(z[scheme_.dimension + place - i]);
        return sum;
    }
    // round(phase T / 2^other_bits) modulo T
    std::uint64_t rounded(std::uint64_t b, std::uint64_t product) const {
        unsigned bits = scheme_.other_bits;
        std::uint64_t phase = ((b << (bits - scheme_.useful_bits)) - product) & ((1ull << bits) - 1);
        auto scaled = static_cast<unsigned __int128>(phase) * scheme_.plain + (1ull << (bits - 1));
        auto value = static_cast<std::uint64_t>(scaled >> bits);
        return value == scheme_.plain ? 0 : value;
    }
    const ProductScheme& scheme_;
    const Secret<std::int8_t>& secret_;
    std::shared_ptr<const WordRing> words_;
    WordRing::Pair z_;
};

// The other half of ciphertext `number`, transformed, modulo one prime: what a seed stands for.
void public_half(const ProductScheme& scheme, const Key& seed, std::uint64_t number, std::size_t k, double* out) {
    std::uint64_t index = number * scheme.primes.size() + k;
    public_residues(seed, Purpose::outer_public, index, scheme.primes[k], scheme.dimension, out);
}

}  // namespace

unsigned ProductScheme::ring_bits() const { return bit_length(plain - 1); }

void ProductScheme::check() const {
    bool fits = !primes.empty() && primes.size() <= 8 && steps.size() == primes.size() && plain >= 2 &&
                plain <= (1ull << most_ring_bits) && rest >= -0.5 && rest <= 0.5 && dimension >= 16 &&
                dimension <= 8192 && useful_bits > ring_bits() && useful_bits <= other_bits && other_bits <= 63 &&
                flood_bits >= 1 && flood_bits <= 3 * limb_bits - 2;
    if (!fits) throw std::invalid_argument("The sizes of the ciphertexts do not fit together.");
    if (prime()) ring(plain, dimension);  // throws if it is no such prime
    for (std::size_t k = 0; k < primes.size(); ++k) {
        ring(primes[k], dimension);
        bool below = steps[k] < primes[k] && (!prime() || plain < primes[k]);
        if (!below || std::count(primes.begin(), primes.end(), primes[k]) != 1)
            throw std::invalid_argument("The primes must differ, and steps and a prime T lie below them.");
    }
}

std::size_t ProductScheme::packed_bytes() const {
    std::size_t bytes = 0;
    for (std::uint64_t p : primes) bytes += run_bytes(p, dimension);
    return bytes;
}

std::size_t ProductScheme::other_bytes() const { return packed_size(dimension, other_bits); }

std::size_t Slots::size(std::size_t block) const { return std::min(dimension, samples - block * dimension); }

std::size_t Slots::parts(std::size_t block) const {
    return std::max<std::size_t>(1, std::min(terms, dimension / size(block)));
}

std::size_t Slots::ciphertexts(std::size_t block) const { return (terms + parts(block) - 1) / parts(block); }

std::size_t useful_bytes(const ProductScheme& scheme, const Tiles& tiles) {
    std::size_t groups = tiles.groups();
    if (!groups) return 0;
    std::size_t last = tiles.rows - (groups - 1) * tiles.tile_rows;
    return (groups - 1) * packed_size(tiles.tile_rows, scheme.useful_bits) + packed_size(last, scheme.useful_bits);
}

std::size_t useful_bytes(const ProductScheme& scheme, const Slots& slots) {
    return slots.blocks() * packed_size(slots.dimension, scheme.useful_bits);
}

// ---- the vector holder

ProductKey::ProductKey(const Key& key, const ProductScheme& scheme) : primes_(scheme.primes), secret_(scheme.dimension) {
    scheme.check();
    Stream stream(key, Purpose::secret, 0);
    ternary(stream, secret_.data(), secret_.size());
    for (std::uint64_t p : primes_) {
        Secret<double> z(secret_.begin(), secret_.end());
        ring(p, scheme.dimension)->forward(z.data());
        transformed_.push_back(std::move(z));
    }
}

void ProductKey::check(const ProductScheme& scheme) const {
    scheme.check();
    if (scheme.primes != primes_ || scheme.dimension != secret_.size())
        throw std::invalid_argument("The scheme is of other rings than the key.");
}

void ProductKey::public_key(const ProductScheme& scheme, const Key& seed, const Key& key, std::uint8_t* packed) const {
    check(scheme);
    Secret<double> nothing(scheme.dimension, 0.0);
    encrypt_one(scheme, nothing.data(), 0, seed, key, packed);
}

void ProductKey::encrypt_one(const ProductScheme& scheme, const double* message, std::uint64_t number, const Key& seed,
                             const Key& key, std::uint8_t* packed) const {
    std::size_t dimension = scheme.dimension;
    Secret<std::int64_t> error(dimension);
    Secret<double> small(dimension), b(dimension);
    Secret<std::uint64_t> random(dimension / 2);
    Stream stream(key, Purpose::error, number), rounding(key, Purpose::rounding, number);
    gaussian(stream, Width::narrow, error.data(), dimension);
    rounding.fill_from(0, random.data(), random.size());
    for (std::size_t i = 0; i < dimension; ++i) {  // rounded up or down by chance, so that the error's mean is zero
        auto bits = static_cast<std::int32_t>(random[i / 2] >> (i % 2 * 32));
        double dither = static_cast<double>(bits) * 0x1p-32;
        small[i] = nearest_integer(message[i] * scheme.rest + dither) + static_cast<double>(error[i]);
    }
    Residues a(dimension);
    std::vector<std::uint64_t> whole(dimension);
    for (std::size_t k = 0; k < primes_.size(); ++k) {
        auto here = ring(primes_[k], dimension);
        encode(scheme, *here, k, message, small.data(), dimension, b.data());
        here->forward(b.data());
        public_half(scheme, seed, number, k, a.data());
        kernels().add_products(b.data(), a.data(), transformed_[k].data(), dimension, static_cast<double>(here->p()));
        here->canonical(whole.data(), b.data(), dimension);
        pack(whole.data(), dimension, bit_length(primes_[k]), packed);
        packed += run_bytes(primes_[k], dimension);
    }
}

void ProductKey::encrypt(const ProductScheme& scheme, const std::uint64_t* vector, std::size_t count,
                         std::size_t tile_columns, const Key& seed, const Key& key, unsigned threads,
                         std::uint8_t* packed) const {
    check(scheme);
    in_parallel((count + tile_columns - 1) / tile_columns, threads, [&](std::size_t j) {
        Secret<double> message(scheme.dimension, 0.0);
        std::size_t first = j * tile_columns, size = std::min(tile_columns, count - first);
        for (std::size_t c = 0; c < size; ++c) message[c] = centred(vector[first + c], scheme.plain);
        encrypt_one(scheme, message.data(), j, seed, key, packed + j * scheme.packed_bytes());
    });
}

namespace {

// The polynomial of one ciphertext's or plaintext's slots: terms from `term` on, side by side.
void fill_slots(const ProductScheme& scheme, const std::int64_t* values, const Slots& slots, std::size_t block,
                std::size_t ciphertext, double* out) {
    std::size_t size = slots.size(block), parts = slots.parts(block), first = ciphertext * parts;
    std::fill(out, out + scheme.dimension, 0.0);
    for (std::size_t part = 0; part < parts && first + part < slots.terms; ++part)
        for (std::size_t i = 0; i < size; ++i)
            out[part * size + i] =
                static_cast<double>(values[(first + part) * slots.samples + block * slots.dimension + i]);
    ring(scheme.plain, scheme.dimension)->inverse(out);
}

// The sum over the parts of a block of slots, modulo T; |slot| <= T.
void sum_parts(const ProductScheme& scheme, const double* x, const Slots& slots, std::size_t block, std::uint64_t* sums) {
    std::size_t size = slots.size(block), parts = slots.parts(block);
    auto p = static_cast<std::int64_t>(scheme.plain);
    for (std::size_t i = 0; i < size; ++i) {
        std::int64_t sum = 0;
        for (std::size_t part = 0; part < parts; ++part) sum += static_cast<std::int64_t>(x[part * size + i]);
        sum %= p;
        sums[block * slots.dimension + i] = static_cast<std::uint64_t>(sum < 0 ? sum + p : sum);
    }
}

}  // namespace

void ProductKey::encrypt(const ProductScheme& scheme, const std::int64_t* values, const Slots& slots, const Key& seed,
                         const Key& key, unsigned threads, std::uint8_t* packed) const {
    check(scheme);
    in_parallel(slots.blocks(), threads, [&](std::size_t block) {
        Secret<double> message(scheme.dimension);
        for (std::size_t j = 0; j < slots.ciphertexts(block); ++j) {
            fill_slots(scheme, values, slots, block, j, message.data());
            std::size_t number = slots.first(block) + j;
            encrypt_one(scheme, message.data(), number, seed, key, packed + number * scheme.packed_bytes());
        }
    });
}

void ProductKey::open(const ProductScheme& scheme, const Tiles& tiles, const std::uint8_t* useful,
                      const std::uint8_t* other, unsigned threads, std::uint64_t* shares) const {
    check(scheme);
    Opening opening(scheme, secret_);
    in_parallel(tiles.groups(), threads, [&](std::size_t g) {
        std::size_t first = g * tiles.tile_rows, count = std::min(tiles.tile_rows, tiles.rows - first);
        opening.open(useful + g * packed_size(tiles.tile_rows, scheme.useful_bits), count, other + g * scheme.other_bytes(),
                     [&](std::size_t r) { return tiles.place(r); }, shares + first);
    });
}

void ProductKey::open(const ProductScheme& scheme, const Slots& slots, const std::uint8_t* useful,
                      const std::uint8_t* other, unsigned threads, std::uint64_t* shares) const {
    check(scheme);
    Opening opening(scheme, secret_);
    in_parallel(slots.blocks(), threads, [&](std::size_t block) {
        Secret<std::uint64_t> values(scheme.dimension);
        Secret<double> x(scheme.dimension);
        opening.open(useful + block * packed_size(scheme.dimension, scheme.useful_bits), scheme.dimension,
                     other + block * scheme.other_bytes(), [](std::size_t i) { return i; }, values.data());
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = centred(values[i], scheme.plain);
        ring(scheme.plain, scheme.dimension)->forward(x.data());
        sum_parts(scheme, x.data(), slots, block, shares);
    });
}

// ---- the matrix holder

ProductResponder::ProductResponder(const ProductScheme& scheme, const Key& seed, const std::uint8_t* packed)
    : primes_(scheme.primes) {
    scheme.check();
    for (std::size_t k = 0; k < primes_.size(); ++k) {
        Residues b(scheme.dimension), a(scheme.dimension);
        unpack(packed, scheme.dimension, primes_[k], b.data());
        public_half(scheme, seed, 0, k, a.data());
        packed += run_bytes(primes_[k], scheme.dimension);
        b_.push_back(std::move(b));
        a_.push_back(std::move(a));
    }
}

void ProductResponder::check(const ProductScheme& scheme) const {
    scheme.check();
    if (scheme.primes != primes_ || scheme.dimension != a_[0].size())
        throw std::invalid_argument("The scheme is of other rings than the public key.");
}

// One response: sums of ciphertexts times plaintexts, then everything that protects it.
class Reply {
public:
    Reply(const ProductScheme& scheme, const ProductResponder& responder)
        : scheme_(scheme), responder_(responder), rings_(rings_of(scheme)),
          sums_(2 * scheme.primes.size() * scheme.dimension, 0.0), plain_(scheme.dimension) {}

    // Add a plaintext, integers near zero and below every prime, times a ciphertext: `half(k, which)`, transformed.
    template <class Half>
    void add(const double* plaintext, Half half) {
        for (std::size_t k = 0; k < rings_.size(); ++k) {
            std::copy(plaintext, plaintext + scheme_.dimension, plain_.begin());
            rings_[k]->forward(plain_.data());
            for (std::size_t which = 0; which < 2; ++which) add_transformed(k, which, half(k, which), plain_.data());
        }
    }

    // Write the response; `masks`: what is added to the messages at `count` places, near zero.
    template <class Place>
    void finish(const Key& key, std::uint64_t number, const double* masks, std::size_t count, Place place,
                std::uint8_t* useful, std::uint8_t* other) {
        std::size_t dimension = scheme_.dimension, primes = rings_.size(), room = padded(count);
        randomise(key, number);
        std::vector<std::uint64_t> a(primes * dimension);
        for (std::size_t k = 0; k < primes; ++k) rings_[k]->canonical(a.data() + k * dimension, sum(k, 1), dimension);
        send(a.data(), dimension, dimension, scheme_.other_bits, other);

        Secret<double> chosen(room), mask(room, 0.0), small(room, 0.0), limbs(3 * room, 0.0);
        std::copy(masks, masks + count, mask.begin());
        for (std::size_t i = 0; i < count; ++i) small[i] = nearest_integer(mask[i] * scheme_.rest);
        flood(key, number, count, room, limbs.data());
        Secret<std::uint64_t> b(primes * room);
        for (std::size_t k = 0; k < primes; ++k) {
            auto p = static_cast<double>(rings_[k]->p());
            encode(scheme_, *rings_[k], k, mask.data(), small.data(), room, chosen.data());
            for (std::size_t i = 0; i < count; ++i) chosen[i] += sum(k, 0)[place(i)];
            double power = 1.0;
            for (std::size_t limb = 0; limb < 3; ++limb) {
                kernels().add_multiple(chosen.data(), limbs.data() + limb * room, power, room, p);
                power = rings_[k]->residue(power_modulo(2, limb_bits * (limb + 1), rings_[k]->p()));
            }
            rings_[k]->canonical(b.data() + k * room, chosen.data(), room);
        }
        send(b.data(), count, room, scheme_.useful_bits, useful);
    }

private:
    double* sum(std::size_t k, std::size_t which) { return sums_.data() + (2 * k + which) * scheme_.dimension; }

    void add_transformed(std::size_t k, std::size_t which, const double* ciphertext, const double* plaintext) {
        kernels().add_products(sum(k, which), ciphertext, plaintext, scheme_.dimension, static_cast<double>(rings_[k]->p()));
    }

    // Add a fresh encryption of zero under the public key; the sums become coefficients.
    void randomise(const Key& key, std::uint64_t number) {
        std::size_t dimension = scheme_.dimension;
        Secret<std::int8_t> randomiser(dimension);
        Secret<std::int64_t> errors(2 * dimension);
        Stream tape(key, Purpose::randomiser, number);
        ternary(tape, randomiser.data(), dimension);
        gaussian(tape, Width::narrow, errors.data(), errors.size());
        for (std::size_t k = 0; k < rings_.size(); ++k) {
            std::copy(randomiser.begin(), randomiser.end(), plain_.begin());
            rings_[k]->forward(plain_.data());
            for (std::size_t which = 0; which < 2; ++which) {
                add_transformed(k, which, (which ? responder_.a_ : responder_.b_)[k].data(), plain_.data());
                rings_[k]->inverse(sum(k, which));
                for (std::size_t i = 0; i < dimension; ++i)
                    sum(k, which)[i] += static_cast<double>(errors[which * dimension + i]);
            }
        }
    }

    // `count` sums of four independent uniform integers of [-2^(B-1), 2^(B-1)), in limbs of 40 bits.
    void flood(const Key& key, std::uint64_t number, std::size_t count, std::size_t room, double* limbs) const {
        std::uint64_t masks[3];
        double centres[3];
        constexpr std::uint64_t limb_mask = (1ull << limb_bits) - 1;
        __int128 one = 1, whole = (one << scheme_.flood_bits) - 1, centre = one << (scheme_.flood_bits + 1);
        for (unsigned limb = 0; limb < 3; ++limb) {
            masks[limb] = static_cast<std::uint64_t>(whole >> (limb_bits * limb)) & limb_mask;
            auto part = static_cast<std::uint64_t>(centre >> (limb_bits * limb));
            centres[limb] = static_cast<double>(limb < 2 ? part & limb_mask : part);
        }
        Secret<std::uint64_t> random(8 * room);
        Stream(key, Purpose::flood, number).fill_from(0, random.data(), random.size());
        for (std::size_t i = 0; i < count; ++i) {
            std::uint64_t sums[3] = {};
            for (std::size_t j = 0; j < 8; j += 2) {
                std::uint64_t low = random[j * room + i], high = random[(j + 1) * room + i];
                sums[0] += low & masks[0];
                sums[1] += (low >> 40 | high << 24) & masks[1];
                sums[2] += (high >> 16) & masks[2];
            }
            for (std::size_t limb = 0; limb < 3; ++limb)
                limbs[limb * room + i] =
                    static_cast<double>(static_cast<std::int64_t>(sums[limb])) - centres[limb];
        }
    }

    // Switch numbers modulo Q, by their residues, to so many bits, and pack them.
    void send(const std::uint64_t* residues, std::size_t count, std::size_t stride, unsigned bits, std::uint8_t* out) const {
        Fraction fraction(scheme_.primes, scheme_.dimension);
        std::vector<std::uint64_t> words(count);
        for (std::size_t i = 0; i < count; ++i)
            words[i] = switched(fraction.of([&](std::size_t k) { return residues[k * stride + i]; }), bits);
        pack(words.data(), count, bits, out);
    }

    const ProductScheme& scheme_;
    const ProductResponder& responder_;
    std::vector<std::shared_ptr<const Ring>> rings_;
    Secret<double> sums_;   // by prime and half
    Secret<double> plain_;
};

namespace {

// The peer's ciphertexts of a vector: by block, prime and half, transformed as they came.
class Received {
public:
    Received(const ProductScheme& scheme, std::size_t blocks, const Key& seed, const std::uint8_t* packed, unsigned threads)
        : primes_(scheme.primes.size()), dimension_(scheme.dimension), values_(blocks * 2 * primes_ * dimension_) {
        in_parallel(blocks, threads, [&](std::size_t j) {
            const std::uint8_t* in = packed + j * scheme.packed_bytes();
            for (std::size_t k = 0; k < primes_; ++k) {
                unpack(in, dimension_, scheme.primes[k], at(j, k, 0));
                public_half(scheme, seed, j, k, at(j, k, 1));
                in += run_bytes(scheme.primes[k], dimension_);
            }
        });
    }
    double* at(std::size_t block, std::size_t k, std::size_t half) {
        return values_.data() + ((block * primes_ + k) * 2 + half) * dimension_;
    }

private:
    std::size_t primes_, dimension_;
    Residues values_;
};

void fill_tile(const Tiles& tiles, std::size_t group, std::size_t block, std::size_t dimension, double* out) {
    std::fill(out, out + dimension, 0.0);
    std::size_t row = group * tiles.tile_rows, column = block * tiles.tile_columns;
    std::size_t rows = std::min(tiles.tile_rows, tiles.rows - row);
    std::size_t columns = std::min(tiles.tile_columns, tiles.columns - column);
    for (std::size_t r = 0; r < rows; ++r) {
        const std::int32_t* from = tiles.entries + static_cast<std::ptrdiff_t>(row + r) * tiles.row_step;
        for (std::size_t c = 0; c < columns; ++c)
            out[tiles.place(r) - c] = from[static_cast<std::ptrdiff_t>(column + c) * tiles.column_step];
    }
}

}  // namespace

void ProductResponder::respond(const ProductScheme& scheme, const Tiles& tiles, const Key& seed,
                               const std::uint8_t* packed, const Key& key, unsigned threads, std::uint8_t* useful,
                               std::uint8_t* other, std::uint64_t* shares) const {
    check(scheme);
    Received received(scheme, tiles.blocks(), seed, packed, threads);
    in_parallel(tiles.groups(), threads, [&](std::size_t g) {
        Reply reply(scheme, *this);
        Secret<double> tile(scheme.dimension);
        for (std::size_t j = 0; j < tiles.blocks(); ++j) {
            fill_tile(tiles, g, j, scheme.dimension, tile.data());
            reply.add(tile.data(), [&](std::size_t k, std::size_t half) { return received.at(j, k, half); });
        }
        std::size_t first = g * tiles.tile_rows, count = std::min(tiles.tile_rows, tiles.rows - first);
        Secret<double> masks(count);
        Stream stream(key, Purpose::mask, g);
        for (std::size_t r = 0; r < count; ++r) {
            std::uint64_t mask = uniform(stream, scheme);
            masks[r] = centred(mask, scheme.plain);
            shares[first + r] = mask ? scheme.plain - mask : 0;
        }
        reply.finish(key, g, masks.data(), count, [&](std::size_t r) { return tiles.place(r); },
                     useful + g * packed_size(tiles.tile_rows, scheme.useful_bits), other + g * scheme.other_bytes());
    });
}

void ProductResponder::respond(const ProductScheme& scheme, const Slots& slots, const std::int64_t* values,
                               const Key& seed, const std::uint8_t* packed, const Key& key, unsigned threads,
                               std::uint8_t* useful, std::uint8_t* other, std::uint64_t* shares) const {
    check(scheme);
    in_parallel(slots.blocks(), threads, [&](std::size_t block) {
        std::size_t dimension = scheme.dimension, primes = scheme.primes.size();
        Reply reply(scheme, *this);
        Secret<double> plain(dimension), masks(dimension);
        Residues halves(2 * primes * dimension);
        for (std::size_t j = 0; j < slots.ciphertexts(block); ++j) {
            std::size_t number = slots.first(block) + j;
            const std::uint8_t* in = packed + number * scheme.packed_bytes();
            for (std::size_t k = 0; k < primes; ++k) {
                unpack(in, dimension, scheme.primes[k], halves.data() + 2 * k * dimension);
                public_half(scheme, seed, number, k, halves.data() + (2 * k + 1) * dimension);
                in += run_bytes(scheme.primes[k], dimension);
            }
            fill_slots(scheme, values, slots, block, j, plain.data());
            auto half_of = [&](std::size_t k, std::size_t half) { return halves.data() + (2 * k + half) * dimension; };
            reply.add(plain.data(), half_of);
        }
        Stream stream(key, Purpose::mask, block);
        for (double& mask : masks) mask = centred(uniform(stream, scheme), scheme.plain);
        reply.finish(key, block, masks.data(), dimension, [](std::size_t i) { return i; },
                     useful + block * packed_size(dimension, scheme.useful_bits), other + block * scheme.other_bytes());
        for (double& mask : masks) mask = -mask;
        ring(scheme.plain, dimension)->forward(masks.data());
        sum_parts(scheme, masks.data(), slots, block, shares);
    });
}

}  // namespace fedbank
