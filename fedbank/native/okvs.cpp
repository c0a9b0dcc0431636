#include "okvs.hpp"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "aes.hpp"
#include "gf128.hpp"
#include "okvs_cluster.hpp"
#include "parallel.hpp"
#include "partition.hpp"

namespace fedbank {
namespace {

constexpr std::size_t batch = 128;  // items hashed at once; the portable AES fills its vectors with as many
constexpr std::size_t ahead = 24;   // items of a random order that are fetched before they are needed

constexpr OkvsFailure overfull{"More items fell into a cluster than its capacity."};

// Numbers of items, grouped by cluster.
struct Grouped {
    std::vector<std::uint32_t> order;
    std::vector<std::size_t> begins;
};

Grouped grouped(const std::uint8_t* items, std::size_t count, const AesKey& cipher, std::size_t clusters,
                unsigned threads) {
    std::vector<std::uint16_t> cluster(clusters > 1 ? count : 0);
    if (clusters > 1)
        in_parallel((count + batch - 1) / batch, threads, [&](std::size_t part) {
            Gf128 hash[batch];
            std::size_t from = part * batch, piece = std::min(batch, count - from);
            aes().encrypt(cipher, items + 16 * from, reinterpret_cast<std::uint8_t*>(hash), piece);
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

// One `make()` a thread, then work(made, i) for each i below `count`.
template <class Make, class Work>
void with_each(std::size_t count, unsigned threads, Make make, Work work) {
    std::atomic<std::size_t> next{0};
    in_parallel(std::clamp<std::size_t>(count, 1, std::max(1u, threads)), threads, [&](std::size_t) {
        auto made = make();
        for (std::size_t i; (i = next++) < count;) work(made, i);
    });
}

// Items of one cluster that one thread decodes; a small table may be read by many items.
struct Stretch {
    std::size_t cluster, begin, end;
};

std::vector<Stretch> stretches_of(const Grouped& groups) {
    constexpr std::size_t longest = 1 << 15;
    std::vector<Stretch> stretches;
    for (std::size_t c = 0; c + 1 < groups.begins.size(); ++c)
        for (std::size_t at = groups.begins[c]; at < groups.begins[c + 1]; at += longest)
            stretches.push_back({c, at, std::min(at + longest, groups.begins[c + 1])});
    return stretches;
}

class Decoder {
public:
    Decoder(const OkvsShape& shape, const AesKey& cipher)
        : sparse_count_(shape.sparse), cipher_(cipher), hash_(batch), sum_(batch), dense_(shape.dense) {}

    // Read from this cluster's piece of the table, of which the dense elements are copied to where they are aligned.
    void take(const std::uint8_t* piece) {
        sparse_ = piece;
        if (!dense_.empty()) std::memcpy(dense_.data(), piece + 16 * sparse_count_, 16 * dense_.size());
    }

    // The values of items order[0 .. count - 1], at most a batch; `last` is how far order goes.
    void decode(const std::uint8_t* items, const std::uint32_t* order, std::size_t count, std::size_t last,
                std::uint8_t* values) {
        for (std::size_t i = 0; i < count; ++i) {
            __builtin_prefetch(items + 16 * std::size_t{order[std::min(i + ahead, last)]});
            hash_[i] = element(items + 16 * std::size_t{order[i]});
        }
        auto* hashes = reinterpret_cast<std::uint8_t*>(hash_.data());
        aes().encrypt(cipher_, hashes, hashes, count);
        for (std::size_t i = 0; i < count; ++i) {
            sum_[i] = {};
            if (!sparse_count_) continue;
            Columns columns = columns_of(hash_[i], sparse_count_);
            for (int k = 0; k < 3; ++k) sum_[i] ^= element(sparse_ + 16 * std::size_t{columns[k]});
        }
        gf128_loops().add_powers(hash_.data(), count, dense_.data(), dense_.size(), sum_.data());
        for (std::size_t i = 0; i < count; ++i) std::memcpy(values + 16 * std::size_t{order[i]}, &sum_[i], 16);
    }

private:
    const std::uint8_t* sparse_ = nullptr;
    std::size_t sparse_count_;
    const AesKey& cipher_;
    Secret<Gf128> hash_, sum_, dense_;
};

}  // namespace

void okvs_encode(const std::uint8_t* items, const std::uint8_t* values, std::size_t count, const std::uint8_t* seed,
                 const OkvsShape& shape, const Key& key, unsigned threads, std::uint8_t* table) {
    AesKey cipher(seed);
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
        aes().encrypt(cipher, hashes, hashes, here);
        Stream random(key, Purpose::okvs_free, c);
        cluster.solve(here, random);
        std::memcpy(table + 16 * c * shape.width(), cluster.table().data(), 16 * shape.width());
    });
}

void okvs_decode(const std::uint8_t* items, std::size_t count, const std::uint8_t* table, const std::uint8_t* seed,
                 const OkvsShape& shape, unsigned threads, std::uint8_t* values) {
    AesKey cipher(seed);
    Grouped groups = grouped(items, count, cipher, shape.clusters, threads);
    std::vector<Stretch> stretches = stretches_of(groups);
    with_each(stretches.size(), threads, [&] { return Decoder(shape, cipher); }, [&](Decoder& decoder, std::size_t k) {
        decoder.take(table + 16 * stretches[k].cluster * shape.width());
        for (std::size_t at = stretches[k].begin; at < stretches[k].end; at += batch)
            decoder.decode(items, groups.order.data() + at, std::min(batch, stretches[k].end - at),
                           stretches[k].end - at - 1, values);
    });
}

std::size_t okvs_failures(std::size_t items, std::size_t sparse, std::size_t dense, std::size_t instances,
                          const std::uint8_t* seed, unsigned threads) {
    AesKey cipher(seed);
    std::atomic<std::size_t> failures{0};
    OkvsShape shape{1, items, sparse, dense};
    with_each(instances, threads, [&] { return Cluster(shape); }, [&](Cluster& cluster, std::size_t instance) {
        for (std::size_t i = 0; i < items; ++i) cluster.hashes()[i] = {i, instance};
        auto* hashes = reinterpret_cast<std::uint8_t*>(cluster.hashes());
        aes().encrypt(cipher, hashes, hashes, items);
        failures += !cluster.solvable(items);
    });
    return failures;
}

}  // namespace fedbank
