// Correlations w = v + u Delta over GF(2^128) between two parties: from oblivious transfers, and silently from LPN.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "convolute.hpp"

namespace fedbank {

// Trees of Goldreich, Goldwasser and Micali: `trees` of them with `leaves` leaves each, by AES under two public keys (left
// child P0(s) + s, right child P1(s) + s), other ones for every eight trees: tree i has public_key(first + i / 8 + 2^61)
// and public_key(first + i / 8 + 2^62). Level l has ceil(leaves / 2^(depth - l)) nodes.
struct Forest {
    std::size_t trees, leaves;
    std::size_t depth() const;
};

// From the roots, all leaves (trees, leaves), and the sums of left and of right children (trees, depth, 2).
void grow(const Forest& forest, std::uint64_t first, const Block* roots, unsigned threads, Block* leaves, Block* sums);

// From the sum of one side a level, all leaves but that at `points`, which becomes 0. A level's side is the other one than
// the path's: `sides` (trees, depth) by `sides_of`.
void sides_of(const Forest& forest, const std::int64_t* points, std::uint8_t* sides);
void grow_punctured(const Forest& forest, std::uint64_t first, const std::int64_t* points, const Block* sums, unsigned threads,
                    Block* leaves);

// Correlations of single bits u from a forest of 128 / bits trees with 2^bits leaves (Roy 2022, SoftSpokenOT, figure 7).
// Both use stream `number` of each leaf once. Bits are packed, the first the lowest; `count` is a multiple of 512.
// The whole forest's holder: u, corrections (trees - 1, count / 8) for the other, v.
void extend_whole(unsigned bits, const Block* seeds, std::uint64_t number, std::size_t count, unsigned threads,
                  std::uint8_t* u, std::uint8_t* corrections, Block* v);
// The holder of the forest without leaf Delta_i of tree i (the i-th `bits` bits of Delta): w = v + u Delta.
void extend_punctured(unsigned bits, const Block* seeds, const Block& delta, std::uint64_t number, std::size_t count,
                      const std::uint8_t* corrections, unsigned threads, Block* w);

// Pads of oblivious transfers: H(x, i) = P(P(x) + i) + P(x), tweakable correlation-robust (Guo, Katz, Wang and Yu 2019,
// eprint 2019/074, section 7.4); i counts from `first`. P has public_key(i) for the first i of every 512.
void pads(const Block* words, std::size_t count, std::uint64_t first, Block* out);

// out_i = sum over j of X^j words_(i, j).
void combine(const Block* words, std::size_t count, std::size_t each, Block* out);

// words_i += factors_i times `by`, in GF(2^128).
void add_scaled(Block* words, const Block* factors, const Block& by, std::size_t count, unsigned threads);

// One silent instance: noise of one number beta in each tree.
//
// Delta's holder. `offers` (trees, depth) are words of single-bit correlations whose bit the peer has flipped into the
// sides it wants (`flips`, a byte each); `base` (trees) are words b with c = b + beta Delta on the other side. Sends masked
// sums (trees, depth, 2) and totals (trees). `first`: the number of the first pad, below 2^61; `trees * depth` numbers are
// used up.
void silent_sender(const Forest& forest, const Code& code, const Block* roots, const Block* offers, const std::uint8_t* flips,
                   const Block* base, const Block& delta, std::uint64_t first, unsigned threads, Block* masked,
                   Block* totals, Block* words);
// The other side, with the words v of `offers` and c of `base`. Noise is beta at `points`.
void silent_receiver(const Forest& forest, const Code& code, const std::int64_t* points, const Block* offers,
                     const Block* base, std::uint64_t first, const Block* masked, const Block* totals, unsigned threads,
                     Block* words);

}  // namespace fedbank
