// The one place where the core meets Python: arrays and bytes in, arrays out, whole batches, without the interpreter's lock.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <cstring>

#include "convolute.hpp"
#include "curve25519.hpp"
#include "digest.hpp"
#include "aes.hpp"
#include "hint.hpp"
#include "kernels.hpp"
#include "matching.hpp"
#include "okvs.hpp"
#include "ot.hpp"
#include "products.hpp"
#include "residues.hpp"
#include "rlwe.hpp"
#include "sampler.hpp"
#include "silent.hpp"

namespace nb = nanobind;
using namespace nb::literals;
using namespace fedbank;

namespace {

template <class T, std::size_t dimensions>
using Given = nb::ndarray<const T, nb::ndim<dimensions>, nb::c_contig, nb::device::cpu>;
template <class T>
using Made = nb::ndarray<nb::numpy, T>;
using Room = nb::ndarray<std::uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;  // to be written to

using Response = nb::typed<nb::tuple, Made<std::uint8_t>, Made<std::uint8_t>, Made<std::uint64_t>>;

template <class T>
struct Array {
    T* data;
    Made<T> handle;
};

template <class T>
Array<T> made(std::initializer_list<std::size_t> shape) {
    std::size_t count = 1;
    for (std::size_t size : shape) count *= size;
    T* data = new T[count ? count : 1];
    nb::capsule owner(data, [](void* at) noexcept { delete[] static_cast<T*>(at); });
    return {data, Made<T>(data, shape.size(), shape.begin(), owner)};
}

Key key_of(const nb::bytes& given) {
    if (given.size() != 32) throw std::invalid_argument("A seed or key has 32 bytes.");
    Key key;
    std::memcpy(key.data(), given.c_str(), 32);
    return key;
}

void expect(bool holds, const char* sentence) {
    if (!holds) throw std::invalid_argument(sentence);
}

Codes codes_of(const Given<std::uint8_t, 2>& codes, std::size_t width) {
    expect(width >= 1 && width <= 256, "A feature has 1 to 256 bins.");
    return {codes.data(), codes.shape(0), codes.shape(1), width};
}

void check_codes(const Codes& matrix) {
    unsigned largest = 0;
    for (std::size_t i = 0; i < matrix.features * matrix.samples; ++i)
        largest = matrix.codes[i] > largest ? matrix.codes[i] : largest;
    expect(matrix.features * matrix.samples == 0 || largest < matrix.width, "A bin code is not below the width.");
}

Made<std::uint64_t> histogram(Given<std::uint8_t, 2> codes, std::size_t width, Given<std::uint64_t, 2> words,
                              unsigned threads) {
    Codes matrix = codes_of(codes, width);
    expect(words.shape(1) == matrix.samples, "The words must be as many as the samples.");
    auto sums = made<std::uint64_t>({words.shape(0), matrix.features, width});
    {
        nb::gil_scoped_release free;
        check_codes(matrix);
        sum_words(matrix, words.data(), words.shape(0), threads, sums.data);
    }
    return sums.handle;
}

Made<std::uint64_t> histogram_packed(Given<std::uint8_t, 2> codes, std::size_t width, Given<std::uint8_t, 3> packed,
                                     unsigned threads) {
    Codes matrix = codes_of(codes, width);
    expect(packed.shape(1) == matrix.samples && packed.shape(2) >= 1 && packed.shape(2) <= 8,
           "The packed words must be as many as the samples, with one to eight bytes each.");
    auto sums = made<std::uint64_t>({packed.shape(0), matrix.rows()});
    {
        nb::gil_scoped_release free;
        check_codes(matrix);
        sum_packed(matrix, packed.data(), packed.shape(2), packed.shape(0), threads, sums.data);
    }
    return sums.handle;
}

Made<std::uint64_t> hint(Given<std::uint8_t, 2> codes, std::size_t width, nb::bytes seed, std::size_t dimension,
                         unsigned threads) {
    Codes matrix = codes_of(codes, width);
    expect(dimension % 128 == 0 && dimension >= 128 && dimension <= 8192, "The dimension is 128 to 8192.");
    Key key = key_of(seed);
    auto sums = made<std::uint64_t>({matrix.rows(), dimension});
    {
        nb::gil_scoped_release free;
        check_codes(matrix);
        make_hint(matrix, key, dimension, threads, sums.data);
    }
    return sums.handle;
}

void check_points(const Given<std::uint8_t, 2>& points) { expect(points.shape(1) == 32, "A point has 32 bytes."); }

Made<std::uint8_t> curve_multiply(nb::bytes scalar, Given<std::uint8_t, 2> points, unsigned threads) {
    check_points(points);
    expect(scalar.size() == 32, "A scalar has 32 bytes.");
    Secret<Key> secret(1);
    std::memcpy(secret[0].data(), scalar.c_str(), 32);
    expect(secret[0][31] < 128, "A scalar is below 2^255.");
    auto out = made<std::uint8_t>({points.shape(0), 32});
    {
        nb::gil_scoped_release free;
        multiply_points(secret[0], points.data(), points.shape(0), threads, out.data);
    }
    return out.handle;
}

Made<std::uint8_t> curve_multiply_each(Given<std::uint8_t, 2> scalars, Given<std::uint8_t, 2> points, unsigned threads) {
    check_points(points);
    expect(scalars.shape(0) == points.shape(0) && scalars.shape(1) == 32, "Each point has a scalar of 32 bytes.");
    unsigned high = 0;
    for (std::size_t i = 0; i < scalars.shape(0); ++i) high |= scalars.data()[32 * i + 31];
    expect(high < 128, "A scalar is below 2^255.");
    auto out = made<std::uint8_t>({points.shape(0), 32});
    {
        nb::gil_scoped_release free;
        multiply_each(scalars.data(), points.data(), points.shape(0), threads, out.data);
    }
    return out.handle;
}

Made<std::uint8_t> hash_to_curve(Given<std::uint8_t, 1> data, Given<std::int64_t, 1> offsets, nb::bytes domain,
                                 unsigned threads) {
    expect(domain.size() >= 1 && domain.size() <= 255, "A domain separation tag has 1 to 255 bytes.");
    expect(offsets.shape(0) >= 1, "There is one offset more than there are messages.");
    std::size_t count = offsets.shape(0) - 1;
    const std::int64_t* at = offsets.data();
    bool inside = at[0] >= 0 && static_cast<std::size_t>(at[count]) <= data.shape(0);
    for (std::size_t i = 0; i < count; ++i) inside = inside && at[i] <= at[i + 1];
    expect(inside, "The offsets must rise, and lie in the data.");
    auto out = made<std::uint8_t>({count, 32});
    Domain tag{reinterpret_cast<const std::uint8_t*>(domain.c_str()), domain.size()};
    {
        nb::gil_scoped_release free;
        hash_points({data.data(), at}, count, tag, threads, out.data);
    }
    return out.handle;
}

using Pads = nb::typed<nb::tuple, Made<std::uint64_t>, Made<std::uint8_t>>;
using Lifted = nb::typed<nb::tuple, Made<std::uint64_t>, Made<std::uint8_t>>;
using Constants = nb::typed<nb::tuple, Made<std::uint64_t>, Made<std::uint64_t>>;

Offered offered_of(const Given<std::uint64_t, 2>& words, const Given<std::uint8_t, 1>& corrections, unsigned bits,
                   const Given<std::uint64_t, 1>& delta, std::uint64_t tweak, unsigned threads) {
    std::size_t count = words.shape(0);
    expect(words.shape(1) == 2 && delta.shape(0) == 2, "A word of a correlation has 128 bits.");
    expect(bits >= 1 && bits <= 8, "A correlation has 1 to 8 bits.");
    expect(corrections.shape(0) == packed_size(count, bits), "The corrections are of another size.");
    return {words.data(), corrections.data(), bits, delta.data(), tweak, count, threads};
}

Chosen chosen_of(const Given<std::uint64_t, 2>& words, const Given<std::uint8_t, 1>& choices, std::size_t entries,
                 const Given<std::uint8_t, 1>& message, std::size_t bits, std::uint64_t tweak, unsigned threads) {
    std::size_t count = words.shape(0);
    expect(words.shape(1) == 2, "A word of a correlation has 128 bits.");
    expect(choices.shape(0) == count, "The choices must be as many as the correlations.");
    expect(message.shape(0) == packed_size(count, bits), "The message is of another size.");
    unsigned largest = 0;
    for (std::size_t i = 0; i < count; ++i) largest = choices.data()[i] > largest ? choices.data()[i] : largest;
    expect(count == 0 || largest < entries, "A choice is not below the number of entries.");
    return {words.data(), choices.data(), message.data(), message.shape(0), tweak, count, threads};
}

Outcome outcome_of(unsigned given) {
    expect(given <= 2, "An outcome is a trit (0), less (1) or less or equal (2).");
    return static_cast<Outcome>(given);
}

std::size_t travelling(std::size_t entries, Outcome outcome) { return (entries - 1) * (outcome == Outcome::trit ? 2 : 1); }

Moduli moduli_of(const Given<std::uint64_t, 1>& moduli) {
    const std::uint64_t* m = moduli.data();
    std::size_t parts = moduli.shape(0);
    expect(parts == 1 || parts == 2, "A modulus is one number or a product of two.");
    bool fits = parts == 1 || (m[0] && m[1] && (static_cast<unsigned __int128>(m[0]) * m[1]) >> 126 == 0);
    for (std::size_t k = 0; k < parts; ++k) fits = fits && m[k] != 1;
    expect(fits, "A modulus is 2 to 2^64 (written as 0), a product of two is below 2^126.");
    return {m, parts};
}

void check_residues(const Given<std::uint64_t, 2>& values, const Moduli& of) {
    expect(values.shape(1) == of.parts, "A share has one residue for each modulus.");
    bool fits = true;
    for (std::size_t i = 0; i < values.shape(0) * of.parts; ++i)
        fits &= of.moduli[i % of.parts] == 0 || values.data()[i] < of.moduli[i % of.parts];
    expect(fits, "A residue is not below its modulus.");
}

// A secret is not asked whether it is true.
bool no_truth(nb::handle) { throw nb::type_error("A secret has no truth value."); }

Width width_of(double sigma) {
    if (sigma == 3.2) return Width::narrow;
    expect(sigma == 81920.0, "The width of an error is 3.2 or 81920.");
    return Width::wide;
}

// Words of 128 bits: arrays (..., 2) of 64-bit numbers, the lower first.
template <class Words>
const Block* blocks(const Words& words) {
    expect(words.shape(words.ndim() - 1) == 2, "A word of 128 bits is a pair of 64-bit numbers.");
    return reinterpret_cast<const Block*>(words.data());
}

Block* blocks(const Array<std::uint64_t>& words) { return reinterpret_cast<Block*>(words.data); }

Block block_of(const nb::bytes& given) {
    expect(given.size() == 16, "A word of 128 bits has 16 bytes.");
    Block word;
    std::memcpy(&word, given.c_str(), 16);
    return word;
}

Forest forest_of(std::size_t trees, std::size_t leaves) {
    expect(trees >= 1 && trees <= (1u << 20) && leaves >= 2 && leaves <= (1u << 20), "A forest has 1 to 2^20 trees of 2 to 2^20 leaves.");
    return {trees, leaves};
}

void check_points(const Forest& forest, const Given<std::int64_t, 1>& points) {
    expect(points.shape(0) == forest.trees, "There is one point a tree.");
    for (std::size_t i = 0; i < forest.trees; ++i)
        expect(points.data()[i] >= 0 && static_cast<std::size_t>(points.data()[i]) < forest.leaves, "A point is not a leaf.");
}

std::size_t check_extension(unsigned bits, const Given<std::uint64_t, 2>& seeds, std::size_t number, std::size_t count) {
    expect(bits == 2 || bits == 4 || bits == 8, "A tree stands for 2, 4 or 8 bits.");
    expect(seeds.shape(0) == (128 / bits) << bits, "The seeds are those of all leaves.");
    expect(count % 512 == 0, "Correlations come in lots of 512.");
    expect(number < 1ull << 56, "A stream's number is below 2^56.");
    return 128 / bits;
}

using WholeExtension = nb::typed<nb::tuple, Made<std::uint8_t>, Made<std::uint8_t>, Made<std::uint64_t>>;
using Words2 = nb::typed<nb::tuple, Made<std::uint64_t>, Made<std::uint64_t>>;
using Words3 = nb::typed<nb::tuple, Made<std::uint64_t>, Made<std::uint64_t>, Made<std::uint64_t>>;

void bind_correlations(nb::module_& module) {
    module.def(
        "grow",
        [](Given<std::uint64_t, 2> roots, std::size_t leaves, std::uint64_t first, unsigned threads) -> Words2 {
            Forest forest = forest_of(roots.shape(0), leaves);
            const Block* from = blocks(roots);
            auto out = made<std::uint64_t>({forest.trees, leaves, 2});
            auto sums = made<std::uint64_t>({forest.trees, forest.depth(), 2, 2});
            {
                nb::gil_scoped_release free;
                grow(forest, first, from, threads, blocks(out), blocks(sums));
            }
            return Words2(nb::make_tuple(out.handle, sums.handle));
        },
        "roots"_a.noconvert(), "leaves"_a, "first"_a, "threads"_a,
        "Trees from their roots (trees, 2): leaves (trees, leaves, 2), sums of each level's left and right (trees, depth, 2, 2).");
    module.def(
        "sides_of",
        [](Given<std::int64_t, 1> points, std::size_t leaves) {
            Forest forest = forest_of(points.shape(0), leaves);
            check_points(forest, points);
            auto out = made<std::uint8_t>({forest.trees, forest.depth()});
            sides_of(forest, points.data(), out.data);
            return out.handle;
        },
        "points"_a.noconvert(), "leaves"_a, "For each level the side whose sum is wanted: (trees, depth).");
    module.def(
        "grow_punctured",
        [](Given<std::int64_t, 1> points, Given<std::uint64_t, 3> sums, std::size_t leaves, std::uint64_t first, unsigned threads) {
            Forest forest = forest_of(points.shape(0), leaves);
            check_points(forest, points);
            expect(sums.shape(0) == forest.trees && sums.shape(1) == forest.depth(), "There is one sum a tree and level.");
            const Block* given = blocks(sums);
            auto out = made<std::uint64_t>({forest.trees, leaves, 2});
            {
                nb::gil_scoped_release free;
                grow_punctured(forest, first, points.data(), given, threads, blocks(out));
            }
            return out.handle;
        },
        "points"_a.noconvert(), "sums"_a.noconvert(), "leaves"_a, "first"_a, "threads"_a,
        "All leaves but those at the points, which are 0, from the sums of one side (trees, depth, 2).");
    module.def(
        "extend_whole",
        [](unsigned bits, Given<std::uint64_t, 2> seeds, std::size_t number, std::size_t count, unsigned threads) -> WholeExtension {
            std::size_t trees = check_extension(bits, seeds, number, count);
            const Block* from = blocks(seeds);
            auto u = made<std::uint8_t>({count / 8});
            auto corrections = made<std::uint8_t>({trees - 1, count / 8});
            auto v = made<std::uint64_t>({count, 2});
            {
                nb::gil_scoped_release free;
                extend_whole(bits, from, number, count, threads, u.data, corrections.data, blocks(v));
            }
            return WholeExtension(nb::make_tuple(u.handle, corrections.handle, v.handle));
        },
        "bits"_a, "seeds"_a.noconvert(), "number"_a, "count"_a, "threads"_a,
        "Single-bit correlations of who has all leaves: u packed, corrections for the peer, v (count, 2).");
    module.def(
        "extend_punctured",
        [](unsigned bits, Given<std::uint64_t, 2> seeds, nb::bytes delta, std::size_t number, Given<std::uint8_t, 2> corrections,
           unsigned threads) {
            std::size_t count = 8 * corrections.shape(1), trees = check_extension(bits, seeds, number, count);
            expect(corrections.shape(0) == trees - 1, "There is one correction a tree, the first left out.");
            const Block* from = blocks(seeds);
            Block by = block_of(delta);
            auto w = made<std::uint64_t>({count, 2});
            {
                nb::gil_scoped_release free;
                extend_punctured(bits, from, by, number, count, corrections.data(), threads, blocks(w));
            }
            wipe(&by, sizeof by);
            return w.handle;
        },
        "bits"_a, "seeds"_a.noconvert(), "delta"_a, "number"_a, "corrections"_a.noconvert(), "threads"_a,
        "The other side's words w = v + u Delta: (count, 2).");
    module.def(
        "pads",
        [](Given<std::uint64_t, 2> words, std::size_t first) {
            const Block* from = blocks(words);
            auto out = made<std::uint64_t>({words.shape(0), 2});
            pads(from, words.shape(0), first, blocks(out));
            return out.handle;
        },
        "words"_a.noconvert(), "first"_a, "Hashes of words under rising tweaks.");
    module.def(
        "combine",
        [](Given<std::uint64_t, 3> words) {
            const Block* from = blocks(words);
            auto out = made<std::uint64_t>({words.shape(0), 2});
            combine(from, words.shape(0), words.shape(1), blocks(out));
            return out.handle;
        },
        "words"_a.noconvert(), "Sums of X^j words[i, j] over j: (count, 2).");
    module.def(
        "add_scaled",
        [](Given<std::uint64_t, 2> words, Given<std::uint64_t, 2> factors, nb::bytes by, unsigned threads) {
            expect(words.shape(0) == factors.shape(0), "There are as many factors as words.");
            const Block *from = blocks(words), *times = blocks(factors);
            Block scale = block_of(by);
            auto out = made<std::uint64_t>({words.shape(0), 2});
            {
                nb::gil_scoped_release free;
                std::memcpy(out.data, from, 16 * words.shape(0));
                add_scaled(blocks(out), times, scale, words.shape(0), threads);
            }
            wipe(&scale, sizeof scale);
            return out.handle;
        },
        "words"_a.noconvert(), "factors"_a.noconvert(), "by"_a, "threads"_a, "words + factors * by in GF(2^128).");

    nb::class_<Code>(module, "Code", "An expand-convolute code of a public seed; see convolute.hpp.")
        .def("__init__", [](Code* self, nb::bytes seed, std::size_t inputs, std::size_t outputs, bool mixing) {
                 Key key = key_of(seed);
                 nb::gil_scoped_release free;
                 new (self) Code(key, inputs, outputs, mixing);
             }, "seed"_a, "inputs"_a, "outputs"_a, "mixing"_a)
        .def_prop_ro("inputs", &Code::inputs)
        .def_prop_ro("outputs", &Code::outputs)
        .def("encode", [](const Code& self, Given<std::uint64_t, 2> x, unsigned threads) {
                 expect(x.shape(0) == self.inputs(), "The code takes another number of inputs.");
                 const Block* from = blocks(x);
                 auto out = made<std::uint64_t>({self.outputs(), 2});
                 {
                     nb::gil_scoped_release free;
                     Secret<Block> copy(self.inputs());
                     std::memcpy(copy.data(), from, 16 * self.inputs());
                     self.encode(copy.data(), threads, blocks(out));
                 }
                 return out.handle;
             }, "x"_a.noconvert(), "threads"_a, "Words (inputs, 2) to words (outputs, 2).")
        .def("encode_small", [](const Code& self, Given<std::uint8_t, 1> x, unsigned threads) {
                 expect(x.shape(0) == self.inputs(), "The code takes another number of inputs.");
                 auto out = made<std::uint8_t>({self.outputs()});
                 {
                     nb::gil_scoped_release free;
                     Secret<std::uint8_t> copy(self.inputs());
                     std::memcpy(copy.data(), x.data(), self.inputs());
                     self.encode(copy.data(), threads, out.data);
                 }
                 return out.handle;
             }, "x"_a.noconvert(), "threads"_a, "Numbers of up to eight bits (inputs,) to (outputs,); not with mixing.");
    module.def(
        "silent_sender",
        [](const Code& code, std::size_t leaves, Given<std::uint64_t, 2> roots, Given<std::uint64_t, 2> offers,
           Given<std::uint8_t, 1> flips, Given<std::uint64_t, 2> base, nb::bytes delta, std::size_t first, unsigned threads) -> Words3 {
            Forest forest = forest_of(roots.shape(0), leaves);
            expect(forest.trees * leaves == code.inputs(), "The code takes another number of leaves.");
            expect(offers.shape(0) == forest.trees * forest.depth() && flips.shape(0) == offers.shape(0) &&
                       base.shape(0) == forest.trees, "There is one offer a tree and level, and one base word a tree.");
            const Block *from = blocks(roots), *offered = blocks(offers), *added = blocks(base);
            Block by = block_of(delta);
            auto masked = made<std::uint64_t>({forest.trees, forest.depth(), 2, 2});
            auto totals = made<std::uint64_t>({forest.trees, 2});
            auto words = made<std::uint64_t>({code.outputs(), 2});
            {
                nb::gil_scoped_release free;
                silent_sender(forest, code, from, offered, flips.data(), added, by, first, threads, blocks(masked),
                              blocks(totals), blocks(words));
            }
            wipe(&by, sizeof by);
            return Words3(nb::make_tuple(masked.handle, totals.handle, words.handle));
        },
        "code"_a, "leaves"_a, "roots"_a.noconvert(), "offers"_a.noconvert(), "flips"_a.noconvert(), "base"_a.noconvert(),
        "delta"_a, "first"_a, "threads"_a, "One silent instance of Delta's holder: masked sums, totals, words.");
    module.def(
        "silent_receiver",
        [](const Code& code, std::size_t leaves, Given<std::int64_t, 1> points, Given<std::uint64_t, 2> offers,
           Given<std::uint64_t, 2> base, std::size_t first, Given<std::uint64_t, 4> masked, Given<std::uint64_t, 2> totals,
           unsigned threads) {
            Forest forest = forest_of(points.shape(0), leaves);
            check_points(forest, points);
            expect(forest.trees * leaves == code.inputs(), "The code takes another number of leaves.");
            expect(offers.shape(0) == forest.trees * forest.depth() && base.shape(0) == forest.trees &&
                       masked.shape(0) == forest.trees && masked.shape(1) == forest.depth() && masked.shape(2) == 2 &&
                       totals.shape(0) == forest.trees, "There is one offer a tree and level, and one base word a tree.");
            const Block *offered = blocks(offers), *added = blocks(base), *hidden = blocks(masked), *all = blocks(totals);
            auto words = made<std::uint64_t>({code.outputs(), 2});
            {
                nb::gil_scoped_release free;
                silent_receiver(forest, code, points.data(), offered, added, first, hidden, all, threads, blocks(words));
            }
            return words.handle;
        },
        "code"_a, "leaves"_a, "points"_a.noconvert(), "offers"_a.noconvert(), "base"_a.noconvert(), "first"_a,
        "masked"_a.noconvert(), "totals"_a.noconvert(), "threads"_a, "The other side's words.");
}

// Sets: digests, matching, and the oblivious key-value store.

Made<std::uint8_t> digests_of_ids(Given<std::uint8_t, 1> data, Given<std::int64_t, 1> offsets, nb::bytes prefix,
                                  unsigned threads) {
    expect(offsets.shape(0) >= 1, "Offsets begin with that of the first message.");
    std::size_t count = offsets.shape(0) - 1;
    const std::int64_t* at = offsets.data();
    expect(at[0] >= 0 && static_cast<std::uint64_t>(at[count]) <= data.shape(0), "An offset lies outside the data.");
    auto out = made<std::uint8_t>({count, 32});
    Prefix before{reinterpret_cast<const std::uint8_t*>(prefix.c_str()), prefix.size()};
    {
        nb::gil_scoped_release free;
        for (std::size_t i = 0; i < count; ++i) expect(at[i] <= at[i + 1], "Offsets do not fall.");
        digest_ids(data.data(), at, count, before, threads, out.data);
    }
    return out.handle;
}

Made<std::uint8_t> digests_of_rows(Given<std::uint8_t, 2> rows, nb::bytes prefix, std::size_t length, unsigned threads) {
    expect(length >= 1 && length <= 32, "A digest has 1 to 32 bytes.");
    auto out = made<std::uint8_t>({rows.shape(0), length});
    Prefix before{reinterpret_cast<const std::uint8_t*>(prefix.c_str()), prefix.size()};
    {
        nb::gil_scoped_release free;
        digest_rows(rows.data(), rows.shape(0), rows.shape(1), before, length, threads, out.data);
    }
    return out.handle;
}

// The bytes of a short key or seed.
std::array<std::uint8_t, 16> short_key_of(const nb::bytes& given) {
    expect(given.size() == 16, "A key of a hash has 16 bytes.");
    std::array<std::uint8_t, 16> key;
    std::memcpy(key.data(), given.c_str(), 16);
    return key;
}

void expect_rows(const Given<std::uint8_t, 2>& rows) {
    expect(rows.shape(1) >= 4 && rows.shape(1) <= 32, "A row has 4 to 32 bytes.");
    expect(rows.shape(0) < 0xffffffff, "There are fewer than 2^32 - 1 rows.");
}

Made<std::int64_t> matches(Given<std::uint8_t, 2> mine, Given<std::uint8_t, 2> theirs, nb::bytes key, unsigned threads) {
    expect_rows(mine);
    expect_rows(theirs);
    expect(mine.shape(1) == theirs.shape(1), "The rows of both sides have one width.");
    auto hash_key = short_key_of(key);
    auto where = made<std::int64_t>({mine.shape(0)});
    {
        nb::gil_scoped_release free;
        match(mine.data(), mine.shape(0), theirs.data(), theirs.shape(0), mine.shape(1), hash_key.data(), threads,
              where.data);
    }
    return where.handle;
}

std::size_t repetitions(Given<std::uint8_t, 2> rows, nb::bytes key, unsigned threads) {
    expect_rows(rows);
    auto hash_key = short_key_of(key);
    nb::gil_scoped_release free;
    return repeated(rows.data(), rows.shape(0), rows.shape(1), hash_key.data(), threads);
}

OkvsShape okvs_shape(std::size_t clusters, std::size_t capacity, std::size_t sparse, std::size_t dense) {
    expect(clusters >= 1 && clusters <= 65536, "There are 1 to 65536 clusters.");
    expect(capacity <= 65535, "A cluster takes at most 65535 items.");
    expect((sparse == 0 || sparse >= 3) && sparse <= 65535, "A cluster has no sparse columns or 3 to 65535.");
    expect(dense <= 1024 && sparse + dense >= 1, "A cluster has up to 1024 dense columns, and some column.");
    return {clusters, capacity, sparse, dense};
}

void expect_items(const Given<std::uint8_t, 2>& items) {
    expect(items.shape(1) == 16 && items.shape(0) < 0xffffffff, "Items have 16 bytes each, and are fewer than 2^32 - 1.");
}

Made<std::uint8_t> encode(Given<std::uint8_t, 2> items, Given<std::uint8_t, 2> values, nb::bytes seed,
                          std::size_t clusters, std::size_t capacity, std::size_t sparse, std::size_t dense,
                          nb::bytes key, unsigned threads) {
    OkvsShape shape = okvs_shape(clusters, capacity, sparse, dense);
    expect_items(items);
    expect(values.shape(0) == items.shape(0) && values.shape(1) == 16, "Each item has a value of 16 bytes.");
    auto hash_key = short_key_of(seed);
    Secret<Key> free_key(1);
    free_key[0] = key_of(key);
    auto table = made<std::uint8_t>({shape.size(), 16});
    try {
        nb::gil_scoped_release free;
        okvs_encode(items.data(), values.data(), items.shape(0), hash_key.data(), shape, free_key[0], threads, table.data);
    } catch (const OkvsFailure& failure) {
        throw std::invalid_argument(failure.sentence);
    }
    return table.handle;
}

Made<std::uint8_t> decode(Given<std::uint8_t, 2> items, Given<std::uint8_t, 2> table, nb::bytes seed,
                          std::size_t clusters, std::size_t sparse, std::size_t dense, unsigned threads) {
    OkvsShape shape = okvs_shape(clusters, 0, sparse, dense);
    expect_items(items);
    expect(table.shape(0) == shape.size() && table.shape(1) == 16, "The table has another size than its shape says.");
    auto hash_key = short_key_of(seed);
    auto values = made<std::uint8_t>({items.shape(0), 16});
    {
        nb::gil_scoped_release free;
        okvs_decode(items.data(), items.shape(0), table.data(), hash_key.data(), shape, threads, values.data);
    }
    return values.handle;
}

std::size_t failures(std::size_t items, std::size_t sparse, std::size_t dense, std::size_t instances, nb::bytes seed,
                     unsigned threads) {
    okvs_shape(1, items, sparse, dense);
    auto hash_key = short_key_of(seed);
    nb::gil_scoped_release free;
    return okvs_failures(items, sparse, dense, instances, hash_key.data(), threads);
}

// ---- private products

Tiles tiles_of(const ProductScheme& scheme, std::size_t rows, std::size_t columns, std::size_t tile_rows,
               std::size_t tile_columns) {
    expect(tile_rows >= 1 && tile_columns >= 1 && tile_rows <= scheme.dimension && tile_columns <= scheme.dimension &&
               tile_rows * tile_columns <= scheme.dimension,
           "A tile does not fit into a ciphertext.");
    return {nullptr, rows, columns, 0, 0, tile_rows, tile_columns};
}

Slots slots_of(const ProductScheme& scheme, std::size_t samples, std::size_t terms) {
    expect(scheme.by_slots() && terms >= 1, "Products slot by slot take prime moduli and one term at least.");
    return {samples, terms, scheme.dimension};
}

Slots slots_of(const ProductScheme& scheme, const Given<std::int64_t, 3>& values) {
    expect(values.shape(0) == scheme.plains.size(), "Values slot by slot must be those of each prime.");
    return slots_of(scheme, values.shape(2), values.shape(1));
}

template <class Layout>
void expect_responses(const ProductScheme& scheme, const Layout& layout, std::size_t responses,
                      const Given<std::uint8_t, 1>& useful, const Given<std::uint8_t, 2>& other) {
    expect(useful.shape(0) == useful_bytes(scheme, layout) && other.shape(0) == responses &&
               other.shape(1) == scheme.other_bytes(),
           "The responses are of another size.");
}

void expect_below(const std::uint64_t* values, std::size_t count, std::uint64_t bound) {
    std::uint64_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) largest = values[i] > largest ? values[i] : largest;
    expect(largest < bound, "A number is not below the modulus.");
}

void expect_within(const std::int64_t* values, std::size_t count, std::uint64_t modulus) {
    auto half = static_cast<std::int64_t>(modulus / 2);
    bool within = true;
    for (std::size_t i = 0; i < count; ++i) within &= values[i] <= half && values[i] >= -half;
    expect(within, "A number is beyond half of the modulus.");
}

void bind_products(nb::module_& module) {
    nb::class_<ProductScheme>(module, "ProductScheme", "Rings and sizes of the ciphertexts of one product; see products.hpp.")
        .def("__init__", [](ProductScheme* self, std::vector<std::uint64_t> primes, std::vector<std::uint64_t> plains,
                            std::vector<std::vector<std::uint64_t>> steps, std::vector<double> rests,
                            std::size_t dimension, unsigned useful_bits, unsigned other_bits, unsigned flood_bits) {
                 new (self) ProductScheme{std::move(primes), std::move(plains), std::move(steps), std::move(rests),
                                          dimension, useful_bits, other_bits, flood_bits};
                 self->check();
             }, "primes"_a, "plains"_a, "steps"_a, "rests"_a, "dimension"_a, "useful_bits"_a, "other_bits"_a, "flood_bits"_a)
        .def_prop_ro("packed_bytes", &ProductScheme::packed_bytes)
        .def_prop_ro("other_bytes", &ProductScheme::other_bytes);

    nb::class_<ProductKey>(module, "ProductKey", "The vector holder's key of one product; never leaves this object.")
        .def("__init__", [](ProductKey* self, nb::bytes key, const ProductScheme& scheme) {
                 new (self) ProductKey(key_of(key), scheme);
             }, "key"_a, "scheme"_a)
        .def("__repr__", [](const ProductKey&) { return std::string("ProductKey(secret)"); })
        .def("__bool__", &no_truth)
        .def("public_key", [](const ProductKey& self, const ProductScheme& scheme, nb::bytes seed, nb::bytes key) {
                 auto packed = made<std::uint8_t>({scheme.packed_bytes()});
                 self.public_key(scheme, key_of(seed), key_of(key), packed.data);
                 return packed.handle;
             }, "scheme"_a, "seed"_a, "key"_a, "The half of the public key that is sent: packed residues.")
        .def("encrypt_vector", [](const ProductKey& self, const ProductScheme& scheme, Given<std::uint64_t, 1> vector,
                                  std::size_t tile_columns, nb::bytes seed, nb::bytes key, unsigned threads) {
                 Key open = key_of(seed), fresh = key_of(key);
                 std::size_t count = vector.shape(0);
                 Tiles tiles = tiles_of(scheme, 1, count, 1, tile_columns);
                 auto packed = made<std::uint8_t>({tiles.blocks(), scheme.packed_bytes()});
                 {
                     nb::gil_scoped_release free;
                     expect_below(vector.data(), count, scheme.plains[0]);
                     self.encrypt(scheme, vector.data(), count, tile_columns, open, fresh, threads, packed.data);
                 }
                 return packed.handle;
             }, "scheme"_a, "vector"_a.noconvert(), "tile_columns"_a, "seed"_a, "key"_a, "threads"_a,
             "Encrypt numbers modulo T, so many a ciphertext: (blocks, packed bytes).")
        .def("encrypt_slots", [](const ProductKey& self, const ProductScheme& scheme, Given<std::int64_t, 3> values,
                                 nb::bytes seed, nb::bytes key, unsigned threads) {
                 Key open = key_of(seed), fresh = key_of(key);
                 Slots slots = slots_of(scheme, values);
                 auto packed = made<std::uint8_t>({slots.ciphertexts(), scheme.packed_bytes()});
                 {
                     nb::gil_scoped_release free;
                     expect_within(values.data(), values.size(), scheme.plains[0]);
                     self.encrypt(scheme, values.data(), slots, open, fresh, threads, packed.data);
                 }
                 return packed.handle;
             }, "scheme"_a, "values"_a.noconvert(), "seed"_a, "key"_a, "threads"_a,
             "Encrypt (primes of T, terms, samples) slot by slot: (ciphertexts, packed bytes).")
        .def("open_vector", [](const ProductKey& self, const ProductScheme& scheme, std::size_t rows, std::size_t tile_rows,
                               std::size_t tile_columns, Given<std::uint8_t, 1> useful, Given<std::uint8_t, 2> other,
                               unsigned threads) {
                 Tiles tiles = tiles_of(scheme, rows, 0, tile_rows, tile_columns);
                 expect_responses(scheme, tiles, tiles.groups(), useful, other);
                 auto shares = made<std::uint64_t>({rows});
                 {
                     nb::gil_scoped_release free;
                     self.open(scheme, tiles, useful.data(), other.data(), threads, shares.data);
                 }
                 return shares.handle;
             }, "scheme"_a, "rows"_a, "tile_rows"_a, "tile_columns"_a, "useful"_a.noconvert(), "other"_a.noconvert(),
             "threads"_a, "This side's shares of M v: (rows,).")
        .def("open_slots", [](const ProductKey& self, const ProductScheme& scheme, std::size_t samples, std::size_t terms,
                              Given<std::uint8_t, 1> useful, Given<std::uint8_t, 2> other, unsigned threads) {
                 Slots slots = slots_of(scheme, samples, terms);
                 expect_responses(scheme, slots, slots.blocks(), useful, other);
                 auto shares = made<std::uint64_t>({scheme.plains.size(), samples});
                 {
                     nb::gil_scoped_release free;
                     self.open(scheme, slots, useful.data(), other.data(), threads, shares.data);
                 }
                 return shares.handle;
             }, "scheme"_a, "samples"_a, "terms"_a, "useful"_a.noconvert(), "other"_a.noconvert(), "threads"_a,
             "This side's shares of the sums of products: (primes of T, samples).");

    nb::class_<ProductResponder>(module, "ProductResponder", "What the matrix holder needs of the peer's public key.")
        .def("__init__", [](ProductResponder* self, const ProductScheme& scheme, nb::bytes seed, Given<std::uint8_t, 1> packed) {
                 expect(packed.shape(0) == scheme.packed_bytes(), "The public key is of another size.");
                 new (self) ProductResponder(scheme, key_of(seed), packed.data());
             }, "scheme"_a, "seed"_a, "packed"_a.noconvert())
        .def("respond_vector", [](const ProductResponder& self, const ProductScheme& scheme, Given<std::int32_t, 2> matrix,
                                  bool transposed, std::size_t tile_rows, std::size_t tile_columns, nb::bytes seed,
                                  Given<std::uint8_t, 2> packed, nb::bytes key, unsigned threads) -> Response {
                 std::size_t height = matrix.shape(0), width = matrix.shape(1);
                 Tiles tiles = tiles_of(scheme, transposed ? width : height, transposed ? height : width, tile_rows, tile_columns);
                 auto wide = static_cast<std::ptrdiff_t>(width);
                 tiles.entries = matrix.data();
                 tiles.row_step = transposed ? 1 : wide;
                 tiles.column_step = transposed ? wide : 1;
                 expect(packed.shape(0) == tiles.blocks() && packed.shape(1) == scheme.packed_bytes(),
                        "The ciphertexts are of another size.");
                 Key open = key_of(seed), fresh = key_of(key);
                 auto useful = made<std::uint8_t>({useful_bytes(scheme, tiles)});
                 auto other = made<std::uint8_t>({tiles.groups(), scheme.other_bytes()});
                 auto shares = made<std::uint64_t>({tiles.rows});
                 {
                     nb::gil_scoped_release free;
                     self.respond(scheme, tiles, open, packed.data(), fresh, threads, useful.data, other.data, shares.data);
                 }
                 return Response(nb::make_tuple(useful.handle, other.handle, shares.handle));
             }, "scheme"_a, "matrix"_a.noconvert(), "transposed"_a, "tile_rows"_a, "tile_columns"_a, "seed"_a,
             "packed"_a.noconvert(), "key"_a, "threads"_a,
             "Masked, re-randomised and flooded responses (useful, other), and this side's shares of M v (rows,).")
        .def("respond_slots", [](const ProductResponder& self, const ProductScheme& scheme, Given<std::int64_t, 3> values,
                                 nb::bytes seed, Given<std::uint8_t, 2> packed, nb::bytes key, unsigned threads) -> Response {
                 Slots slots = slots_of(scheme, values);
                 expect(packed.shape(0) == slots.ciphertexts() && packed.shape(1) == scheme.packed_bytes(),
                        "The ciphertexts are of another size.");
                 Key open = key_of(seed), fresh = key_of(key);
                 auto useful = made<std::uint8_t>({useful_bytes(scheme, slots)});
                 auto other = made<std::uint8_t>({slots.blocks(), scheme.other_bytes()});
                 auto shares = made<std::uint64_t>({scheme.plains.size(), slots.samples});
                 {
                     nb::gil_scoped_release free;
                     expect_within(values.data(), values.size(), scheme.plains[0]);
                     self.respond(scheme, slots, values.data(), open, packed.data(), fresh, threads, useful.data,
                                  other.data, shares.data);
                 }
                 return Response(nb::make_tuple(useful.handle, other.handle, shares.handle));
             }, "scheme"_a, "values"_a.noconvert(), "seed"_a, "packed"_a.noconvert(), "key"_a, "threads"_a,
             "The same for sums over terms of products slot by slot: shares (primes of T, samples).");
}

}  // namespace

NB_MODULE(_native, module) {
    module.doc() = "The native core: transforms, samplers, ciphertexts, hints and sums. Seeds and keys are 32 bytes.";

    module.def("paths", &available_kernels, "Names of the instruction sets that this machine runs, the fastest first.");
    module.def("path", [] { return std::string(kernels().name); }, "The one in use.");
    module.def("use", &use_kernels, "name"_a, "Choose one; for tests and benchmarks.");

    module.def("histogram", &histogram, "codes"_a.noconvert(), "width"_a, "words"_a.noconvert(), "threads"_a,
               "Sums of uint64 words (count, samples) by bin modulo 2^64: (count, features, width).");
    module.def("histogram_packed", &histogram_packed, "codes"_a.noconvert(), "width"_a, "packed"_a.noconvert(), "threads"_a,
               "The same for the top bytes of words (count, samples, bytes): (count, rows).");
    module.def("hint", &hint, "codes"_a.noconvert(), "width"_a, "seed"_a, "dimension"_a, "threads"_a,
               "The hint of a one-hot matrix: its product with the public matrix of `seed`, (rows, dimension).");

    module.def("curve_multiply", &curve_multiply, "scalar"_a, "points"_a.noconvert(), "threads"_a,
               "u-coordinates on Curve25519 (n, 32) of scalar * point, zero for infinity. The scalar is not clamped.");
    module.def("curve_multiply_each", &curve_multiply_each, "scalars"_a.noconvert(), "points"_a.noconvert(), "threads"_a,
               "The same with a scalar (n, 32) for each point.");
    module.def("hash_to_curve", &hash_to_curve, "data"_a.noconvert(), "offsets"_a.noconvert(), "domain"_a, "threads"_a,
               "RFC 9380's curve25519_XMD:SHA-512_ELL2_RO_ of messages data[offsets[i]:offsets[i + 1]]: (n, 32).");
    module.def(
        "map_to_curve",
        [](Given<std::uint8_t, 2> pairs) {
            expect(pairs.shape(1) == 64, "A pair of field elements has 64 bytes.");
            auto out = made<std::uint8_t>({pairs.shape(0), 32});
            map_pairs(pairs.data(), pairs.shape(0), out.data);
            return out.handle;
        },
        "pairs"_a.noconvert(), "Its second half, from pairs of field elements (n, 64); for tests.");

    module.def(
        "key_stream",
        [](nb::bytes key, std::size_t purpose, std::size_t number, std::size_t words) {
            auto out = made<std::uint64_t>({words});
            Stream(key_of(key), static_cast<Purpose>(purpose), number).fill(out.data, words);
            return out.handle;
        },
        "key"_a, "purpose"_a, "number"_a, "words"_a, "ChaCha20's key stream as 64-bit words; for tests.");
    module.def(
        "gaussian",
        [](nb::bytes key, double sigma, std::size_t count) {
            auto out = made<std::int64_t>({count});
            Stream stream(key_of(key), Purpose::error, 0);
            gaussian(stream, width_of(sigma), out.data, count);
            return out.handle;
        },
        "key"_a, "sigma"_a, "count"_a, "Samples of a discrete Gaussian; for tests.");
    module.def(
        "ternary",
        [](nb::bytes key, std::size_t count) {
            auto out = made<std::int8_t>({count});
            Stream stream(key_of(key), Purpose::secret, 0);
            ternary(stream, out.data, count);
            return out.handle;
        },
        "key"_a, "count"_a, "Uniform samples of -1, 0, 1; for tests.");
    module.def(
        "negacyclic_product",
        [](Given<std::uint64_t, 1> x, Given<std::uint64_t, 1> y, std::size_t p) {
            expect(x.shape(0) == y.shape(0), "The polynomials must be of one size.");
            auto here = ring(p, x.shape(0));
            Residues first(x.shape(0)), second(x.shape(0));
            for (std::size_t i = 0; i < x.shape(0); ++i) {
                first[i] = here->residue(x.data()[i]);
                second[i] = here->residue(y.data()[i]);
            }
            here->forward(first.data());
            here->forward(second.data());
            here->multiply(first.data(), first.data(), second.data());
            here->inverse(first.data());
            auto out = made<std::uint64_t>({x.shape(0)});
            here->canonical(out.data, first.data(), x.shape(0));
            return out.handle;
        },
        "x"_a.noconvert(), "y"_a.noconvert(), "p"_a, "Product modulo X^size + 1 and a prime; for tests.");
    module.def(
        "word_product",
        [](Given<std::uint64_t, 1> x, Given<std::int8_t, 1> y) {
            expect(x.shape(0) == y.shape(0), "The polynomials must be of one size.");
            auto here = word_ring(x.shape(0));
            auto pair = here->transform(x.data());
            auto out = made<std::uint64_t>({x.shape(0)});
            here->multiply(out.data, pair[0].data(), pair[1].data(), here->transform(y.data()));
            return out.handle;
        },
        "x"_a.noconvert(), "y"_a.noconvert(), "Product modulo X^size + 1 and 2^64; for tests.");

    nb::class_<InnerSecrets>(module, "InnerSecrets", "Ternary secrets of vectors; each serves one message.")
        .def("__init__", [](InnerSecrets* self, nb::bytes key, std::size_t count, std::size_t dimension) {
                 new (self) InnerSecrets(key_of(key), count, dimension);
             }, "key"_a, "count"_a, "dimension"_a)
        .def("__len__", &InnerSecrets::count)
        .def("__bool__", &no_truth)
        .def("__repr__", [](const InnerSecrets& self) { return "InnerSecrets(" + std::to_string(self.count()) + ", secret)"; });

    nb::class_<InnerRing>(module, "InnerRing", "The public matrix of a seed, ready for encrypting vectors over samples.")
        .def("__init__", [](InnerRing* self, nb::bytes seed, std::size_t dimension, std::size_t samples, unsigned threads) {
                 Key key = key_of(seed);
                 nb::gil_scoped_release free;
                 new (self) InnerRing(key, dimension, samples, threads);
             }, "seed"_a, "dimension"_a, "samples"_a, "threads"_a)
        .def("encrypt", [](const InnerRing& self, Given<std::int64_t, 2> vectors, InnerSecrets& secrets, std::size_t first,
                           unsigned shift, double sigma, std::size_t bytes, nb::bytes key, unsigned threads) {
                 expect(vectors.shape(1) == self.samples(), "A vector must be as long as the samples.");
                 expect(bytes >= 1 && bytes <= 8, "A word has one to eight bytes.");
                 expect(first + vectors.shape(0) <= secrets.count(), "There are fewer secrets than vectors.");
                 Key fresh = key_of(key);
                 Width width = width_of(sigma);
                 auto packed = made<std::uint8_t>({vectors.shape(0), self.samples(), bytes});
                 {
                     nb::gil_scoped_release free;
                     self.encrypt(vectors.data(), vectors.shape(0), secrets, first, shift, width, bytes, fresh, threads,
                                  packed.data);
                 }
                 return packed.handle;
             }, "vectors"_a.noconvert(), "secrets"_a, "first"_a, "shift"_a, "sigma"_a, "bytes"_a, "key"_a, "threads"_a,
             "Words A s + e + 2^shift v, their top bytes: (count, samples, bytes). Takes the secrets from `first` on.");

    nb::class_<Layout>(module, "Layout", "How secrets and tiles of the hint stand in ciphertexts; see rlwe.hpp.")
        .def("__init__", [](Layout* self, std::vector<std::uint64_t> primes, std::vector<std::uint64_t> steps,
                            std::size_t dimension, std::size_t inner_dimension, std::size_t vectors, std::size_t rows,
                            std::size_t columns, unsigned ring_bits, unsigned response_bits, unsigned flood_bits) {
                 new (self) Layout{std::move(primes), std::move(steps), dimension, inner_dimension, vectors, rows,
                                   columns, ring_bits, response_bits, flood_bits};
                 self->check();
             }, "primes"_a, "steps"_a, "dimension"_a, "inner_dimension"_a, "vectors"_a.noconvert(), "rows"_a, "columns"_a,
             "ring_bits"_a, "response_bits"_a, "flood_bits"_a)
        .def_prop_ro("packed_bytes", &Layout::packed_bytes)
        .def_prop_ro("blocks", &Layout::blocks);

    nb::class_<OuterKey>(module, "OuterKey", "The vector holder's key; never leaves this object.")
        .def("__init__", [](OuterKey* self, nb::bytes key, const Layout& layout) {
                 new (self) OuterKey(key_of(key), layout.primes, layout.dimension);
             }, "key"_a, "layout"_a)
        .def("__repr__", [](const OuterKey&) { return std::string("OuterKey(secret)"); })
        .def("__bool__", &no_truth)
        .def("public_key", [](const OuterKey& self, const Layout& layout, nb::bytes seed, nb::bytes key) {
                 auto packed = made<std::uint8_t>({layout.packed_bytes()});
                 self.public_key(layout, key_of(seed), key_of(key), packed.data);
                 return packed.handle;
             }, "layout"_a, "seed"_a, "key"_a, "The half of the public key that is sent: packed residues.")
        .def("encrypt", [](const OuterKey& self, const Layout& layout, const InnerSecrets& secrets, nb::bytes seed,
                           nb::bytes key, unsigned threads) {
                 Key open = key_of(seed), fresh = key_of(key);
                 auto packed = made<std::uint8_t>({layout.blocks(), layout.packed_bytes()});
                 {
                     nb::gil_scoped_release free;
                     self.encrypt(layout, secrets, open, fresh, threads, packed.data);
                 }
                 return packed.handle;
             }, "layout"_a, "secrets"_a, "seed"_a, "key"_a, "threads"_a, "Encrypt the secrets: (blocks, packed bytes).")
        .def("decrypt", [](const OuterKey& self, const Layout& layout, Given<std::uint8_t, 2> useful,
                           Given<std::uint8_t, 2> other, std::size_t rows, unsigned threads) {
                 std::size_t groups = layout.groups(rows), bytes = layout.response_bits / 8;
                 expect(useful.shape(0) == groups && useful.shape(1) == layout.useful() * bytes &&
                            other.shape(0) == groups && other.shape(1) == layout.dimension * bytes,
                        "The responses are of another size.");
                 auto shares = made<std::uint64_t>({layout.vectors, rows});
                 {
                     nb::gil_scoped_release free;
                     self.decrypt(layout, useful.data(), other.data(), rows, threads, shares.data);
                 }
                 return shares.handle;
             }, "layout"_a, "useful"_a.noconvert(), "other"_a.noconvert(), "rows"_a, "threads"_a, "Masked products -H s + mask: (vectors, rows).");

    nb::class_<Responder>(module, "Responder", "What the matrix holder needs of the peer's public key.")
        .def("__init__", [](Responder* self, const Layout& layout, nb::bytes seed, Given<std::uint8_t, 1> packed) {
                 expect(packed.shape(0) == layout.packed_bytes(), "The public key is of another size.");
                 new (self) Responder(layout, key_of(seed), packed.data());
             }, "layout"_a, "seed"_a, "packed"_a.noconvert())
        .def("respond", [](const Responder& self, const Layout& layout, nb::bytes seed, Given<std::uint8_t, 2> packed,
                           Given<std::uint64_t, 2> hint, nb::bytes key, unsigned threads) -> Response {
                 std::size_t rows = hint.shape(0), groups = layout.groups(rows), bytes = layout.response_bits / 8;
                 expect(packed.shape(0) == layout.blocks() && packed.shape(1) == layout.packed_bytes() &&
                            hint.shape(1) == layout.inner_dimension,
                        "The ciphertexts or the hint are of another size.");
                 Key open = key_of(seed), fresh = key_of(key);
                 auto useful = made<std::uint8_t>({groups, layout.useful() * bytes});
                 auto other = made<std::uint8_t>({groups, layout.dimension * bytes});
                 auto masks = made<std::uint64_t>({layout.vectors, rows});
                 {
                     nb::gil_scoped_release free;
                     self.respond(layout, open, packed.data(), hint.data(), rows, fresh, threads, useful.data,
                                  other.data, masks.data);
                 }
                 return Response(nb::make_tuple(useful.handle, other.handle, masks.handle));
             }, "layout"_a, "seed"_a, "packed"_a.noconvert(), "hint"_a.noconvert(), "key"_a, "threads"_a,
             "Masked, re-randomised and flooded responses (useful, other), and the masks (vectors, rows).");
    module.def("digest_ids", &digests_of_ids, "data"_a.noconvert(), "offsets"_a.noconvert(), "prefix"_a, "threads"_a,
               "SHA-256 of the prefix and each message data[offsets[i] : offsets[i + 1]]: (messages, 32).");
    module.def("digest_rows", &digests_of_rows, "rows"_a.noconvert(), "prefix"_a, "length"_a, "threads"_a,
               "The first bytes of SHA-256 of the prefix and each row: (rows, length).");
    module.def("match", &matches, "mine"_a.noconvert(), "theirs"_a.noconvert(), "key"_a, "threads"_a,
               "The first position in `theirs` of each row of `mine`, or -1. `key`: 16 fresh random bytes.");
    module.def("repeated", &repetitions, "rows"_a.noconvert(), "key"_a, "threads"_a,
               "How many rows equal an earlier one. `key`: 16 fresh random bytes.");
    module.def("okvs_encode", &encode, "items"_a.noconvert(), "values"_a.noconvert(), "seed"_a, "clusters"_a, "capacity"_a,
               "sparse"_a, "dense"_a, "key"_a, "threads"_a,
               "A table (size, 16) from which each item decodes to its value, uniform under `key` otherwise.");
    module.def("okvs_decode", &decode, "items"_a.noconvert(), "table"_a.noconvert(), "seed"_a, "clusters"_a, "sparse"_a,
               "dense"_a, "threads"_a, "What the table holds for each item: (items, 16).");
    module.def("okvs_failures", &failures, "items"_a, "sparse"_a, "dense"_a, "instances"_a, "seed"_a, "threads"_a,
               "How many of so many clusters of random items cannot be encoded; for tests.");

    module.def(
        "public_polynomial",
        [](nb::bytes seed, std::size_t purpose, std::size_t index, std::size_t p, std::size_t dimension) {
            auto out = made<std::uint64_t>({dimension});
            public_polynomial(key_of(seed), static_cast<Purpose>(purpose), index, p, dimension, out.data);
            return out.handle;
        },
        "seed"_a, "purpose"_a, "index"_a, "p"_a, "dimension"_a, "A public polynomial of a seed; for tests.");
    bind_correlations(module);
    bind_products(module);

    module.def("aes_path", [] { return std::string(aes().name); }, "The AES that the path in use stands for.");
    module.def(
        "aes_encrypt",
        [](nb::bytes key, Given<std::uint8_t, 2> blocks) {
            expect(key.size() == aes_block && blocks.shape(1) == aes_block, "A key and a block of AES-128 have 16 bytes.");
            auto out = made<std::uint8_t>({blocks.shape(0), aes_block});
            AesKey expanded(reinterpret_cast<const std::uint8_t*>(key.c_str()));
            {
                nb::gil_scoped_release free;
                aes().encrypt(expanded, blocks.data(), out.data, blocks.shape(0));
            }
            return out.handle;
        },
        "key"_a, "blocks"_a.noconvert(), "AES-128 of each block (count, 16); for tests.");
    module.def(
        "public_key_hash",
        [](Given<std::uint8_t, 2> blocks, std::uint64_t key, std::uint64_t tweak, std::size_t repeat) {
            expect(blocks.shape(1) == aes_block && repeat >= 1, "A block has 16 bytes, and a tweak serves one at least.");
            auto out = made<std::uint8_t>({blocks.shape(0), aes_block});
            {
                nb::gil_scoped_release free;
                aes().hash(public_key(key), blocks.data(), out.data, blocks.shape(0), tweak, repeat);
            }
            return out.handle;
        },
        "blocks"_a.noconvert(), "key"_a, "tweak"_a, "repeat"_a,
        "pi(pi(x) ^ t) ^ pi(x), t = tweak + place // repeat, pi with the public key of a number; for tests.");

    module.def(
        "pack_bits",
        [](Given<std::uint8_t, 1> values, unsigned bits) {
            expect(bits >= 1 && bits <= 8, "A small number has 1 to 8 bits.");
            auto out = made<std::uint8_t>({packed_size(values.shape(0), bits)});
            pack(values.data(), values.shape(0), bits, out.data);
            return out.handle;
        },
        "values"_a.noconvert(), "bits"_a, "The lowest bits of each number side by side.");
    module.def(
        "unpack_bits",
        [](Given<std::uint8_t, 1> packed, std::size_t count, unsigned bits) {
            expect(bits >= 1 && bits <= 8, "A small number has 1 to 8 bits.");
            expect(packed.shape(0) == packed_size(count, bits), "The packed numbers are of another size.");
            auto out = made<std::uint8_t>({count});
            unpack(packed.data(), count, bits, out.data);
            return out.handle;
        },
        "packed"_a.noconvert(), "count"_a, "bits"_a, "The numbers that `pack_bits` packed.");
    module.def(
        "send_chosen",
        [](Given<std::uint64_t, 2> tables, unsigned width, Given<std::uint64_t, 2> words,
           Given<std::uint8_t, 1> corrections, unsigned bits, Given<std::uint64_t, 1> delta, std::uint64_t tweak,
           unsigned threads) {
            Offered offered = offered_of(words, corrections, bits, delta, tweak, threads);
            std::size_t entries = tables.shape(1);
            expect(tables.shape(0) == offered.count, "The tables must be as many as the correlations.");
            expect(entries >= 1 && entries <= std::size_t{1} << bits, "A table has 1 to 2^bits entries.");
            expect(width >= 1 && width <= 64, "An entry has 1 to 64 bits.");
            auto message = made<std::uint8_t>({packed_size(offered.count, entries * width)});
            {
                nb::gil_scoped_release free;
                send_chosen(offered, tables.data(), entries, width, message.data);
            }
            return message.handle;
        },
        "tables"_a.noconvert(), "width"_a, "words"_a.noconvert(), "corrections"_a.noconvert(), "bits"_a,
        "delta"_a.noconvert(), "tweak"_a, "threads"_a, "Masked entries of 1-of-N transfers, packed.");
    module.def(
        "receive_chosen",
        [](Given<std::uint8_t, 1> choices, std::size_t entries, unsigned width, Given<std::uint64_t, 2> words,
           Given<std::uint8_t, 1> message, std::uint64_t tweak, unsigned threads) {
            expect(width >= 1 && width <= 64 && entries <= 256, "An entry has 1 to 64 bits, a table 256 entries at most.");
            Chosen chosen = chosen_of(words, choices, entries, message, entries * width, tweak, threads);
            auto values = made<std::uint64_t>({chosen.count});
            {
                nb::gil_scoped_release free;
                receive_chosen(chosen, entries, width, values.data);
            }
            return values.handle;
        },
        "choices"_a.noconvert(), "entries"_a, "width"_a, "words"_a.noconvert(), "message"_a.noconvert(), "tweak"_a,
        "threads"_a, "The chosen entries.");
    module.def(
        "send_correlated",
        [](Given<std::uint64_t, 2> differences, Given<std::uint64_t, 1> moduli, Given<std::uint64_t, 2> words,
           Given<std::uint8_t, 1> corrections, Given<std::uint64_t, 1> delta, std::uint64_t tweak,
           unsigned threads) -> Pads {
            Offered offered = offered_of(words, corrections, 1, delta, tweak, threads);
            Moduli ring = moduli_of(moduli);
            check_residues(differences, ring);
            expect(differences.shape(0) == offered.count, "The differences must be as many as the correlations.");
            std::size_t bits = 0;
            for (std::size_t k = 0; k < ring.parts; ++k) bits += bits_of(ring.moduli[k]);
            auto pads = made<std::uint64_t>({offered.count, ring.parts});
            auto message = made<std::uint8_t>({packed_size(offered.count, bits)});
            {
                nb::gil_scoped_release free;
                send_correlated(offered, differences.data(), ring.moduli, ring.parts, pads.data, message.data);
            }
            return Pads(nb::make_tuple(pads.handle, message.handle));
        },
        "differences"_a.noconvert(), "moduli"_a.noconvert(), "words"_a.noconvert(), "corrections"_a.noconvert(),
        "delta"_a.noconvert(), "tweak"_a, "threads"_a, "Uniform r (count, parts), and r + d masked for whoever has the bit 1.");
    module.def(
        "receive_correlated",
        [](Given<std::uint8_t, 1> bits, Given<std::uint64_t, 1> moduli, Given<std::uint64_t, 2> words,
           Given<std::uint8_t, 1> message, std::uint64_t tweak, unsigned threads) {
            Moduli ring = moduli_of(moduli);
            std::size_t width = 0;
            for (std::size_t k = 0; k < ring.parts; ++k) width += bits_of(ring.moduli[k]);
            Chosen chosen = chosen_of(words, bits, 2, message, width, tweak, threads);
            auto values = made<std::uint64_t>({chosen.count, ring.parts});
            bool good;
            {
                nb::gil_scoped_release free;
                good = receive_correlated(chosen, ring.moduli, ring.parts, values.data);
            }
            if (!good) throw std::out_of_range("An entry is not below its modulus.");
            return values.handle;
        },
        "bits"_a.noconvert(), "moduli"_a.noconvert(), "words"_a.noconvert(), "message"_a.noconvert(), "tweak"_a,
        "threads"_a, "r + bit d (count, parts); IndexError if the peer's numbers are not below their moduli.");
    module.def(
        "send_leaf",
        [](Given<std::uint64_t, 1> x, unsigned shift, unsigned outcome, Given<std::uint64_t, 2> words,
           Given<std::uint8_t, 1> corrections, unsigned bits, Given<std::uint64_t, 1> delta, std::uint64_t tweak,
           Room message, unsigned threads) {
            Offered offered = offered_of(words, corrections, bits, delta, tweak, threads);
            expect(bits <= 5 && shift <= 63, "A leaf compares up to five of 64 bits.");
            expect(x.shape(0) == offered.count, "The numbers must be as many as the correlations.");
            Outcome kind = outcome_of(outcome);
            expect(message.shape(0) == packed_size(offered.count, travelling(std::size_t{1} << bits, kind)),
                   "The message is of another size.");
            auto shares = made<std::uint8_t>({offered.count});
            {
                nb::gil_scoped_release free;
                send_leaf(offered, x.data(), shift, kind, shares.data, message.data());
            }
            return shares.handle;
        },
        "x"_a.noconvert(), "shift"_a, "outcome"_a, "words"_a.noconvert(), "corrections"_a.noconvert(), "bits"_a,
        "delta"_a.noconvert(), "tweak"_a, "message"_a.noconvert(), "threads"_a,
        "Compare digits: the sender's shares; its message is written. Outcome: 0 a trit, 1 less, 2 less or equal.");
    module.def(
        "send_node",
        [](Given<std::uint8_t, 2> children, unsigned outcome, Given<std::uint64_t, 2> words,
           Given<std::uint8_t, 1> corrections, Given<std::uint64_t, 1> delta, std::uint64_t tweak, Room message,
           unsigned threads) {
            std::size_t fan_in = children.shape(0), entries = fan_in == 2 ? 9 : 27;
            expect(fan_in == 2 || fan_in == 3, "A node has two or three children.");
            Offered offered = offered_of(words, corrections, fan_in == 2 ? 4 : 5, delta, tweak, threads);
            expect(children.shape(1) == offered.count, "The children must be as many as the correlations.");
            unsigned largest = 0;
            for (std::size_t i = 0; i < fan_in * offered.count; ++i)
                largest = children.data()[i] > largest ? children.data()[i] : largest;
            expect(largest <= 2, "A trit is 0, 1 or 2.");
            Outcome kind = outcome_of(outcome);
            expect(message.shape(0) == packed_size(offered.count, travelling(entries, kind)),
                   "The message is of another size.");
            auto shares = made<std::uint8_t>({offered.count});
            {
                nb::gil_scoped_release free;
                send_node(offered, children.data(), static_cast<unsigned>(fan_in), kind, shares.data, message.data());
            }
            return shares.handle;
        },
        "children"_a.noconvert(), "outcome"_a, "words"_a.noconvert(), "corrections"_a.noconvert(),
        "delta"_a.noconvert(), "tweak"_a, "message"_a.noconvert(), "threads"_a,
        "Join shared trits (fan_in, count); as `send_leaf`.");
    module.def(
        "receive_share",
        [](Given<std::uint8_t, 1> choices, std::size_t entries, unsigned outcome, Given<std::uint64_t, 2> words,
           Given<std::uint8_t, 1> message, std::uint64_t tweak, unsigned threads) {
            expect(entries >= 2 && entries <= 32, "A leaf or node has 2 to 32 entries.");
            Outcome kind = outcome_of(outcome);
            Chosen chosen = chosen_of(words, choices, entries, message, travelling(entries, kind), tweak, threads);
            auto shares = made<std::uint8_t>({chosen.count});
            bool good;
            {
                nb::gil_scoped_release free;
                good = receive_share(chosen, entries, kind, shares.data);
            }
            if (!good) throw std::out_of_range("An entry is not a trit.");
            return shares.handle;
        },
        "choices"_a.noconvert(), "entries"_a, "outcome"_a, "words"_a.noconvert(), "message"_a.noconvert(), "tweak"_a,
        "threads"_a, "The receiver's shares of a leaf or node; IndexError if the peer's entry is none.");
    module.def(
        "lift_shares",
        [](Given<std::uint64_t, 2> shares, Given<std::uint64_t, 1> moduli, bool shifted,
           Given<std::uint64_t, 1> targets) -> Lifted {
            Moduli from = moduli_of(moduli), to = moduli_of(targets);
            check_residues(shares, from);
            auto lifted = made<std::uint64_t>({shares.shape(0), to.parts});
            auto upper = made<std::uint8_t>({shares.shape(0)});
            {
                nb::gil_scoped_release free;
                lift(shares.data(), shares.shape(0), from, shifted, to, lifted.data, upper.data);
            }
            return Lifted(nb::make_tuple(lifted.handle, upper.handle));
        },
        "shares"_a.noconvert(), "moduli"_a.noconvert(), "shifted"_a, "targets"_a.noconvert(),
        "Each share, plus floor(m / 4) where `shifted`, modulo the targets, and whether it is m / 2 or more.");
    module.def(
        "lift_constants",
        [](Given<std::uint64_t, 1> moduli, Given<std::uint64_t, 1> targets) -> Constants {
            Moduli from = moduli_of(moduli), to = moduli_of(targets);
            auto quarter = made<std::uint64_t>({to.parts}), all = made<std::uint64_t>({to.parts});
            lift_constants(from, to, quarter.data, all.data);
            return Constants(nb::make_tuple(quarter.handle, all.handle));
        },
        "moduli"_a.noconvert(), "targets"_a.noconvert(), "-floor(m / 4) and m modulo the targets.");
    module.def(
        "scale_shares",
        [](Given<std::uint64_t, 2> shares, Given<std::uint64_t, 1> moduli, unsigned bits) {
            Moduli from = moduli_of(moduli);
            check_residues(shares, from);
            expect(bits >= 1 && bits <= 62, "A ring of 1 to 62 bits.");
            auto scaled = made<std::uint64_t>({shares.shape(0)});
            {
                nb::gil_scoped_release free;
                scale(shares.data(), shares.shape(0), from, bits, scaled.data);
            }
            return scaled.handle;
        },
        "shares"_a.noconvert(), "moduli"_a.noconvert(), "bits"_a, "round(share 2^bits / m) modulo 2^bits.");
}
