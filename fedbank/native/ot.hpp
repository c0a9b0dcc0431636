// Oblivious transfer of small messages over correlations w = v ^ u Delta in GF(2^128), in whole batches.
//
// Transfer i of a batch has the tweak `tweak + i`. The sender's pad of entry j is H(w ^ (j ^ c) Delta) with c = x ^ u the
// receiver's correction; the receiver knows it for its choice j = x alone, as H(v). Bits of all messages are packed without
// gaps, the lowest first. No address and no branch depends on a choice, a share or a table.
//
// A trit is a number modulo 3. In comparisons it says how the sender's digits compare with the receiver's: 0 equal,
// 1 the sender's are less, 2 greater; here it is shared, the sum of both shares modulo 3.
#pragma once
#include <cstddef>
#include <cstdint>

namespace fedbank {

// What the sender brings to a batch: words w (count, 2), the receiver's corrections packed to `bits` each, Delta.
struct Offered {
    const std::uint64_t* words;
    const std::uint8_t* corrections;
    unsigned bits;
    const std::uint64_t* delta;
    std::uint64_t tweak;
    std::size_t count;
    unsigned threads;
};

// What the receiver brings: words v (count, 2), its choices, the sender's message.
struct Chosen {
    const std::uint64_t* words;
    const std::uint8_t* choices;
    const std::uint8_t* message;
    std::size_t message_bytes;
    std::uint64_t tweak;
    std::size_t count;
    unsigned threads;
};

constexpr std::size_t packed_size(std::size_t count, std::size_t bits) { return (count * bits + 7) / 8; }

// packed = values, `bits` <= 8 bits of each; corrections are the choices ^ u. And back.
void pack(const std::uint8_t* values, std::size_t count, unsigned bits, std::uint8_t* packed);
void unpack(const std::uint8_t* packed, std::size_t count, unsigned bits, std::uint8_t* values);

// One of `entries` <= 256 words of `width` <= 64 bits each: every entry travels.
void send_chosen(const Offered& offered, const std::uint64_t* tables, std::size_t entries, unsigned width,
                 std::uint8_t* message);
void receive_chosen(const Chosen& chosen, std::size_t entries, unsigned width, std::uint64_t* values);

// Correlated: the sender has d, the receiver a bit b; the sender learns a uniform r, the receiver r + b d, modulo each of
// `parts` moduli (2^64 is written as 0). Transfer i takes the tweaks tweak + parts i + part. False if the peer sent a
// number that is not below its modulus.
void send_correlated(const Offered& offered, const std::uint64_t* differences, const std::uint64_t* moduli,
                     std::size_t parts, std::uint64_t* pads, std::uint8_t* message);
bool receive_correlated(const Chosen& chosen, const std::uint64_t* moduli, std::size_t parts, std::uint64_t* values);
unsigned bits_of(std::uint64_t modulus);

// How a comparison ends: not yet, with a shared trit; or with a shared bit, of "less" or of "less or equal".
enum class Outcome : unsigned { trit = 0, less = 1, less_or_equal = 2 };

// A leaf compares one digit of x with the receiver's, which is its choice: entries 2^bits.
void send_leaf(const Offered& offered, const std::uint64_t* x, unsigned shift, Outcome outcome, std::uint8_t* shares,
               std::uint8_t* message);
// A node joins two or three trits, the first of them decides unless it is 0. `children` (fan_in, count) are the sender's
// shares; the receiver's choice is its own shares as digits of base 3, the first on top: entries 3^fan_in.
void send_node(const Offered& offered, const std::uint8_t* children, unsigned fan_in, Outcome outcome,
               std::uint8_t* shares, std::uint8_t* message);
// The receiver's share of either. Entry 0 does not travel: it is the pad itself. False if an entry is not a trit.
bool receive_share(const Chosen& chosen, std::size_t entries, Outcome outcome, std::uint8_t* shares);

}  // namespace fedbank
