#include "okvs_cluster.hpp"

namespace fedbank {
namespace {

constexpr OkvsFailure dependent{"The equations of a cluster depend on each other."};
constexpr OkvsFailure repeated_item{"An item occurs twice."};

}  // namespace

void Cluster::solve(std::size_t count, Stream& random) {
    count_ = count;
    random.fill(reinterpret_cast<std::uint64_t*>(table_.data()), 2 * table_.size());
    if (!sparse_) return interpolate(random);
    peel();
    if (!eliminate()) throw twice() ? repeated_item : dependent;
    gf128_loops().add_powers(hash_.data(), count, dense(), dense_, value_.data());
    substitute();
}

bool Cluster::solvable(std::size_t count) {
    count_ = count;
    if (!sparse_) return count <= dense_ && !twice();
    peel();
    return eliminate();
}

void Cluster::peel() {
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

void Cluster::take_core() {
    core_.clear();
    for (std::size_t row = 0; row < count_; ++row)
        if (!peeled_[row]) core_.push_back(static_cast<std::uint32_t>(row));
    core_columns_.clear();
    for (std::uint32_t row : core_) core_columns_.insert(core_columns_.end(), columns_[row].begin(), columns_[row].begin() + 3);
    std::sort(core_columns_.begin(), core_columns_.end());
    core_columns_.erase(std::unique(core_columns_.begin(), core_columns_.end()), core_columns_.end());
    words_ = (core_columns_.size() + 63) / 64;
    bits_.emplace(core_.size() * words_);
    terms_.emplace(core_.size() * (dense_ + 1));
    for (std::size_t i = 0; i < core_.size(); ++i) {
        for (int k = 0; k < 3; ++k) {
            auto at = std::lower_bound(core_columns_.begin(), core_columns_.end(), columns_[core_[i]][k]);
            auto place = static_cast<std::size_t>(at - core_columns_.begin());
            bits(i)[place / 64] |= 1ull << place % 64;
        }
        Gf128 power{1, 0};
        for (std::size_t j = 0; j < dense_; ++j) terms(i)[j] = power = gf128_loops().multiply(power, hash_[core_[i]]);
        terms(i)[dense_] = value_[core_[i]];
    }
}

bool Cluster::eliminate() {
    pivots_.clear();
    if (peels_ == count_) return true;
    take_core();
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

std::size_t Cluster::reduce(std::size_t i, const std::vector<std::int64_t>& pivot_of) {
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

bool Cluster::eliminate_dense(const std::vector<std::size_t>& rows) {
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

void Cluster::substitute() {
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

void Cluster::interpolate(Stream& random) {
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

bool Cluster::twice() const {
    Secret<Gf128> sorted(hash_.begin(), hash_.begin() + static_cast<std::ptrdiff_t>(count_));
    std::sort(sorted.begin(), sorted.end(),
              [](Gf128 x, Gf128 y) { return x.high != y.high ? x.high < y.high : x.low < y.low; });
    return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
}

}  // namespace fedbank
