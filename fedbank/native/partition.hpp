// A stable counting sort of numbers 0 .. count - 1 by the part that each belongs to.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

#include "parallel.hpp"

namespace fedbank {

// Calls place(position, i) once for each i; the positions of one part follow each other in the order of i. Returns where
// each part begins, and the count at the end. `part_of(i)` is asked twice. Memory: a number a part and thread.
template <class PartOf, class Place>
std::vector<std::size_t> partition(std::size_t count, std::size_t parts, unsigned threads, PartOf part_of, Place place) {
    const std::size_t runs = std::clamp<std::size_t>(count >> 14, 1, std::max(1u, threads));
    auto first_of = [=](std::size_t run) { return count / runs * run + std::min(run, count % runs); };
    std::vector<std::size_t> next(runs * parts), begins(parts + 1, count);
    in_parallel(runs, threads, [&](std::size_t run) {
        std::size_t* counts = next.data() + run * parts;
        for (std::size_t i = first_of(run), end = first_of(run + 1); i < end; ++i) ++counts[part_of(i)];
    });
    std::size_t total = 0;
    for (std::size_t part = 0; part < parts; ++part) {
        begins[part] = total;
        for (std::size_t run = 0; run < runs; ++run) {
            std::size_t here = next[run * parts + part];
            next[run * parts + part] = total;
            total += here;
        }
    }
    in_parallel(runs, threads, [&](std::size_t run) {
        std::size_t* positions = next.data() + run * parts;
        for (std::size_t i = first_of(run), end = first_of(run + 1); i < end; ++i) place(positions[part_of(i)]++, i);
    });
    return begins;
}

}  // namespace fedbank
