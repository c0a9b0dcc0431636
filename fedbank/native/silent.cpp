#include "silent.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <stdexcept>

#include "aes.hpp"
#include "gf128.hpp"
#include "parallel.hpp"

namespace fedbank {
namespace {

constexpr std::size_t at_once = 64;      // nodes
constexpr std::size_t piece_bits = 8192;  // of a stream

constexpr std::size_t trees_a_key = 8;
constexpr std::size_t pads_a_key = 512;

// The permutations of left and of right children, apart from each other and from those of pads (numbers below 2^61).
struct Sides {
    explicit Sides(std::uint64_t number) : left(public_key(number + (1ull << 61))), right(public_key(number + (1ull << 62))) {}
    const AesKey left, right;
};

template <class Work>
void by_trees(const Forest& forest, std::uint64_t first, unsigned threads, Work work) {
    in_parallel((forest.trees + trees_a_key - 1) / trees_a_key, threads, [&](std::size_t group) {
        const Sides keys(first + group);
        for (std::size_t tree = group * trees_a_key; tree < std::min(forest.trees, (group + 1) * trees_a_key); ++tree)
            work(keys, tree);
    });
}

// P(x) + x for many blocks. Not in place.
void hash_many(const AesKey& key, const Block* in, std::size_t count, Block* out) {
    aes().encrypt(key, reinterpret_cast<const std::uint8_t*>(in), reinterpret_cast<std::uint8_t*>(out), count);
    for (std::size_t i = 0; i < count; ++i) out[i] ^= in[i];
}

std::size_t nodes(const Forest& forest, std::size_t level) {
    std::size_t below = forest.depth() - level;
    return (forest.leaves + (std::size_t{1} << below) - 1) >> below;
}

// The children of `parents`, of which there are `count`; the last right one may be missing.
void children(const Sides& keys, const Block* parents, std::size_t count, Block* out) {
    Block left[at_once], right[at_once];
    for (std::size_t begin = 0; begin < count; begin += 2 * at_once) {
        std::size_t here = std::min(at_once, (count - begin + 1) / 2);
        hash_many(keys.left, parents + begin / 2, here, left);
        hash_many(keys.right, parents + begin / 2, here, right);
        for (std::size_t i = 0; i < here; ++i) {
            out[begin + 2 * i] = left[i];
            if (begin + 2 * i + 1 < count) out[begin + 2 * i + 1] = right[i];
        }
    }
    wipe(left, sizeof left);
    wipe(right, sizeof right);
}

void add_up(const Block* level, std::size_t count, Block sums[2]) {
    sums[0] = sums[1] = {0, 0};
    for (std::size_t i = 0; i < count; ++i) sums[i % 2] ^= level[i];
}

// Ping and pong: levels alternate so that the leaves land in `leaves`.
struct Levels {
    Levels(const Forest& forest, Block* leaves) : depth(forest.depth()), other(forest.leaves), leaves(leaves) {}
    Block* at(std::size_t level) { return (depth - level) % 2 ? other.data() : leaves; }
    std::size_t depth;
    Secret<Block> other;
    Block* leaves;
};

void transpose_64(std::uint64_t x[64]) {  // Hacker's Delight, 7-3, with the first bit lowest
    std::uint64_t mask = 0x00000000ffffffffull;
    for (unsigned j = 32; j; j >>= 1, mask ^= mask << j)
        for (unsigned k = 0; k < 64; k = (k + j + 1) & ~j) {
            std::uint64_t t = ((x[k] >> j) ^ x[k + j]) & mask;
            x[k] ^= t << j;
            x[k + j] ^= t;
        }
}

struct Piece {
    std::uint64_t words[piece_bits / 64];
    void add(const Piece& other, std::uint64_t mask, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) words[i] ^= other.words[i] & mask;
    }
};

// One piece of all 128 columns: columns[j] = sum over leaves x of stream(x), where bit j of x + missing is set; whole[i] =
// sum of all streams of tree i.
void columns_of(unsigned bits, const Block* seeds, const Block& missing, std::uint64_t number, std::size_t piece,
                std::size_t words, Piece* columns, Piece* whole) {
    Secret<Piece> streams(1);
    std::size_t trees = 128 / bits, leaves = std::size_t{1} << bits;
    for (std::size_t tree = 0; tree < trees; ++tree) {
        std::size_t from = tree * bits;
        std::uint64_t path = ((from < 64 ? missing.low >> from : missing.high >> (from - 64))) & (leaves - 1);
        std::memset(columns + from, 0, bits * sizeof(Piece));
        std::memset(whole + tree, 0, sizeof(Piece));
        for (std::size_t x = 0; x < leaves; ++x) {
            Key key{};
            std::memcpy(key.data(), &seeds[tree * leaves + x], 16);
            Stream stream(key, Purpose::correlation, number);
            stream.fill_from(piece * (piece_bits / 512), streams[0].words, words);
            whole[tree].add(streams[0], ~0ull, words);
            for (unsigned j = 0; j < bits; ++j)
                columns[from + j].add(streams[0], -(((x ^ path) >> j) & 1), words);
            wipe(key.data(), key.size());
        }
    }
}

void rows_of(const Piece* columns, std::size_t words, Block* rows) {
    std::uint64_t square[64];
    for (std::size_t word = 0; word < words; ++word)
        for (std::size_t half = 0; half < 2; ++half) {
            for (std::size_t j = 0; j < 64; ++j) square[j] = columns[64 * half + j].words[word];
            transpose_64(square);
            for (std::size_t j = 0; j < 64; ++j) (half ? rows[64 * word + j].high : rows[64 * word + j].low) = square[j];
        }
    wipe(square, sizeof square);
}

std::size_t words_in(std::size_t piece, std::size_t count) { return std::min(piece_bits, count - piece * piece_bits) / 64; }

}  // namespace

std::size_t Forest::depth() const {
    std::size_t levels = 0;
    while ((std::size_t{1} << levels) < leaves) ++levels;
    return levels;
}

void grow(const Forest& forest, std::uint64_t first, const Block* roots, unsigned threads, Block* leaves, Block* sums) {
    std::size_t depth = forest.depth();
    by_trees(forest, first, threads, [&](const Sides& keys, std::size_t tree) {
        Levels levels(forest, leaves + tree * forest.leaves);
        levels.at(0)[0] = roots[tree];
        for (std::size_t level = 1; level <= depth; ++level) {
            children(keys, levels.at(level - 1), nodes(forest, level), levels.at(level));
            add_up(levels.at(level), nodes(forest, level), sums + 2 * (tree * depth + level - 1));
        }
    });
}

void sides_of(const Forest& forest, const std::int64_t* points, std::uint8_t* sides) {
    std::size_t depth = forest.depth();
    for (std::size_t tree = 0; tree < forest.trees; ++tree)
        for (std::size_t level = 0; level < depth; ++level)
            sides[tree * depth + level] =
                static_cast<std::uint8_t>(1 ^ ((static_cast<std::uint64_t>(points[tree]) >> (depth - 1 - level)) & 1));
}

void grow_punctured(const Forest& forest, std::uint64_t first, const std::int64_t* points, const Block* sums, unsigned threads,
                    Block* leaves) {
    std::size_t depth = forest.depth();
    by_trees(forest, first, threads, [&](const Sides& keys, std::size_t tree) {
        Levels levels(forest, leaves + tree * forest.leaves);
        levels.at(0)[0] = {0, 0};
        auto point = static_cast<std::size_t>(points[tree]);
        for (std::size_t level = 1; level <= depth; ++level) {
            Block* here = levels.at(level);
            std::size_t count = nodes(forest, level), path = point >> (depth - level), sibling = path ^ 1;
            children(keys, levels.at(level - 1), count, here);
            here[path] = {0, 0};
            if (sibling < count) {  // the last right child may not exist
                here[sibling] = {0, 0};
                Block known[2];
                add_up(here, count, known);
                here[sibling] = known[sibling % 2] ^ sums[tree * depth + level - 1];
                wipe(known, sizeof known);
            }
        }
    });
}

void extend_whole(unsigned bits, const Block* seeds, std::uint64_t number, std::size_t count, unsigned threads,
                  std::uint8_t* u, std::uint8_t* corrections, Block* v) {
    std::size_t trees = 128 / bits;
    in_parallel((count + piece_bits - 1) / piece_bits, threads, [&](std::size_t piece) {
        Secret<Piece> columns(128), whole(trees);
        std::size_t words = words_in(piece, count), from = piece * piece_bits / 8;
        columns_of(bits, seeds, {0, 0}, number, piece, words, columns.data(), whole.data());
        std::memcpy(u + from, whole[0].words, 8 * words);
        for (std::size_t tree = 1; tree < trees; ++tree) {
            whole[tree].add(whole[0], ~0ull, words);
            std::memcpy(corrections + (tree - 1) * (count / 8) + from, whole[tree].words, 8 * words);
        }
        rows_of(columns.data(), words, v + piece * piece_bits);
    });
}

void extend_punctured(unsigned bits, const Block* seeds, const Block& delta, std::uint64_t number, std::size_t count,
                      const std::uint8_t* corrections, unsigned threads, Block* w) {
    std::size_t trees = 128 / bits;
    in_parallel((count + piece_bits - 1) / piece_bits, threads, [&](std::size_t piece) {
        Secret<Piece> columns(128), whole(trees);
        std::size_t words = words_in(piece, count), from = piece * piece_bits / 8;
        columns_of(bits, seeds, delta, number, piece, words, columns.data(), whole.data());
        for (std::size_t j = bits; j < 128; ++j) {
            Piece correction;  // was sent: no secret
            std::memcpy(correction.words, corrections + (j / bits - 1) * (count / 8) + from, 8 * words);
            columns[j].add(correction, -(((j < 64 ? delta.low >> j : delta.high >> (j - 64))) & 1), words);
        }
        rows_of(columns.data(), words, w + piece * piece_bits);
    });
}

void pads(const Block* words, std::size_t count, std::uint64_t first, Block* out) {
    for (std::size_t done = 0; done < count; done += pads_a_key) {
        std::uint64_t number = first + done;
        aes().hash(public_key(number), reinterpret_cast<const std::uint8_t*>(words + done),
                   reinterpret_cast<std::uint8_t*>(out + done), std::min(pads_a_key, count - done), number, 1);
    }
}

void combine(const Block* words, std::size_t count, std::size_t each, Block* out) {
    for (std::size_t i = 0; i < count; ++i) {
        Block sum = {0, 0};
        for (std::size_t j = each; j-- > 0;) sum = times_x(sum) ^ words[i * each + j];
        out[i] = sum;
    }
}

void add_scaled(Block* words, const Block* factors, const Block& by, std::size_t count, unsigned threads) {
    std::size_t pieces = (count + 65535) / 65536;
    in_parallel(pieces, threads, [&](std::size_t piece) {
        std::size_t from = piece * 65536, here = std::min<std::size_t>(65536, count - from);
        gf128_loops().add_powers(factors + from, here, &by, 1, words + from);
    });
}

void silent_sender(const Forest& forest, const Code& code, const Block* roots, const Block* offers, const std::uint8_t* flips,
                   const Block* base, const Block& delta, std::uint64_t first, unsigned threads, Block* masked,
                   Block* totals, Block* words) {
    std::size_t offered = forest.trees * forest.depth();
    Secret<Block> leaves(forest.trees * forest.leaves), keys(offered), mask(offered);
    grow(forest, first, roots, threads, leaves.data(), masked);
    for (std::uint64_t side = 0; side < 2; ++side) {  // the pad of side m is that of w + (m + flip) Delta
        for (std::size_t i = 0; i < offered; ++i) {
            std::uint64_t with = -static_cast<std::uint64_t>((flips[i] ^ side) & 1);
            keys[i] = {offers[i].low ^ (delta.low & with), offers[i].high ^ (delta.high & with)};
        }
        pads(keys.data(), offered, first, mask.data());
        for (std::size_t i = 0; i < offered; ++i) masked[2 * i + side] ^= mask[i];
    }
    for (std::size_t tree = 0; tree < forest.trees; ++tree) {
        Block sums[2];
        add_up(leaves.data() + tree * forest.leaves, forest.leaves, sums);
        totals[tree] = sums[0] ^ sums[1] ^ base[tree];
        wipe(sums, sizeof sums);
    }
    code.encode(leaves.data(), threads, words);
}

void silent_receiver(const Forest& forest, const Code& code, const std::int64_t* points, const Block* offers,
                     const Block* base, std::uint64_t first, const Block* masked, const Block* totals, unsigned threads,
                     Block* words) {
    std::size_t offered = forest.trees * forest.depth();
    std::vector<std::uint8_t> sides(offered);
    sides_of(forest, points, sides.data());
    Secret<Block> leaves(forest.trees * forest.leaves), sums(offered);
    pads(offers, offered, first, sums.data());
    for (std::size_t i = 0; i < offered; ++i) {  // both are read: the side is secret
        std::uint64_t right = -static_cast<std::uint64_t>(sides[i]);
        sums[i].low ^= (masked[2 * i].low & ~right) ^ (masked[2 * i + 1].low & right);
        sums[i].high ^= (masked[2 * i].high & ~right) ^ (masked[2 * i + 1].high & right);
    }
    grow_punctured(forest, first, points, sums.data(), threads, leaves.data());
    for (std::size_t tree = 0; tree < forest.trees; ++tree) {
        Block known[2], *own = leaves.data() + tree * forest.leaves;
        add_up(own, forest.leaves, known);
        own[points[tree]] = known[0] ^ known[1] ^ totals[tree] ^ base[tree];
        wipe(known, sizeof known);
    }
    wipe(sides.data(), sides.size());
    code.encode(leaves.data(), threads, words);
}

}  // namespace fedbank
