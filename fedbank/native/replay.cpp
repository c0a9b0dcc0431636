// The fuzz target without a fuzzer: one whole exchange in the sizes of a real job on every instruction set, then every
// file given (or in a folder given) and its mutations, the same ones in every run.
//   fuzz_replay [--mutations N] PATH...
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "hint.hpp"
#include "kernels.hpp"
#include "ring.hpp"
#include "rlwe.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fedbank {
namespace {

using Bytes = std::vector<std::uint8_t>;
using Words = std::vector<std::uint64_t>;

// ---- one whole exchange ----

// What `private_parameters.choose` gives for 4,196 samples, three features of 17 bins and 16 vectors within 127.
constexpr std::size_t samples = 4196, features = 3, width = 17, rows = features * width, sent_bytes = 4;
constexpr unsigned bits = 23, guard_bits = 2, bound = 127;

Layout real_layout() {
    Layout layout{{562949952847873, 562949952798721, 562949952700417}, {}, 8192, 2048, 16, 2, 256, 33, 56, 96};
    // round(Q / T) = (Q - r) / T with r = Q mod T near zero; modulo p, Q is zero
    std::uint64_t ring = 1ull << layout.ring_bits, rest = 1;
    for (std::uint64_t p : layout.primes) rest = rest * p % ring;
    bool negative = rest >= ring / 2;
    std::uint64_t distance = negative ? ring - rest : rest;
    for (std::uint64_t p : layout.primes) {
        unsigned __int128 quotient = distance % p;
        auto step = static_cast<std::uint64_t>(quotient * inverse_modulo(ring % p, p) % p);
        layout.steps.push_back(negative ? step : p - step);
    }
    return layout;
}

Key key_of(std::uint8_t number) {
    Key key{};
    key[0] = number;
    return key;
}

// The top `kept` bits of a number modulo 2^`from`, rounded.
std::uint64_t rounded(std::uint64_t x, unsigned from, unsigned kept) {
    return ((x + (1ull << (from - kept - 1))) >> (from - kept)) & ((1ull << kept) - 1);
}

struct Masked {
    Words shares, masks;
};

// The steps of one batch at both parties: -H s + mask opens exactly.
Masked masked_products(const Layout& layout, const InnerSecrets& secrets, const Words& hint) {
    OuterKey key(key_of(1), layout.primes, layout.dimension);
    Bytes public_key(layout.packed_bytes()), encrypted(layout.blocks() * layout.packed_bytes());
    key.public_key(layout, key_of(2), key_of(3), public_key.data());
    key.encrypt(layout, secrets, key_of(4), key_of(5), 2, encrypted.data());

    std::size_t groups = layout.groups(rows), size = layout.response_bits / 8;
    Bytes useful(groups * layout.useful() * size), other(groups * layout.dimension * size);
    Masked products{Words(layout.vectors * rows), Words(layout.vectors * rows)};
    Responder responder(layout, key_of(2), public_key.data());
    responder.respond(layout, key_of(4), encrypted.data(), hint.data(), rows, key_of(6), 2, useful.data(), other.data(),
                      products.masks.data());
    key.decrypt(layout, useful.data(), other.data(), rows, 2, products.shares.data());
    return products;
}

bool products_are_exact(const Layout& layout, const InnerSecrets& secrets, const Words& hint, const Masked& products) {
    for (std::size_t v = 0; v < layout.vectors; ++v)
        for (std::size_t row = 0; row < rows; ++row) {
            std::uint64_t expected = products.masks[v * rows + row];
            for (std::size_t c = 0; c < layout.inner_dimension; ++c)
                expected -= rounded(hint[row * layout.inner_dimension + c], 64, layout.ring_bits) *
                            static_cast<std::uint64_t>(secrets.secret(v)[c]);
            if (products.shares[v * rows + row] != (expected & ((1ull << layout.ring_bits) - 1))) return false;
        }
    return true;
}

// Vectors go encrypted to the matrix holder; its sums and both shares together are M v.
bool sums_are_exact(const Layout& layout, InnerSecrets& secrets, const Codes& matrix, const Masked& products) {
    std::vector<std::int64_t> vectors(layout.vectors * samples), expected(layout.vectors * rows);
    for (std::size_t i = 0; i < vectors.size(); ++i) {
        vectors[i] = static_cast<std::int64_t>(i * 48271 % (2 * bound + 1)) - bound;
        for (std::size_t f = 0; f < features; ++f)
            expected[i / samples * rows + f * width + matrix.codes[f * samples + i % samples]] += vectors[i];
    }
    Bytes packed(vectors.size() * sent_bytes);
    InnerRing inner(key_of(7), layout.inner_dimension, samples, 2);
    inner.encrypt(vectors.data(), layout.vectors, secrets, 0, 64 - bits + guard_bits, Width::wide, sent_bytes,
                  key_of(8), 2, packed.data());
    Words sums(layout.vectors * rows);
    sum_packed(matrix, packed.data(), sent_bytes, layout.vectors, 2, sums.data());
    for (std::size_t i = 0; i < sums.size(); ++i) {
        std::uint64_t switched = rounded(sums[i], 64, layout.ring_bits);
        std::uint64_t theirs = rounded(switched - products.masks[i], layout.ring_bits, bits);
        std::uint64_t total = theirs + rounded(products.shares[i], layout.ring_bits, bits);
        auto guarded = static_cast<std::int64_t>(total << (64 - bits)) >> (64 - bits);
        if ((guarded + (1 << (guard_bits - 1))) >> guard_bits != expected[i]) return false;
    }
    return true;
}

bool whole_exchange() {
    Layout layout = real_layout();
    Bytes codes(features * samples);
    for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>((i * 40503 >> 4) % width);
    Codes matrix{codes.data(), features, samples, width};
    Words hint(rows * layout.inner_dimension);
    make_hint(matrix, key_of(7), layout.inner_dimension, 2, hint.data());
    InnerSecrets secrets(key_of(9), layout.vectors, layout.inner_dimension);
    Masked products = masked_products(layout, secrets, hint);
    return products_are_exact(layout, secrets, hint, products) && sums_are_exact(layout, secrets, matrix, products);
}

// ---- files and their mutations ----

// Marsaglia 2003; begins from the file's content, so that a run can be repeated.
class Shifts {
public:
    explicit Shifts(const Bytes& content) {
        for (std::uint8_t byte : content) state_ = (state_ ^ byte) * 1099511628211ull;  // FNV-1a
        state_ |= 1;
    }
    std::size_t below(std::size_t bound) {
        state_ ^= state_ << 13;
        state_ ^= state_ >> 7;
        state_ ^= state_ << 17;
        return static_cast<std::size_t>(state_ >> 11) % bound;
    }

private:
    std::uint64_t state_ = 14695981039346656037ull;
};

void mutate(Bytes& input, Shifts& shifts) {
    if (input.empty()) input.push_back(0);
    std::size_t at = shifts.below(input.size()), count = 1 + shifts.below(std::min<std::size_t>(input.size() - at, 32));
    auto begin = input.begin() + static_cast<std::ptrdiff_t>(at), end = begin + static_cast<std::ptrdiff_t>(count);
    constexpr std::uint8_t extremes[] = {0, 1, 127, 128, 254, 255};
    switch (shifts.below(5)) {
        case 0: *begin ^= static_cast<std::uint8_t>(1 << shifts.below(8)); break;
        case 1: *begin = static_cast<std::uint8_t>(shifts.below(256)); break;
        case 2: std::fill(begin, end, extremes[shifts.below(std::size(extremes))]); break;
        case 3: input.erase(begin, end); break;
        default: {
            Bytes piece(begin, end);
            if (input.size() < 4096) input.insert(begin, piece.begin(), piece.end());
        }
    }
}

std::size_t replay(const std::filesystem::path& file, std::size_t mutations) {
    std::ifstream stream(file, std::ios::binary);
    if (!stream) {
        std::fprintf(stderr, "%s cannot be read.\n", file.c_str());
        std::exit(2);
    }
    Bytes content{std::istreambuf_iterator<char>(stream), {}};
    LLVMFuzzerTestOneInput(content.data(), content.size());
    Shifts shifts(content);
    for (std::size_t k = 0; k < mutations; ++k) {
        Bytes mutated = content;
        for (std::size_t changes = 1 + shifts.below(4); changes; --changes) mutate(mutated, shifts);
        LLVMFuzzerTestOneInput(mutated.data(), mutated.size());
    }
    return 1 + mutations;
}

std::vector<std::filesystem::path> files_of(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) return {path};
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(path)) files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    return files;
}

}  // namespace
}  // namespace fedbank

int main(int count, char** arguments) {
    using namespace fedbank;
    for (const auto& name : available_kernels()) {
        use_kernels(name);
        if (!whole_exchange()) {
            std::fprintf(stderr, "A whole exchange on %s ends with wrong sums.\n", name.c_str());
            return 1;
        }
        std::printf("whole exchange on %s: exact\n", name.c_str());
    }
    std::size_t mutations = 100, inputs = 0;
    for (int k = 1; k < count; ++k) {
        if (std::string(arguments[k]) == "--mutations" && k + 1 < count) mutations = std::stoul(arguments[++k]);
        else
            for (const auto& file : files_of(arguments[k])) inputs += replay(file, mutations);
    }
    std::printf("%zu inputs\n", inputs);
    return 0;
}
