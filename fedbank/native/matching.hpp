// Where the rows of one table stand in another.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fedbank {

// where[i] is the first position in `theirs` of row i of `mine`, or -1. Rows are `width` bytes, 4 to 32. `key`, 16 fresh
// random bytes, chooses the hash, so that no rows of a peer that does not know it collide more than random ones do.
// Expected time is linear whatever the rows are. Memory: 8 bytes a row of both, about 1 MiB a thread.
void match(const std::uint8_t* mine, std::size_t mine_count, const std::uint8_t* theirs, std::size_t theirs_count,
           std::size_t width, const std::uint8_t* key, unsigned threads, std::int64_t* where);

// How many rows equal an earlier one. Memory: 8 bytes a row.
std::size_t repeated(const std::uint8_t* rows, std::size_t count, std::size_t width, const std::uint8_t* key,
                     unsigned threads);

}  // namespace fedbank
