// An oblivious key-value store: a table of field elements from which each encoded item decodes to its value, and which is
// uniform otherwise (Raghuraman and Rindal 2022, "Blazing Fast PSI from Improved OKVS and Subfield VOLE", section 3).
//
// An item of 16 bytes is hashed to h = AES-128 under `seed`. Its four 32-bit words a, b, c, d choose three distinct
// columns and the cluster:
//
//     cluster = d clusters / 2^32,   columns = the a sparse / 2^32 -th, then b (sparse - 1) / 2^32 -th and
//     c (sparse - 2) / 2^32 -th of the columns not yet chosen, in increasing order,
//
// rounded down. In the cluster's piece of the table, `sparse` elements P followed by `dense` elements D, it decodes to
//
//     P[first] + P[second] + P[third] + h D[0] + h^2 D[1] + ... + h^dense D[dense - 1]
//
// in GF(2^128). With sparse = 0 the first three terms are missing. Which numbers to choose says protocols/okvs.py.
#pragma once
#include <cstddef>
#include <cstdint>

#include "sampler.hpp"

namespace fedbank {

struct OkvsShape {
    std::size_t clusters, capacity, sparse, dense;  // capacity: items that a cluster takes
    std::size_t width() const { return sparse + dense; }
    std::size_t size() const { return clusters * width(); }
};

struct OkvsFailure {
    const char* sentence;
};

// The table, (size, 16) bytes. Elements that the equations leave free come from ChaCha20 under `key`. Throws OkvsFailure:
// more items in a cluster than its capacity, dependent equations, or an item twice. Items differ from each other.
// Memory beside the arrays: 6 bytes an item and, for each thread, about 100 bytes an item of one cluster.
void okvs_encode(const std::uint8_t* items, const std::uint8_t* values, std::size_t count, const std::uint8_t* seed,
                 const OkvsShape& shape, const Key& key, unsigned threads, std::uint8_t* table);

// The value of each item, (count, 16) bytes. Memory beside the arrays: 6 bytes an item.
void okvs_decode(const std::uint8_t* items, std::size_t count, const std::uint8_t* table, const std::uint8_t* seed,
                 const OkvsShape& shape, unsigned threads, std::uint8_t* values);

// How many of `instances` clusters of random items have dependent equations; to measure what parameters promise.
std::size_t okvs_failures(std::size_t items, std::size_t sparse, std::size_t dense, std::size_t instances,
                          const std::uint8_t* seed, unsigned threads);

}  // namespace fedbank
