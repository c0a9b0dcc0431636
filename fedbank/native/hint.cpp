#include "hint.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "parallel.hpp"

namespace fedbank {
namespace {

constexpr std::size_t tile = 2048;      // samples whose words stay in a cache
constexpr std::size_t stretch = 65536;  // samples of one piece of work

// Sums by bin of eight vectors at once; `gather(first, count, group, out)` writes eight words a sample.
template <class Gather>
void sum_by_bin(const Codes& matrix, std::size_t count, unsigned threads, std::uint64_t* sums, Gather gather) {
    std::size_t groups = (count + 7) / 8, rows = matrix.rows();
    std::size_t pieces = std::max<std::size_t>(1, std::min<std::size_t>(threads, (matrix.samples + stretch - 1) / stretch));
    Aligned<std::uint64_t> partial(groups * pieces * rows * 8, 0);
    in_parallel(groups * pieces, threads, [&](std::size_t unit) {
        std::size_t group = unit / pieces, piece = unit % pieces;
        std::size_t begin = matrix.samples * piece / pieces, end = matrix.samples * (piece + 1) / pieces;
        Aligned<std::uint64_t> bins(2 * rows * 8, 0);
        Secret<std::uint64_t> words(tile * 8, 0);
        for (std::size_t at = begin; at < end; at += tile) {
            std::size_t here = std::min(tile, end - at);
            gather(at, here, group, words.data());
            for (std::size_t f = 0; f < matrix.features; ++f) {
                std::uint64_t* even = bins.data() + f * matrix.width * 16;
                kernels().add_to_bins(matrix.codes + f * matrix.samples + at, words.data(), here, even,
                                      even + matrix.width * 8);
            }
        }
        std::uint64_t* out = partial.data() + unit * rows * 8;
        for (std::size_t f = 0; f < matrix.features; ++f)
            for (std::size_t k = 0; k < matrix.width * 8; ++k)
                out[f * matrix.width * 8 + k] =
                    bins[f * matrix.width * 16 + k] + bins[f * matrix.width * 16 + matrix.width * 8 + k];
    });
    for (std::size_t v = 0; v < count; ++v)
        for (std::size_t row = 0; row < rows; ++row) {
            std::uint64_t sum = 0;
            for (std::size_t piece = 0; piece < pieces; ++piece)
                sum += partial[(((v / 8) * pieces + piece) * rows + row) * 8 + v % 8];
            sums[v * rows + row] = sum;
        }
}

}  // namespace

void public_block(const Key& seed, std::size_t dimension, std::uint64_t block, std::uint64_t* out) {
    Stream(seed, Purpose::inner_public, block).fill(out, dimension);
}

void make_hint(const Codes& matrix, const Key& seed, std::size_t dimension, unsigned threads, std::uint64_t* hint) {
    std::fill_n(hint, matrix.rows() * dimension, 0);
    std::size_t blocks = (matrix.samples + dimension - 1) / dimension;
    constexpr std::size_t together = 8;  // blocks whose windows are in memory at once
    Aligned<std::uint64_t> windows(together * 2 * dimension);
    for (std::size_t first = 0; first < blocks; first += together) {
        std::size_t here = std::min(together, blocks - first);
        in_parallel(here, threads, [&](std::size_t j) {
            // window[u] = a[dimension - 1 - u], then its negation: sample i of the block reads from dimension - 1 - i
            std::uint64_t* window = windows.data() + j * 2 * dimension;
            std::vector<std::uint64_t> a(dimension);
            public_block(seed, dimension, first + j, a.data());
            for (std::size_t u = 0; u < dimension; ++u) {
                window[u] = a[dimension - 1 - u];
                window[dimension + u] = -a[dimension - 1 - u];
            }
        });
        in_parallel(matrix.features, threads, [&](std::size_t f) {
            std::vector<std::uint32_t> offsets(dimension), ends(matrix.width + 1);
            for (std::size_t j = 0; j < here; ++j) {
                std::size_t begin = (first + j) * dimension, count = std::min(dimension, matrix.samples - begin);
                const std::uint8_t* codes = matrix.codes + f * matrix.samples + begin;
                std::fill(ends.begin(), ends.end(), 0);
                for (std::size_t i = 0; i < count; ++i) ++ends[codes[i] + 1];
                for (std::size_t b = 0; b < matrix.width; ++b) ends[b + 1] += ends[b];
                std::vector<std::uint32_t> next(ends.begin(), ends.end() - 1);
                for (std::size_t i = 0; i < count; ++i)
                    offsets[next[codes[i]]++] = static_cast<std::uint32_t>(dimension - 1 - i);
                for (std::size_t b = 0; b < matrix.width; ++b)
                    kernels().add_windows(windows.data() + j * 2 * dimension, offsets.data() + ends[b],
                                          ends[b + 1] - ends[b], hint + (f * matrix.width + b) * dimension, dimension);
            }
        });
    }
}

void sum_words(const Codes& matrix, const std::uint64_t* words, std::size_t count, unsigned threads,
               std::uint64_t* sums) {
    sum_by_bin(matrix, count, threads, sums,
               [&](std::size_t first, std::size_t here, std::size_t group, std::uint64_t* out) {
                   for (std::size_t k = 0; k < std::min<std::size_t>(8, count - 8 * group); ++k) {
                       const std::uint64_t* from = words + (8 * group + k) * matrix.samples + first;
                       for (std::size_t i = 0; i < here; ++i) out[8 * i + k] = from[i];
                   }
               });
}

void sum_packed(const Codes& matrix, const std::uint8_t* packed, std::size_t bytes, std::size_t count, unsigned threads,
                std::uint64_t* sums) {
    if (bytes < 1 || bytes > 8) throw std::invalid_argument("A word has one to eight bytes.");
    std::size_t drop = 64 - 8 * bytes, total = count * matrix.samples * bytes;
    sum_by_bin(matrix, count, threads, sums,
               [&](std::size_t first, std::size_t here, std::size_t group, std::uint64_t* out) {
                   for (std::size_t k = 0; k < std::min<std::size_t>(8, count - 8 * group); ++k) {
                       std::size_t begin = ((8 * group + k) * matrix.samples + first) * bytes;
                       std::size_t safe = total >= begin + 8 ? (total - begin - 8) / bytes + 1 : 0;  // whole loads
                       for (std::size_t i = 0; i < std::min(here, safe); ++i) {
                           std::uint64_t word;
                           std::memcpy(&word, packed + begin + i * bytes, 8);
                           out[8 * i + k] = word << drop;
                       }
                       for (std::size_t i = safe; i < here; ++i) {
                           std::uint64_t word = 0;
                           std::memcpy(&word, packed + begin + i * bytes, bytes);
                           out[8 * i + k] = word << drop;
                       }
                   }
               });
}

InnerSecrets::InnerSecrets(const Key& key, std::size_t count, std::size_t dimension)
    : dimension_(dimension), secrets_(count * dimension), used_(count, false) {
    Stream stream(key, Purpose::secret, 0);
    ternary(stream, secrets_.data(), secrets_.size());
}

bool InnerSecrets::untouched() const { return std::find(used_.begin(), used_.end(), true) == used_.end(); }

Secret<std::int8_t> InnerSecrets::take(std::size_t k) {
    if (k >= used_.size()) throw std::out_of_range("There is no such secret.");
    if (used_[k]) throw std::logic_error("This secret has met its message already; a secret serves one message only.");
    used_[k] = true;
    Secret<std::int8_t> taken(secret(k), secret(k) + dimension_);
    wipe(secrets_.data() + k * dimension_, dimension_);
    return taken;
}

InnerRing::InnerRing(const Key& seed, std::size_t dimension, std::size_t samples, unsigned threads)
    : ring_(word_ring(dimension)), samples_(samples), blocks_((samples + dimension - 1) / dimension),
      transformed_(blocks_ * 2 * dimension) {
    in_parallel(blocks_, threads, [&](std::size_t j) {
        std::vector<std::uint64_t> a(dimension);
        public_block(seed, dimension, j, a.data());
        WordRing::Pair pair = ring_->transform(a.data());
        for (std::size_t k = 0; k < 2; ++k)
            std::copy(pair[k].begin(), pair[k].end(), transformed_.begin() + static_cast<std::ptrdiff_t>((2 * j + k) * dimension));
    });
}

void InnerRing::encrypt(const std::int64_t* vectors, std::size_t count, InnerSecrets& secrets, std::size_t first,
                        unsigned shift, Width width, std::size_t bytes, const Key& key, unsigned threads,
                        std::uint8_t* packed) const {
    std::size_t dimension = ring_->size();
    if (secrets.dimension() != dimension) throw std::invalid_argument("The secrets are of another dimension.");
    if (bytes < 1 || bytes > 8 || shift > 63) throw std::invalid_argument("A word has 64 bits, of which 1 to 8 bytes are sent.");
    std::vector<WordRing::Pair> transformed;
    for (std::size_t k = 0; k < count; ++k) {
        transformed.push_back(ring_->transform(secrets.take(first + k).data()));
    }
    std::size_t drop = 64 - 8 * bytes, total = count * samples_ * bytes;
    std::uint64_t half = drop ? 1ull << (drop - 1) : 0;
    in_parallel(count * blocks_, threads, [&](std::size_t unit) {
        std::size_t k = unit / blocks_, j = unit % blocks_;
        std::size_t begin = j * dimension, here = std::min(dimension, samples_ - begin);
        Secret<std::uint64_t> words(dimension);
        Secret<std::int64_t> errors(dimension);
        const double* a = transformed_.data() + 2 * j * dimension;
        ring_->multiply(words.data(), a, a + dimension, transformed[k]);
        Stream stream(key, Purpose::error, unit);
        gaussian(stream, width, errors.data(), here);
        const std::int64_t* vector = vectors + k * samples_ + begin;
        std::size_t at = (k * samples_ + begin) * bytes;
        std::uint8_t* out = packed + at;
        bool whole_stores = at + (here - 1) * bytes + 8 <= total && threads <= 1;  // they run over into the next word
        for (std::size_t i = 0; i < here; ++i, out += bytes) {
            std::uint64_t word = words[i] + static_cast<std::uint64_t>(errors[i]) +
                                 (static_cast<std::uint64_t>(vector[i]) << shift);
            word = (word + half) >> drop;
            if (whole_stores) std::memcpy(out, &word, 8);
            else std::memcpy(out, &word, bytes);
        }
    });
}

}  // namespace fedbank
