// The equations of one cluster of an oblivious key-value store (okvs.hpp), and how they are solved: peeling (Molloy 2005,
// "Cores in random hypergraphs and Boolean formulas"), Gauss over GF(2) for what is left, Gauss over GF(2^128) for what is
// left of that.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "gf128.hpp"
#include "okvs.hpp"
#include "sampler.hpp"

namespace fedbank {

using Columns = std::array<std::uint16_t, 4>;  // three of them

// 16 bytes at any address.
inline Gf128 element(const std::uint8_t* at) {
    Gf128 x;
    std::memcpy(&x, at, 16);
    return x;
}

// The lower half of a word as a fraction of the bound.
inline std::uint32_t scaled(std::uint64_t word, std::size_t bound) {
    return static_cast<std::uint32_t>((word & 0xffffffff) * bound >> 32);
}

inline std::size_t cluster_of(Gf128 hash, std::size_t clusters) { return scaled(hash.high >> 32, clusters); }

inline Columns columns_of(Gf128 hash, std::size_t sparse) {
    std::uint32_t a = scaled(hash.low, sparse), b = scaled(hash.low >> 32, sparse - 1), c = scaled(hash.high, sparse - 2);
    b += b >= a;
    c += c >= std::min(a, b);
    c += c >= std::max(a, b);
    return {static_cast<std::uint16_t>(a), static_cast<std::uint16_t>(b), static_cast<std::uint16_t>(c), 0};
}

// Room for the equations of one cluster after the other, and for its piece of the table.
class Cluster {
public:
    explicit Cluster(const OkvsShape& shape)
        : sparse_(shape.sparse), dense_(shape.dense), hash_(shape.capacity), value_(shape.capacity),
          columns_(shape.capacity), table_(shape.width()), touching_(shape.sparse), queue_(shape.sparse + 1),
          peeled_(shape.capacity), solved_(shape.capacity) {}

    // To be filled before: the hash of each item, and its value.
    Gf128* hashes() { return hash_.data(); }
    Gf128* values() { return value_.data(); }

    // Solve the first `count` equations; what they leave free is `random`. Throws OkvsFailure.
    void solve(std::size_t count, Stream& random);
    const Secret<Gf128>& table() const { return table_; }

    // Whether they can be solved, whatever the values are.
    bool solvable(std::size_t count);

private:
    // Take away, one after the other, equations that alone touch some column. What is known of a column: how many
    // equations still touch it, in the upper half, and their numbers added by xor, in the lower.
    void peel();

    // The rest, by Gauss over GF(2). Equations that lose all their columns are equations of the dense elements alone.
    bool eliminate();
    void take_core();

    // Add pivot equations until the first column of equation `i` is no pivot; that column, or their number if none is left.
    std::size_t reduce(std::size_t i, const std::vector<std::int64_t>& pivot_of);

    // Solve for as many dense elements as there are equations; the others stay random.
    bool eliminate_dense(const std::vector<std::size_t>& rows);

    // The core's columns from their pivot equations, then the peeled equations' columns, the last one first.
    void substitute();

    // No sparse part: x P(x) = value at `dense` points for a polynomial P below that degree. Where there are fewer items,
    // random points and values make the choice uniform among all that fit.
    void interpolate(Stream& random);

    bool twice() const;

    Gf128* dense() { return table_.data() + sparse_; }
    std::uint64_t* bits(std::size_t i) { return bits_->data() + i * words_; }
    Gf128* terms(std::size_t i) { return terms_->data() + i * (dense_ + 1); }

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
    std::optional<Secret<std::uint64_t>> bits_;
    std::optional<Secret<Gf128>> terms_;
    std::vector<std::pair<std::size_t, std::size_t>> pivots_;
};

}  // namespace fedbank
