#include "matching.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <vector>

#include "aes128.hpp"
#include "parallel.hpp"
#include "partition.hpp"

namespace fedbank {
namespace {

constexpr std::size_t rows_a_part = 4096;  // their table stands in the second cache
constexpr std::size_t most_parts = 4096;
constexpr std::size_t group = 32;  // comparisons whose rows are fetched together

// Strongly universal, 32 bits (Lemire and Kaser 2014, "Strongly universal string hashing is fast", multilinear-HM): the
// upper half of k_0 + sum of (k_i + x_i) (k_i' + x_i') modulo 2^64 over the 32-bit words x of a row.
class Hash {
public:
    Hash(const std::uint8_t* key, std::size_t width) : width_(width) {
        std::uint8_t counters[16 * 5] = {};
        for (std::uint8_t i = 0; i < 5; ++i) counters[16 * i] = i;
        Aes128(key).encrypt(counters, 5, reinterpret_cast<std::uint8_t*>(keys_));
    }
    std::uint32_t operator()(const std::uint8_t* row) const {
        std::uint64_t words[4] = {}, sum = keys_[8];
        std::memcpy(words, row, width_);
        for (std::size_t i = 0; 8 * i < width_; ++i)
            sum += (keys_[2 * i] + (words[i] & 0xffffffff)) * (keys_[2 * i + 1] + (words[i] >> 32));
        return static_cast<std::uint32_t>(sum >> 32);
    }

private:
    std::size_t width_;
    std::uint64_t keys_[10];
};

struct Entry {
    std::uint32_t hash, row;
};

struct Parts {
    std::vector<Entry> entries;
    std::vector<std::size_t> begins;
};

// The hash's upper bits choose the part.
Parts parted(const std::uint8_t* rows, std::size_t count, std::size_t width, const Hash& hash, unsigned bits,
             unsigned threads) {
    Parts result{std::vector<Entry>(count), {}};
    result.begins = partition(
        count, std::size_t{1} << bits, threads,
        [&](std::size_t i) { return static_cast<std::size_t>(static_cast<std::uint64_t>(hash(rows + i * width)) << bits >> 32); },
        [&](std::size_t position, std::size_t i) {
            result.entries[position] = {hash(rows + i * width), static_cast<std::uint32_t>(i)};
        });
    return result;
}

unsigned part_bits(std::size_t count) {
    std::size_t parts = std::bit_ceil(count / rows_a_part + 1);
    return static_cast<unsigned>(std::countr_zero(std::min(parts, most_parts)));
}

// Lists of entries by the hash's bits below those of the part; what comes last stands first.
class Lists {
public:
    static constexpr std::uint32_t none = ~0u;

    void begin(std::size_t entries, unsigned part_bits) {
        auto bits = static_cast<unsigned>(std::bit_width(entries));
        bits = std::clamp(bits, 1u, 32 - part_bits);
        part_bits_ = part_bits;
        shift_ = 32 - bits;
        heads_.assign(std::size_t{1} << bits, none);
        next_.resize(entries);
    }
    void add(std::uint32_t hash, std::size_t entry) {
        std::uint32_t& first = heads_[place(hash)];
        next_[entry] = first;
        first = static_cast<std::uint32_t>(entry);
    }
    // The first entry from `entry` on, in its list, whose hash is the same.
    std::uint32_t find(const Entry* entries, std::uint32_t hash, std::uint32_t entry) const {
        while (entry != none && entries[entry].hash != hash) entry = next_[entry];
        return entry;
    }
    std::uint32_t first(std::uint32_t hash) const { return heads_[place(hash)]; }
    std::uint32_t next(std::uint32_t entry) const { return next_[entry]; }

private:
    std::size_t place(std::uint32_t hash) const { return hash << part_bits_ >> shift_; }
    unsigned part_bits_ = 0, shift_ = 31;
    std::vector<std::uint32_t> heads_, next_;
};

// Compares rows a while after they were asked for, when the memory has delivered them.
class Comparisons {
public:
    Comparisons(const std::uint8_t* mine, const std::uint8_t* theirs, std::size_t width, std::int64_t* where)
        : mine_(mine), theirs_(theirs), width_(width), where_(where) {}

    void ask(const Lists& lists, const Entry* entries, std::uint32_t row, std::uint32_t entry) {
        __builtin_prefetch(mine_ + row * width_);
        __builtin_prefetch(theirs_ + entries[entry].row * width_);
        __builtin_prefetch(where_ + row, 1);
        if (size_ == group) answer(lists, entries, asked_[at_]);
        else ++size_;
        asked_[at_] = {row, entry};
        at_ = (at_ + 1) % group;
    }
    void finish(const Lists& lists, const Entry* entries) {
        for (std::size_t i = 0; i < size_; ++i) answer(lists, entries, asked_[i]);
        size_ = at_ = 0;
    }

private:
    struct Pair {
        std::uint32_t row, entry;
    };
    void answer(const Lists& lists, const Entry* entries, Pair pair) {
        std::uint32_t hash = entries[pair.entry].hash, entry = pair.entry;
        while (entry != Lists::none &&
               std::memcmp(mine_ + pair.row * width_, theirs_ + entries[entry].row * width_, width_) != 0)
            entry = lists.find(entries, hash, lists.next(entry));
        where_[pair.row] = entry == Lists::none ? -1 : static_cast<std::int64_t>(entries[entry].row);
    }

    const std::uint8_t *mine_, *theirs_;
    std::size_t width_;
    std::int64_t* where_;
    Pair asked_[group];
    std::size_t size_ = 0, at_ = 0;
};

void match_part(const Entry* mine, std::size_t mine_count, const Entry* theirs, std::size_t theirs_count, unsigned bits,
                Lists& lists, Comparisons& comparisons, std::int64_t* where) {
    lists.begin(theirs_count, bits);
    for (std::size_t i = theirs_count; i-- > 0;) lists.add(theirs[i].hash, i);
    for (std::size_t i = 0; i < mine_count; ++i) {
        std::uint32_t entry = lists.find(theirs, mine[i].hash, lists.first(mine[i].hash));
        if (entry == Lists::none)
            where[mine[i].row] = -1;
        else
            comparisons.ask(lists, theirs, mine[i].row, entry);
    }
    comparisons.finish(lists, theirs);
}

std::size_t repeated_in_part(const Entry* entries, std::size_t count, unsigned bits, const std::uint8_t* rows,
                             std::size_t width, Lists& lists) {
    lists.begin(count, bits);
    std::size_t found = 0;
    for (std::size_t i = 0; i < count; ++i) {
        std::uint32_t hash = entries[i].hash, other = lists.find(entries, hash, lists.first(hash));
        while (other != Lists::none &&
               std::memcmp(rows + entries[i].row * width, rows + entries[other].row * width, width) != 0)
            other = lists.find(entries, hash, lists.next(other));
        if (other == Lists::none)
            lists.add(hash, i);  // only rows that differ are listed
        else
            ++found;
    }
    return found;
}

// work(lists, part) for each part, one set of lists a run of parts.
template <class Work>
void each_part(unsigned bits, unsigned threads, Work work) {
    constexpr std::size_t run = 16;
    std::size_t parts = std::size_t{1} << bits;
    in_parallel((parts + run - 1) / run, threads, [&](std::size_t from) {
        Lists lists;
        for (std::size_t part = from * run; part < std::min(parts, (from + 1) * run); ++part) work(lists, part);
    });
}

}  // namespace

void match(const std::uint8_t* mine, std::size_t mine_count, const std::uint8_t* theirs, std::size_t theirs_count,
           std::size_t width, const std::uint8_t* key, unsigned threads, std::int64_t* where) {
    Hash hash(key, width);
    unsigned bits = part_bits(theirs_count);
    Parts ours = parted(mine, mine_count, width, hash, bits, threads);
    Parts others = parted(theirs, theirs_count, width, hash, bits, threads);
    each_part(bits, threads, [&](Lists& lists, std::size_t part) {
        Comparisons comparisons(mine, theirs, width, where);
        std::size_t a = ours.begins[part], b = others.begins[part];
        match_part(ours.entries.data() + a, ours.begins[part + 1] - a, others.entries.data() + b,
                   others.begins[part + 1] - b, bits, lists, comparisons, where);
    });
}

std::size_t repeated(const std::uint8_t* rows, std::size_t count, std::size_t width, const std::uint8_t* key,
                     unsigned threads) {
    Hash hash(key, width);
    unsigned bits = part_bits(count);
    Parts parts = parted(rows, count, width, hash, bits, threads);
    std::atomic<std::size_t> found{0};
    each_part(bits, threads, [&](Lists& lists, std::size_t part) {
        std::size_t from = parts.begins[part];
        found += repeated_in_part(parts.entries.data() + from, parts.begins[part + 1] - from, bits, rows, width, lists);
    });
    return found;
}

}  // namespace fedbank
