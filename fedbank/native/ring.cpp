#include "ring.hpp"

#include <map>
#include <mutex>
#include <stdexcept>
#include <utility>

namespace fedbank {
namespace {

// The two largest primes below 2^49 that are 1 modulo 16384.
constexpr std::uint64_t word_primes[2] = {562949952847873ull, 562949952798721ull};

double near_zero(std::uint64_t x, std::uint64_t p) {
    return x > p / 2 ? -static_cast<double>(p - x) : static_cast<double>(x);
}

std::size_t bits_reversed(std::size_t x, unsigned bits) {
    std::size_t reversed = 0;
    for (unsigned i = 0; i < bits; ++i) reversed |= ((x >> i) & 1) << (bits - 1 - i);
    return reversed;
}

// An element of order 2 size: g^((p-1) / 2 size) for the first g whose power to the size is -1.
std::uint64_t root_of_unity(std::uint64_t p, std::size_t size) {
    for (std::uint64_t g = 2; g < 1000; ++g) {
        std::uint64_t root = power_modulo(g, (p - 1) / (2 * size), p);
        if (power_modulo(root, size, p) == p - 1) return root;
    }
    throw std::invalid_argument("The modulus is not a prime that is 1 modulo twice the size of the ring.");
}

Roots::List powers(std::uint64_t root, std::uint64_t p, std::size_t size, unsigned layers) {
    std::vector<std::uint64_t> power(size);
    power[0] = 1;
    for (std::size_t i = 1; i < size; ++i)
        power[i] = static_cast<std::uint64_t>(static_cast<unsigned __int128>(power[i - 1]) * root % p);
    Roots::List list{Aligned<double>(size), Aligned<double>(size)};
    for (std::size_t i = 0; i < size; ++i) {
        list.root[i] = near_zero(power[bits_reversed(i, layers)], p);
        list.over[i] = list.root[i] / static_cast<double>(p);
    }
    return list;
}

Roots::List by_butterfly(const Roots::List& by_block, std::size_t size, std::size_t length) {
    Roots::List list{Aligned<double>(size / 2), Aligned<double>(size / 2)};
    for (std::size_t t = 0; t < size / 2; ++t) {
        std::size_t block = size / (2 * length) + t / length;
        list.root[t] = by_block.root[block];
        list.over[t] = by_block.over[block];
    }
    return list;
}

template <class Key, class Made>
std::shared_ptr<const Made> made_once(std::map<Key, std::shared_ptr<const Made>>& made, const Key& key,
                                      std::shared_ptr<const Made> (*make)(const Key&)) {
    static std::mutex lock;
    std::lock_guard<std::mutex> guard(lock);
    auto& place = made[key];
    if (!place) place = make(key);
    return place;
}

}  // namespace

std::uint64_t power_modulo(std::uint64_t base, std::uint64_t exponent, std::uint64_t p) {
    unsigned __int128 result = 1, square = base % p;
    for (; exponent; exponent >>= 1, square = square * square % p)
        if (exponent & 1) result = result * square % p;
    return static_cast<std::uint64_t>(result);
}

std::uint64_t inverse_modulo(std::uint64_t x, std::uint64_t p) { return power_modulo(x, p - 2, p); }

Ring::Ring(std::uint64_t p, std::size_t size) {
    if (size < 16 || (size & (size - 1)) || p >= (1ull << 49) || p < (1ull << 30) || p % (2 * size) != 1)
        throw std::invalid_argument("A ring takes a power of two from 16 on and a prime of 31 to 49 bits, 1 modulo twice that power.");
    unsigned bits = 64 - static_cast<unsigned>(__builtin_clzll(p));
    unsigned shift = 2 * bits + 10;
    // floor(2^shift / p) by two steps of long division
    std::uint64_t high = (1ull << 62) / p, rest = (1ull << 62) % p;
    unsigned left = shift - 62;
    std::uint64_t ratio = static_cast<std::uint64_t>(
        (static_cast<unsigned __int128>(high) << left) + (static_cast<unsigned __int128>(rest) << left) / p);
    modulus_ = {p, bits, ratio};
    layers_ = static_cast<unsigned>(__builtin_ctzll(size));
    std::uint64_t root = root_of_unity(p, size);
    roots_.size = size;
    roots_.p = static_cast<double>(p);
    roots_.one_over_p = 1.0 / roots_.p;
    roots_.forward = powers(root, p, size, layers_);
    roots_.inverse = powers(inverse_modulo(root, p), p, size, layers_);
    for (std::size_t k = 0; k < 3; ++k) {
        roots_.narrow_forward[k] = by_butterfly(roots_.forward, size, 4u >> k < size ? 4u >> k : 1);
        roots_.narrow_inverse[k] = by_butterfly(roots_.inverse, size, 4u >> k < size ? 4u >> k : 1);
    }
    std::uint64_t half = inverse_modulo(2, p), shrink = 1;
    for (unsigned k = 0; k <= layers_; ++k) {
        roots_.shrink.push_back(near_zero(shrink, p));
        roots_.shrink_over.push_back(roots_.shrink.back() / roots_.p);
        shrink = static_cast<std::uint64_t>(static_cast<unsigned __int128>(shrink) * half % p);
    }
}

double Ring::residue(std::uint64_t x) const { return near_zero(x % modulus_.p, modulus_.p); }

double Ring::residue(std::int64_t x) const {
    auto distance = x < 0 ? -static_cast<std::uint64_t>(x) : static_cast<std::uint64_t>(x);
    return x < 0 ? -residue(distance) : residue(distance);
}

std::shared_ptr<const Ring> ring(std::uint64_t p, std::size_t size) {
    using Key = std::pair<std::uint64_t, std::size_t>;
    static std::map<Key, std::shared_ptr<const Ring>> made;
    return made_once<Key, Ring>(made, {p, size}, [](const Key& key) -> std::shared_ptr<const Ring> {
        return std::make_shared<const Ring>(key.first, key.second);
    });
}

WordRing::WordRing(std::size_t size) : rings_{ring(word_primes[0], size), ring(word_primes[1], size)} {
    first_inverse_ = rings_[1]->residue(inverse_modulo(word_primes[0] % word_primes[1], word_primes[1]));
}

WordRing::Pair WordRing::transform(const std::uint64_t* words) const {
    Pair pair{Secret<double>(size()), Secret<double>(size())};
    for (std::size_t k = 0; k < 2; ++k) {
        for (std::size_t i = 0; i < size(); ++i) pair[k][i] = rings_[k]->residue(static_cast<std::int64_t>(words[i]));
        rings_[k]->forward(pair[k].data());
    }
    return pair;
}

WordRing::Pair WordRing::transform(const std::int8_t* small) const {
    Pair pair{Secret<double>(size()), Secret<double>(size())};
    for (std::size_t k = 0; k < 2; ++k) {
        for (std::size_t i = 0; i < size(); ++i) pair[k][i] = small[i];
        rings_[k]->forward(pair[k].data());
    }
    return pair;
}

void WordRing::multiply(std::uint64_t* out, const double* x0, const double* x1, const Pair& y) const {
    thread_local Residues first, second;
    first.resize(size());
    second.resize(size());
    rings_[0]->multiply(first.data(), x0, y[0].data());
    rings_[1]->multiply(second.data(), x1, y[1].data());
    rings_[0]->inverse(first.data());
    rings_[1]->inverse(second.data());
    // x = first + p0 ((second - first) / p0 mod p1), with the quotient near zero
    thread_local Residues inverse;
    inverse.assign(size(), first_inverse_);
    for (std::size_t i = 0; i < size(); ++i) second[i] -= first[i];
    rings_[1]->multiply(second.data(), second.data(), inverse.data());
    for (std::size_t i = 0; i < size(); ++i)
        out[i] = static_cast<std::uint64_t>(static_cast<std::int64_t>(first[i])) +
                 word_primes[0] * static_cast<std::uint64_t>(static_cast<std::int64_t>(second[i]));
    wipe(first.data(), size() * sizeof(double));
    wipe(second.data(), size() * sizeof(double));
}

std::shared_ptr<const WordRing> word_ring(std::size_t size) {
    static std::map<std::size_t, std::shared_ptr<const WordRing>> made;
    return made_once<std::size_t, WordRing>(made, size, [](const std::size_t& key) -> std::shared_ptr<const WordRing> {
        return std::make_shared<const WordRing>(key);
    });
}

}  // namespace fedbank
