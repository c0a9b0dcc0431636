#include "okvs.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <optional>

#include "aes128.hpp"
#include "gf128.hpp"
#include "parallel.hpp"
#include "partition.hpp"

namespace fedbank {
namespace {

constexpr std::size_t batch = 128;  // items hashed at once; the portable AES fills its vectors with as many
constexpr std::size_t ahead = 24;   // items of a random order that are fetched before they are needed

constexpr OkvsFailure overfull{"More items fell into a cluster than its capacity."};
constexpr OkvsFailure dependent{"The equations of a cluster depend on each other."};
constexpr OkvsFailure repeated_item{"An item occurs twice."};

using Columns = std::array<std::uint16_t, 4>;  // three of them

Gf128 element(const std::uint8_t* at) {
    Gf128 x;
    std::memcpy(&x, at, 16);
    return x;
}

std::uint32_t scaled(std::uint64_t word, std::size_t bound) {
    return static_cast<std::uint32_t>((word & 0xffffffff) * bound >> 32);
}

std::size_t cluster_of(Gf128 hash, std::size_t clusters) { return scaled(hash.high >> 32, clusters); }

Columns columns_of(Gf128 hash, std::size_t sparse) {
    std::uint32_t a = scaled(hash.low, sparse), b = scaled(hash.low >> 32, sparse - 1), c = scaled(hash.high, sparse - 2);
    b += b >= a;
    c += c >= std::min(a, b);
    c += c >= std::max(a, b);
    return {static_cast<std::uint16_t>(a), static_cast<std::uint16_t>(b), static_cast<std::uint16_t>(c), 0};
}

// Numbers of items, grouped by cluster.
struct Grouped {
    std::vector<std::uint32_t> order;
    std::vector<std::size_t> begins;
};

Grouped grouped(const std::uint8_t* items, std::size_t count, const Aes128& cipher, std::size_t clusters,
                unsigned threads) {
    std::vector<std::uint16_t> cluster(clusters > 1 ? count : 0);
    if (clusters > 1)
        in_parallel((count + batch - 1) / batch, threads, [&](std::size_t part) {
            Gf128 hash[batch];
            std::size_t from = part * batch, piece = std::min(batch, count - from);
            cipher.encrypt(items + 16 * from, piece, reinterpret_cast<std::uint8_t*>(hash));
            for (std::size_t i = 0; i < piece; ++i)
                cluster[from + i] = static_cast<std::uint16_t>(cluster_of(hash[i], clusters));
            wipe(hash, sizeof hash);
        });
    Grouped result{std::vector<std::uint32_t>(count), {}};
    result.begins = partition(
        count, clusters, threads, [&](std::size_t i) { return clusters > 1 ? cluster[i] : 0; },
        [&](std::size_t position, std::size_t i) { result.order[position] = static_cast<std::uint32_t>(i); });
    return result;
}

// The equations of one cluster, and its part of the table.
class Cluster {
public:
    explicit Cluster(const OkvsShape& shape)
        : sparse_(shape.sparse), dense_(shape.dense), hash_(shape.capacity), value_(shape.capacity),
          columns_(shape.capacity), table_(shape.width()), touching_(shape.sparse), queue_(shape.sparse + 1),
          peeled_(shape.capacity), solved_(shape.capacity) {}

    Gf128* hashes() { return hash_.data(); }
    Gf128* values() { return value_.data(); }
    const Secret<Gf128>& table() const { return table_; }

    // Solve the first `count` equations; the table holds random elements before.
    void solve(std::size_t count, Stream& random) {
        count_ = count;
        random.fill(reinterpret_cast<std::uint64_t*>(table_.data()), 2 * table_.size());
        if (!sparse_) return interpolate(random);
        peel();
        if (!eliminate()) throw twice() ? repeated_item : dependent;
        gf128_loops().add_powers(hash_.data(), count, dense(), dense_, value_.data());
        substitute();
    }

    bool solvable(std::size_t count) {
        count_ = count;
        if (!sparse_) return count <= dense_ && !twice();
        peel();
        return eliminate();
    }

private:
    Gf128* dense() { return table_.data() + sparse_; }

    // Take away, one after the other, equations that alone touch some column. What is known of a column: how many
    // equations still touch it, in the upper half, and their numbers added by xor, in the lower.
    void peel() {
        std::fill(touching_.begin(), touching_.end(), 0);
        for (std::size_t row = 0; row < count_; ++row) {
            columns_[row] = columns_of(hash_[row], sparse_);
            for (int k = 0; k < 3; ++k) {
                std::uint32_t& column = touching_[columns_[row][k]];
                column = (column + 0x10000) ^ static_cast<std::uint32_t>(row);
            }
        }
        std::size_t end = 0;
        for (std::size_t column = 0; column < sparse_; ++column) {
            queue_[end] = static_cast<std::uint16_t>(column);
            end += touching_[column] >> 16 == 1;
        }
        std::fill_n(peeled_.begin(), count_, 0);
        peels_ = 0;
        for (std::size_t begin = 0; begin < end; ++begin) {
            std::uint32_t alone = touching_[queue_[begin]];
            if (alone >> 16 != 1) continue;
            std::uint32_t row = alone & 0xffff;
            peeled_[row] = 1;
            solved_[peels_++] = row << 16 | queue_[begin];
            for (int k = 0; k < 3; ++k) {
                std::uint16_t other = columns_[row][k];
                std::uint32_t rest = touching_[other] = (touching_[other] - 0x10000) ^ row;
                queue_[end] = other;
                end += rest >> 16 == 1;
            }
        }
    }

    // The rest, by Gauss over GF(2). Equations that lose all their columns are equations of the dense elements alone.
    bool eliminate() {
        core_.clear();
        pivots_.clear();
        if (peels_ == count_) return true;
        for (std::size_t row = 0; row < count_; ++row)
            if (!peeled_[row]) core_.push_back(static_cast<std::uint32_t>(row));
        core_columns_.clear();
        for (std::uint32_t row : core_)
            for (int k = 0; k < 3; ++k) core_columns_.push_back(columns_[row][k]);
        std::sort(core_columns_.begin(), core_columns_.end());
        core_columns_.erase(std::unique(core_columns_.begin(), core_columns_.end()), core_columns_.end());
        words_ = (core_columns_.size() + 63) / 64;
        bits_.assign(core_.size() * words_, 0);
        terms_.emplace(core_.size() * (dense_ + 1));
        for (std::size_t i = 0; i < core_.size(); ++i) {
            for (int k = 0; k < 3; ++k) {
                auto at = std::lower_bound(core_columns_.begin(), core_columns_.end(), columns_[core_[i]][k]);
                std::size_t place = static_cast<std::size_t>(at - core_columns_.begin());
                bits(i)[place / 64] |= 1ull << place % 64;
            }
            Gf128 power{1, 0};
            for (std::size_t j = 0; j < dense_; ++j)
                terms(i)[j] = power = gf128_loops().multiply(power, hash_[core_[i]]);
            terms(i)[dense_] = value_[core_[i]];
        }
        std::vector<std::size_t> without;
        std::vector<std::int64_t> pivot_of(core_columns_.size(), -1);
        for (std::size_t i = 0; i < core_.size(); ++i) {
            std::size_t place = reduce(i, pivot_of);
            if (place == core_columns_.size())
                without.push_back(i);
            else
                pivot_of[place] = static_cast<std::int64_t>(i);
        }
        for (std::size_t place = core_columns_.size(); place-- > 0;)
            if (pivot_of[place] >= 0) pivots_.emplace_back(place, static_cast<std::size_t>(pivot_of[place]));
        return without.size() <= dense_ && eliminate_dense(without);
    }

    std::uint64_t* bits(std::size_t i) { return bits_.data() + i * words_; }
    Gf128* terms(std::size_t i) { return terms_->data() + i * (dense_ + 1); }

    // Add pivot equations until the first column of equation `i` is no pivot; that column, or their number if none is left.
    std::size_t reduce(std::size_t i, const std::vector<std::int64_t>& pivot_of) {
        for (std::size_t word = 0; word < words_; ++word)
            while (bits(i)[word]) {
                std::size_t place = 64 * word + static_cast<std::size_t>(__builtin_ctzll(bits(i)[word]));
                if (pivot_of[place] < 0) return place;
                auto from = static_cast<std::size_t>(pivot_of[place]);
                for (std::size_t k = word; k < words_; ++k) bits(i)[k] ^= bits(from)[k];
                for (std::size_t k = 0; k <= dense_; ++k) terms(i)[k] ^= terms(from)[k];
            }
        return core_columns_.size();
    }

    // Solve for as many dense elements as there are equations; the others stay random.
    bool eliminate_dense(const std::vector<std::size_t>& rows) {
        const auto multiply = gf128_loops().multiply;
        std::vector<std::size_t> pivot;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            Gf128* row = terms(rows[i]);
            for (std::size_t k = 0; k < i; ++k) {
                Gf128 factor = row[pivot[k]];
                for (std::size_t j = 0; j <= dense_; ++j) row[j] ^= multiply(factor, terms(rows[k])[j]);
            }
            std::size_t at = 0;
            while (at < dense_ && row[at].is_zero()) ++at;
            if (at == dense_) return false;
            Gf128 factor = inverse(row[at]);
            for (std::size_t j = 0; j <= dense_; ++j) row[j] = multiply(factor, row[j]);
            pivot.push_back(at);
        }
        for (std::size_t i = rows.size(); i-- > 0;) {
            Gf128* row = terms(rows[i]);
            Gf128 sum = row[dense_];
            for (std::size_t j = 0; j < dense_; ++j)
                if (j != pivot[i]) sum ^= multiply(row[j], dense()[j]);
            dense()[pivot[i]] = sum;
        }
        return true;
    }

    void substitute() {
        const auto multiply = gf128_loops().multiply;
        for (auto [place, i] : pivots_) {
            Gf128 sum = terms(i)[dense_];
            for (std::size_t j = 0; j < dense_; ++j) sum ^= multiply(terms(i)[j], dense()[j]);
            for (std::size_t word = 0; word < words_; ++word)
                for (std::uint64_t rest = bits(i)[word]; rest; rest &= rest - 1) {
                    std::size_t other = 64 * word + static_cast<std::size_t>(__builtin_ctzll(rest));
                    if (other != place) sum ^= table_[core_columns_[other]];
                }
            table_[core_columns_[place]] = sum;
        }
        for (std::size_t i = peels_; i-- > 0;) {
            std::uint32_t row = solved_[i] >> 16, column = solved_[i] & 0xffff;
            const Columns& all = columns_[row];
            // The column itself is among the three: what stood in it goes out again.
            table_[column] = value_[row] ^ table_[all[0]] ^ table_[all[1]] ^ table_[all[2]] ^ table_[column];
        }
    }

    // No sparse part: x P(x) = value at `dense` points for a polynomial P below that degree. Where there are fewer items,
    // random points and values make the choice uniform among all that fit.
    void interpolate(Stream& random) {
        if (count_ > dense_) throw dependent;
        const auto multiply = gf128_loops().multiply;
        Secret<Gf128> x, y;
        x.reserve(dense_);  // a vector that grows would leave copies behind
        y.reserve(dense_);
        x.assign(hash_.begin(), hash_.begin() + static_cast<std::ptrdiff_t>(count_));
        y.assign(value_.begin(), value_.begin() + static_cast<std::ptrdiff_t>(count_));
        while (x.size() < dense_) {
            Gf128 point{random.word(), random.word()};
            if (point.is_zero() || std::find(x.begin(), x.end(), point) != x.end()) continue;
            x.push_back(point);
            y.push_back({random.word(), random.word()});
        }
        Secret<Gf128> product(dense_ + 1), quotient(dense_);  // of all X + x_i, and without one of them
        product[0] = {1, 0};
        for (std::size_t i = 0; i < dense_; ++i)
            for (std::size_t k = i + 2; k-- > 0;)
                product[k] = multiply(product[k], x[i]) ^ (k ? product[k - 1] : Gf128{});
        std::fill(table_.begin(), table_.end(), Gf128{});
        for (std::size_t i = 0; i < dense_; ++i) {
            Gf128 carry{}, at{};
            for (std::size_t k = dense_; k-- > 0;) quotient[k] = carry = product[k + 1] ^ multiply(carry, x[i]);
            for (std::size_t k = dense_; k-- > 0;) at = multiply(at, x[i]) ^ quotient[k];
            Gf128 scale = multiply(at, x[i]);
            if (scale.is_zero()) throw twice() ? repeated_item : dependent;
            scale = multiply(y[i], inverse(scale));
            for (std::size_t k = 0; k < dense_; ++k) table_[k] ^= multiply(scale, quotient[k]);
        }
    }

    bool twice() const {
        Secret<Gf128> sorted(hash_.begin(), hash_.begin() + static_cast<std::ptrdiff_t>(count_));
        std::sort(sorted.begin(), sorted.end(), [](Gf128 x, Gf128 y) { return x.high != y.high ? x.high < y.high : x.low < y.low; });
        return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
    }

    std::size_t sparse_, dense_, count_ = 0;
    Secret<Gf128> hash_, value_;
    Secret<Columns> columns_;
    Secret<Gf128> table_;
    Secret<std::uint32_t> touching_;
    Secret<std::uint16_t> queue_;
    std::vector<std::uint8_t> peeled_;
    Secret<std::uint32_t> solved_;  // row and column, in the order of peeling
    std::size_t peels_ = 0;
    // The core: equations, columns, bits of the columns, dense coefficients with the value behind; pivots (column,
    // equation), the last column first.
    std::vector<std::uint32_t> core_, core_columns_;
    std::size_t words_ = 0;
    std::vector<std::uint64_t> bits_;
    std::optional<Secret<Gf128>> terms_;
    std::vector<std::pair<std::size_t, std::size_t>> pivots_;
};

// One `make()` a thread, then work(made, i) for each i below `count`.
template <class Make, class Work>
void with_each(std::size_t count, unsigned threads, Make make, Work work) {
    std::atomic<std::size_t> next{0};
    in_parallel(std::clamp<std::size_t>(count, 1, std::max(1u, threads)), threads, [&](std::size_t) {
        auto made = make();
        for (std::size_t i; (i = next++) < count;) work(made, i);
    });
}

}  // namespace

void okvs_encode(const std::uint8_t* items, const std::uint8_t* values, std::size_t count, const std::uint8_t* seed,
                 const OkvsShape& shape, const Key& key, unsigned threads, std::uint8_t* table) {
    Aes128 cipher(seed);
    Grouped groups = grouped(items, count, cipher, shape.clusters, threads);
    for (std::size_t c = 0; c < shape.clusters; ++c)
        if (groups.begins[c + 1] - groups.begins[c] > shape.capacity) throw overfull;
    with_each(shape.clusters, threads, [&] { return Cluster(shape); }, [&](Cluster& cluster, std::size_t c) {
        const std::uint32_t* order = groups.order.data() + groups.begins[c];
        std::size_t here = groups.begins[c + 1] - groups.begins[c];
        for (std::size_t i = 0; i < here; ++i) {
            std::size_t later = order[std::min(i + ahead, here - 1)];
            __builtin_prefetch(items + 16 * later);
            __builtin_prefetch(values + 16 * later);
            cluster.hashes()[i] = element(items + 16 * std::size_t{order[i]});
            cluster.values()[i] = element(values + 16 * std::size_t{order[i]});
        }
        auto* hashes = reinterpret_cast<std::uint8_t*>(cluster.hashes());
        cipher.encrypt(hashes, here, hashes);
        Stream random(key, Purpose::okvs_free, c);
        cluster.solve(here, random);
        std::memcpy(table + 16 * c * shape.width(), cluster.table().data(), 16 * shape.width());
    });
}

void okvs_decode(const std::uint8_t* items, std::size_t count, const std::uint8_t* table, const std::uint8_t* seed,
                 const OkvsShape& shape, unsigned threads, std::uint8_t* values) {
    Aes128 cipher(seed);
    Grouped groups = grouped(items, count, cipher, shape.clusters, threads);
    const auto add_powers = gf128_loops().add_powers;
    auto decode = [&](Secret<Gf128>& scratch, const Gf128* dense, std::size_t c) {
        Gf128 *hash = scratch.data(), *sum = hash + batch;
        const std::uint8_t* piece = table + 16 * c * shape.width();
        std::size_t end = groups.begins[c + 1];
        for (std::size_t at = groups.begins[c]; at < end; at += batch) {
            const std::uint32_t* order = groups.order.data() + at;
            std::size_t here = std::min(batch, end - at), rest = end - at - 1;
            for (std::size_t i = 0; i < here; ++i) {
                __builtin_prefetch(items + 16 * std::size_t{order[std::min(i + ahead, rest)]});
                hash[i] = element(items + 16 * std::size_t{order[i]});
            }
            cipher.encrypt(reinterpret_cast<std::uint8_t*>(hash), here, reinterpret_cast<std::uint8_t*>(hash));
            for (std::size_t i = 0; i < here; ++i) {
                sum[i] = {};
                if (!shape.sparse) continue;
                Columns columns = columns_of(hash[i], shape.sparse);
                for (int k = 0; k < 3; ++k) sum[i] ^= element(piece + 16 * std::size_t{columns[k]});
            }
            add_powers(hash, here, dense, shape.dense, sum);
            for (std::size_t i = 0; i < here; ++i) std::memcpy(values + 16 * std::size_t{order[i]}, &sum[i], 16);
        }
    };
    if (shape.clusters > 1) {
        with_each(shape.clusters, threads, [&] { return Secret<Gf128>(2 * batch + shape.dense); },
                  [&](Secret<Gf128>& scratch, std::size_t c) {
                      Gf128* dense = scratch.data() + 2 * batch;
                      std::memcpy(static_cast<void*>(dense), table + 16 * (c * shape.width() + shape.sparse), 16 * shape.dense);
                      decode(scratch, dense, c);
                  });
        return;
    }
    Secret<Gf128> scratch(2 * batch + shape.dense);
    Gf128* dense = scratch.data() + 2 * batch;
    std::memcpy(static_cast<void*>(dense), table + 16 * shape.sparse, 16 * shape.dense);
    decode(scratch, dense, 0);
}

std::size_t okvs_failures(std::size_t items, std::size_t sparse, std::size_t dense, std::size_t instances,
                          const std::uint8_t* seed, unsigned threads) {
    Aes128 cipher(seed);
    std::atomic<std::size_t> failures{0};
    OkvsShape shape{1, items, sparse, dense};
    with_each(instances, threads, [&] { return Cluster(shape); }, [&](Cluster& cluster, std::size_t instance) {
        for (std::size_t i = 0; i < items; ++i) cluster.hashes()[i] = {i, instance};
        auto* hashes = reinterpret_cast<std::uint8_t*>(cluster.hashes());
        cipher.encrypt(hashes, items, hashes);
        failures += !cluster.solvable(items);
    });
    return failures;
}

}  // namespace fedbank
