#include "products.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "ciphertexts.hpp"
#include "parallel.hpp"

namespace fedbank {
namespace {

using Wide = unsigned __int128;

constexpr Wide one = 1;
constexpr unsigned most_ring_bits = 50, most_prime_bits = 36;  // of T or its only prime; of each of two
constexpr unsigned limb_bits = 48, most_limbs = 3;             // of the flood
constexpr unsigned most_sent_bits = 86;  // so that the error of a `Fraction` is below a hundredth of their unit

// The nearest integer of |x| < 2^51, the same on every instruction set.
double nearest_integer(double x) {
    constexpr double shift = 6755399441055744.0;  // 1.5 * 2^52
    return (x + shift) - shift;
}

double centred(std::uint64_t x, std::uint64_t modulus) {
    return x > modulus / 2 ? -static_cast<double>(modulus - x) : static_cast<double>(x);
}

std::size_t padded(std::size_t count) { return (count + 15) / 16 * 16; }

}  // namespace

// `count` places of a message, near zero, modulo each factor of T: m1 / p1 + m2 / p2 of the circle, or m1 / T.
class ProductMessage {
public:
    ProductMessage(const ProductScheme& scheme, std::size_t count)
        : scheme_(scheme), count_(count), values_(scheme.plains.size() * count, 0.0) {}
    double* of(std::size_t h) { return values_.data() + h * count_; }
    // Q m / T without the multiples of the steps, at one place.
    double rest(std::size_t i) const {
        double sum = 0.0;
        for (std::size_t h = 0; h < scheme_.plains.size(); ++h) sum += values_[h * count_ + i] * scheme_.rests[h];
        return sum;
    }
    // Q m / T + small modulo one prime, `small` being the rounded rest and noise.
    void encode(const Ring& here, std::size_t k, const double* small, double* out) const {
        std::copy(small, small + count_, out);
        for (std::size_t h = 0; h < scheme_.plains.size(); ++h)
            kernels().add_multiple(out, values_.data() + h * count_, here.residue(scheme_.steps[h][k]), count_,
                                   static_cast<double>(here.p()));
    }

private:
    const ProductScheme& scheme_;
    std::size_t count_;
    Secret<double> values_;
};

std::vector<std::shared_ptr<const Ring>> rings_of(const ProductScheme& scheme) {
    std::vector<std::shared_ptr<const Ring>> rings;
    for (std::uint64_t p : scheme.primes) rings.push_back(ring(p, scheme.dimension));
    return rings;
}

namespace {

std::uint64_t uniform(Stream& stream, std::uint64_t modulus) {
    return modulus & (modulus - 1) ? below(stream, modulus) : stream.word() & (modulus - 1);
}

// A phase of `bits` bits, 2^bits once around, as the nearest message: modulo a power of two or a prime, or two primes.
class Nearest {
public:
    Nearest(const ProductScheme& scheme) : bits_(scheme.other_bits), last_(scheme.plains.back()) {
        if (scheme.plains.size() == 1) return;
        first_ = scheme.plains[0];
        first_modulus_ = ring(first_, scheme.dimension)->barrett();
        last_modulus_ = ring(last_, scheme.dimension)->barrett();
        last_inverse_ = inverse_modulo(last_ % first_, first_);
        first_inverse_ = inverse_modulo(first_ % last_, last_);
    }
    // V = round(phase T / 2^bits) modulo T = p1 p2, by V = p2 high + low with low = round(p2 (phase p1 / 2^bits - high)).
    // V / T = m1 / p1 + m2 / p2 modulo 1, so that m1 = V / p2 = high + low / p2 modulo p1 and m2 = low / p1 modulo p2.
    void find(Wide phase, std::uint64_t* messages, std::size_t stride) const {
        std::uint64_t high = 0;
        if (first_) {
            Wide scaled = phase * first_;
            high = static_cast<std::uint64_t>(scaled >> bits_);
            phase = scaled & ((one << bits_) - 1);
        }
        auto low = static_cast<std::uint64_t>((phase * last_ + (one << (bits_ - 1))) >> bits_);
        if (!first_) {
            messages[0] = low == last_ ? 0 : low;
            return;
        }
        messages[0] = first_modulus_.reduce(static_cast<Wide>(low) * last_inverse_ + high);
        messages[stride] = last_modulus_.reduce(static_cast<Wide>(low) * first_inverse_);
    }

private:
    unsigned bits_;
    std::uint64_t first_ = 0, last_, first_inverse_ = 0, last_inverse_ = 0;
    Barrett first_modulus_{}, last_modulus_{};
};

// a z for a ternary z, both of `bits` bits near zero, by products of limbs that are exact modulo one prime.
class ExactProducts {
public:
    ExactProducts(const Secret<std::int8_t>& z, unsigned bits)
        : ring_(ring(prime, z.size())), limbs_((bits + widest - 1) / widest), width_((bits + limbs_ - 1) / limbs_),
          z_(z.begin(), z.end()) {
        ring_->forward(z_.data());
    }
    void multiply(const Wide* a, Wide* product) const {
        std::size_t size = z_.size();
        std::vector<Wide> rest(a, a + size);
        Secret<double> limb(size);
        std::fill(product, product + size, Wide{0});
        for (unsigned k = 0; k < limbs_; ++k) {
            for (std::size_t i = 0; i < size; ++i) limb[i] = static_cast<double>(next(rest[i], k + 1 == limbs_));
            ring_->forward(limb.data());
            ring_->multiply(limb.data(), limb.data(), z_.data());
            ring_->inverse(limb.data());
            for (std::size_t i = 0; i < size; ++i)
                product[i] += static_cast<Wide>(static_cast<__int128>(static_cast<std::int64_t>(limb[i]))) << (width_ * k);
        }
    }

private:
    // Entries of the products stay below 2^35 times the entries of z that are not 0, less than half of the prime.
    static constexpr std::uint64_t prime = 562949952847873;
    static constexpr unsigned widest = 36;

    // The lowest limb of a signed number, near zero; takes it off.
    std::int64_t next(Wide& rest, bool last) const {
        auto low = static_cast<std::int64_t>(rest);
        if (last) return low;
        low = static_cast<std::int64_t>(static_cast<std::uint64_t>(low) << (64 - width_)) >> (64 - width_);
        rest = static_cast<Wide>((static_cast<__int128>(rest) - low) >> width_);
        return low;
    }
    std::shared_ptr<const Ring> ring_;
    unsigned limbs_, width_;
    Secret<double> z_;
};

// Opens one response after the other under one secret.
class Opening {
public:
    Opening(const ProductScheme& scheme, const Secret<std::int8_t>& secret)
        : scheme_(scheme), secret_(secret), products_(secret, scheme.other_bits), nearest_(scheme) {}

    // The messages modulo each factor of T at some places: of b those, of a all coefficients were sent.
    template <class Place>
    void open(const std::uint8_t* useful, std::size_t count, const std::uint8_t* other, Place place,
              std::uint64_t* messages) const {
        std::size_t dimension = scheme_.dimension;
        std::vector<Wide> a(dimension), b(count);
        unpack_wide(useful, count, scheme_.useful_bits, b.data());
        unpack_wide(other, dimension, scheme_.other_bits, a.data());
        unsigned above = 128 - scheme_.other_bits;
        for (auto& x : a) x = static_cast<Wide>(static_cast<__int128>(x << above) >> above);  // near zero
        if (count <= few) {
            for (std::size_t i = 0; i < count; ++i)
                nearest_.find(phase(b[i], coefficient(a.data(), place(i))), messages + i, count);
            return;
        }
        Secret<Wide> product(dimension);
        products_.multiply(a.data(), product.data());
        for (std::size_t i = 0; i < count; ++i) nearest_.find(phase(b[i], product[place(i)]), messages + i, count);
    }

private:
    static constexpr std::size_t few = 16;  // coefficients that cost less one by one

    // One coefficient of a z.
    Wide coefficient(const Wide* a, std::size_t place) const {
        Wide sum = 0;
        const std::int8_t* z = secret_.data();
        auto wide = [](std::int8_t x) { return static_cast<Wide>(static_cast<__int128>(x)); };
        for (std::size_t i = 0; i <= place; ++i) sum += a[i] * wide(z[place - i]);
        for (std::size_t i = place + 1; i < scheme_.dimension; ++i) sum -= a[i] * wide(z[scheme_.dimension + place - i]);
        return sum;
    }
    Wide phase(Wide b, Wide product) const {
        return ((b << (scheme_.other_bits - scheme_.useful_bits)) - product) & ((one << scheme_.other_bits) - 1);
    }
    const ProductScheme& scheme_;
    const Secret<std::int8_t>& secret_;
    ExactProducts products_;
    Nearest nearest_;
};

// The other half of ciphertext `number`, transformed, modulo one prime: what a seed stands for.
void public_half(const ProductScheme& scheme, const Key& seed, std::uint64_t number, std::size_t k, double* out) {
    std::uint64_t index = number * scheme.primes.size() + k;
    public_residues(seed, Purpose::outer_public, index, scheme.primes[k], scheme.dimension, out);
}

}  // namespace

unsigned __int128 ProductScheme::plain() const {
    return plains.size() == 2 ? static_cast<Wide>(plains[0]) * plains[1] : plains[0];
}

unsigned ProductScheme::ring_bits() const {
    Wide largest = plain() - 1;
    auto high = static_cast<std::uint64_t>(largest >> 64);
    return high ? 64 + bit_length(high) : bit_length(static_cast<std::uint64_t>(largest));
}

void ProductScheme::check() const {
    auto near_zero = [](double rest) { return rest >= -0.5 && rest <= 0.5; };
    auto fit = [&](std::uint64_t p) { return p >= 2 && p <= 1ull << (plains.size() == 1 ? most_ring_bits : most_prime_bits); };
    bool fits = !primes.empty() && primes.size() <= 8 && (plains.size() == 1 || plains.size() == 2) &&
                steps.size() == plains.size() && rests.size() == plains.size() &&
                std::all_of(rests.begin(), rests.end(), near_zero) && std::all_of(plains.begin(), plains.end(), fit) &&
                dimension >= 16 && dimension <= 8192 && useful_bits > ring_bits() && useful_bits <= other_bits &&
                other_bits <= (plains.size() == 1 ? 63 : most_sent_bits) && flood_bits >= 1 &&
                flood_bits <= most_limbs * limb_bits - 2;
    if (!fits) throw std::invalid_argument("The sizes of the ciphertexts do not fit together.");
    for (std::uint64_t p : plains)
        if (by_slots() || plains.size() == 2) ring(p, dimension);  // throws if it is no such prime
    for (std::size_t k = 0; k < primes.size(); ++k) {
        ring(primes[k], dimension);
        bool good = std::count(primes.begin(), primes.end(), primes[k]) == 1;
        for (std::size_t h = 0; good && h < plains.size(); ++h)
            good = steps[h].size() == primes.size() && steps[h][k] < primes[k] && (!by_slots() || plains[h] < primes[k]);
        if (!good) throw std::invalid_argument("The primes must differ, and steps and the primes of T lie below them.");
    }
    if (plains.size() == 2 && (plains[0] >= plains[1] || plains[1] >= 2 * plains[0]))
        throw std::invalid_argument("Of the two primes of T the first must be the smaller one, by less than half.");
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
    encrypt_one(scheme, ProductMessage(scheme, scheme.dimension), 0, seed, key, packed);
}

void ProductKey::encrypt_one(const ProductScheme& scheme, const ProductMessage& message, std::uint64_t number, const Key& seed,
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
        small[i] = nearest_integer(message.rest(i) + dither) + static_cast<double>(error[i]);
    }
    Residues a(dimension);
    std::vector<std::uint64_t> whole(dimension);
    for (std::size_t k = 0; k < primes_.size(); ++k) {
        auto here = ring(primes_[k], dimension);
        message.encode(*here, k, small.data(), b.data());
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
        ProductMessage message(scheme, scheme.dimension);
        std::size_t first = j * tile_columns, size = std::min(tile_columns, count - first);
        for (std::size_t c = 0; c < size; ++c) message.of(0)[c] = centred(vector[first + c], scheme.plains[0]);
        encrypt_one(scheme, message, j, seed, key, packed + j * scheme.packed_bytes());
    });
}

namespace {

// The polynomial modulo prime number h of one ciphertext's or plaintext's slots: several terms side by side.
void fill_slots(const ProductScheme& scheme, std::size_t h, const std::int64_t* values, const Slots& slots, std::size_t block,
                std::size_t ciphertext, double* out) {
    std::size_t size = slots.size(block), parts = slots.parts(block), first = ciphertext * parts;
    values += h * slots.terms * slots.samples;
    std::fill(out, out + scheme.dimension, 0.0);
    for (std::size_t part = 0; part < parts && first + part < slots.terms; ++part)
        for (std::size_t i = 0; i < size; ++i)
            out[part * size + i] =
                static_cast<double>(values[(first + part) * slots.samples + block * slots.dimension + i]);
    ring(scheme.plains[h], scheme.dimension)->inverse(out);
}

// The sums over the parts of a block of slots modulo prime number h, of slots from coefficients near zero.
void sum_parts(const ProductScheme& scheme, std::size_t h, double* x, const Slots& slots, std::size_t block,
               std::uint64_t* sums) {
    ring(scheme.plains[h], scheme.dimension)->forward(x);
    std::size_t size = slots.size(block), parts = slots.parts(block);
    auto p = static_cast<std::int64_t>(scheme.plains[h]);
    sums += h * slots.samples;
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
        ProductMessage message(scheme, scheme.dimension);
        for (std::size_t j = 0; j < slots.ciphertexts(block); ++j) {
            for (std::size_t h = 0; h < scheme.plains.size(); ++h)
                fill_slots(scheme, h, values, slots, block, j, message.of(h));
            std::size_t number = slots.first(block) + j;
            encrypt_one(scheme, message, number, seed, key, packed + number * scheme.packed_bytes());
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
        Secret<std::uint64_t> values(scheme.plains.size() * scheme.dimension);
        Secret<double> x(scheme.dimension);
        opening.open(useful + block * packed_size(scheme.dimension, scheme.useful_bits), scheme.dimension,
                     other + block * scheme.other_bytes(), [](std::size_t i) { return i; }, values.data());
        for (std::size_t h = 0; h < scheme.plains.size(); ++h) {
            for (std::size_t i = 0; i < x.size(); ++i) x[i] = centred(values[h * x.size() + i], scheme.plains[h]);
            sum_parts(scheme, h, x.data(), slots, block, shares);
        }
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

    // Add a plaintext low + step high, integers near zero and below every prime, times a ciphertext: `half(k, which)`,
    // transformed.
    template <class Half>
    void add(const double* low, const double* high, std::uint64_t step, Half half) {
        for (std::size_t k = 0; k < rings_.size(); ++k) {
            std::copy(low, low + scheme_.dimension, plain_.begin());
            auto p = static_cast<double>(rings_[k]->p());
            if (high) kernels().add_multiple(plain_.data(), high, rings_[k]->residue(step), scheme_.dimension, p);
            rings_[k]->forward(plain_.data());
            for (std::size_t which = 0; which < 2; ++which) add_transformed(k, which, half(k, which), plain_.data());
        }
    }

    // Write the response; `masks`: what is added to the messages at `count` places, followed by zeros up to `padded(count)`.
    template <class Place>
    void finish(const Key& key, std::uint64_t number, const ProductMessage& masks, std::size_t count, Place place,
                std::uint8_t* useful, std::uint8_t* other) {
        std::size_t dimension = scheme_.dimension, primes = rings_.size(), room = padded(count);
        randomise(key, number);
        std::vector<std::uint64_t> a(primes * dimension);
        for (std::size_t k = 0; k < primes; ++k) rings_[k]->canonical(a.data() + k * dimension, sum(k, 1), dimension);
        send(a.data(), dimension, dimension, scheme_.other_bits, other);

        std::size_t limb_count = (scheme_.flood_bits + limb_bits - 1) / limb_bits;
        Secret<double> chosen(room), small(room, 0.0), limbs(limb_count * room, 0.0);
        for (std::size_t i = 0; i < count; ++i) small[i] = nearest_integer(masks.rest(i));
        flood(key, number, count, room, limbs.data());
        Secret<std::uint64_t> b(primes * room);
        for (std::size_t k = 0; k < primes; ++k) {
            auto p = static_cast<double>(rings_[k]->p());
            masks.encode(*rings_[k], k, small.data(), chosen.data());
            for (std::size_t i = 0; i < count; ++i) chosen[i] += sum(k, 0)[place(i)];
            double power = 1.0;
            for (std::size_t limb = 0; limb < limb_count; ++limb) {
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

    // `count` sums of four independent uniform integers of [-2^(B-1), 2^(B-1)), in limbs of 48 bits.
    void flood(const Key& key, std::uint64_t number, std::size_t count, std::size_t room, double* limbs) const {
        Secret<std::uint64_t> random(4 * room);
        Stream stream(key, Purpose::flood, number);
        for (unsigned limb = 0, left = scheme_.flood_bits; left; ++limb) {
            unsigned bits = std::min(left, limb_bits);
            left -= bits;
            std::uint64_t mask = (1ull << bits) - 1;
            double centre = left ? 0.0 : static_cast<double>(1ull << (bits + 1));
            stream.fill(random.data(), random.size());
            for (std::size_t i = 0; i < count; ++i) {
                std::uint64_t sum = 0;
                for (std::size_t j = 0; j < 4; ++j) sum += random[j * room + i] & mask;
                limbs[limb * room + i] = static_cast<double>(static_cast<std::int64_t>(sum)) - centre;
            }
        }
    }

    // Switch numbers modulo Q, by their residues, to so many bits, and pack them.
    void send(const std::uint64_t* residues, std::size_t count, std::size_t stride, unsigned bits, std::uint8_t* out) const {
        Fraction fraction(scheme_.primes, scheme_.dimension);
        std::vector<Wide> words(count);
        for (std::size_t i = 0; i < count; ++i)
            words[i] = switched(fraction.of([&](std::size_t k) { return residues[k * stride + i]; }), bits);
        pack_wide(words.data(), count, bits, out);
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

// The integers x near zero, x = x1 modulo p1 and x2 modulo p2, of two halves' slots: x1 + p1 ((x2 - x1) / p1 modulo p2).
class SlotPlaintext {
public:
    SlotPlaintext(const ProductScheme& scheme)
        : scheme_(scheme), two_(scheme.plains.size() == 2), low_(scheme.dimension), high_(two_ ? scheme.dimension : 0),
          second_(high_.size()) {
        if (two_) inverse_ = last()->residue(inverse_modulo(scheme.plains[0] % scheme.plains[1], scheme.plains[1]));
    }
    void fill(const std::int64_t* values, const Slots& slots, std::size_t block, std::size_t ciphertext) {
        fill_slots(scheme_, 0, values, slots, block, ciphertext, low_.data());
        if (!two_) return;
        fill_slots(scheme_, 1, values, slots, block, ciphertext, second_.data());
        for (std::size_t i = 0; i < low_.size(); ++i) second_[i] -= low_[i];
        std::fill(high_.begin(), high_.end(), 0.0);
        kernels().add_multiple(high_.data(), second_.data(), inverse_, high_.size(), static_cast<double>(last()->p()));
    }
    const double* low() const { return low_.data(); }
    const double* high() const { return two_ ? high_.data() : nullptr; }

private:
    std::shared_ptr<const Ring> last() const { return ring(scheme_.plains.back(), scheme_.dimension); }
    const ProductScheme& scheme_;
    bool two_;
    double inverse_ = 0.0;
    Secret<double> low_, high_, second_;
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
            reply.add(tile.data(), nullptr, 0, [&](std::size_t k, std::size_t half) { return received.at(j, k, half); });
        }
        std::size_t first = g * tiles.tile_rows, count = std::min(tiles.tile_rows, tiles.rows - first);
        ProductMessage masks(scheme, padded(count));
        Stream stream(key, Purpose::mask, g);
        for (std::size_t r = 0; r < count; ++r) {
            std::uint64_t mask = uniform(stream, scheme.plains[0]);
            masks.of(0)[r] = centred(mask, scheme.plains[0]);
            shares[first + r] = mask ? scheme.plains[0] - mask : 0;
        }
        reply.finish(key, g, masks, count, [&](std::size_t r) { return tiles.place(r); },
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
        SlotPlaintext plain(scheme);
        ProductMessage masks(scheme, dimension);
        Residues halves(2 * primes * dimension);
        for (std::size_t j = 0; j < slots.ciphertexts(block); ++j) {
            std::size_t number = slots.first(block) + j;
            const std::uint8_t* in = packed + number * scheme.packed_bytes();
            for (std::size_t k = 0; k < primes; ++k) {
                unpack(in, dimension, scheme.primes[k], halves.data() + 2 * k * dimension);
                public_half(scheme, seed, number, k, halves.data() + (2 * k + 1) * dimension);
                in += run_bytes(scheme.primes[k], dimension);
            }
            plain.fill(values, slots, block, j);
            auto half_of = [&](std::size_t k, std::size_t half) { return halves.data() + (2 * k + half) * dimension; };
            reply.add(plain.low(), plain.high(), scheme.plains[0], half_of);
        }
        Stream stream(key, Purpose::mask, block);
        for (std::size_t h = 0; h < scheme.plains.size(); ++h)
            for (std::size_t i = 0; i < dimension; ++i)
                masks.of(h)[i] = centred(uniform(stream, scheme.plains[h]), scheme.plains[h]);
        reply.finish(key, block, masks, dimension, [](std::size_t i) { return i; },
                     useful + block * packed_size(dimension, scheme.useful_bits), other + block * scheme.other_bytes());
        for (std::size_t h = 0; h < scheme.plains.size(); ++h) {
            for (std::size_t i = 0; i < dimension; ++i) masks.of(h)[i] = -masks.of(h)[i];
            sum_parts(scheme, h, masks.of(h), slots, block, shares);
        }
    });
}

}  // namespace fedbank
