// The inner loops, one table of functions per instruction set, chosen when the module is loaded.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <vector>

namespace fedbank {

// Arrays that begin on a cache line, so that no vector of eight numbers lies across two.
template <class T>
struct OnCacheLine {
    using value_type = T;
    OnCacheLine() = default;
    template <class U>
    OnCacheLine(const OnCacheLine<U>&) {}
    T* allocate(std::size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), std::align_val_t(64))); }
    void deallocate(T* at, std::size_t) { ::operator delete(at, std::align_val_t(64)); }
    bool operator==(const OnCacheLine&) const { return true; }
};
template <class T>
using Aligned = std::vector<T, OnCacheLine<T>>;

// Roots for the number-theoretic transform of one size modulo one prime, as doubles near zero. `over` is root / p.
struct Roots {
    struct List {
        Aligned<double> root, over;
    };
    std::size_t size;
    double p, one_over_p;
    List forward, inverse;              // by block, in bit-reversed order
    List narrow_forward[3];             // layers of length 4, 2 and 1: one root per butterfly
    List narrow_inverse[3];
    std::vector<double> shrink, shrink_over;  // 2^-layers modulo p
};

// Constants for reducing numbers below 2^(2 bits + 10) modulo a prime of so many bits.
struct Barrett {
    std::uint64_t p;
    unsigned bits;
    std::uint64_t ratio;  // floor(2^(2 bits + 10) / p)
    // Always inlined: a copy compiled for one instruction set must not serve another.
    __attribute__((always_inline)) std::uint64_t reduce(unsigned __int128 x) const {
        auto quotient = static_cast<std::uint64_t>(
            (static_cast<unsigned __int128>(static_cast<std::uint64_t>(x >> (bits - 2))) * ratio) >> (bits + 12));
        std::uint64_t rest = static_cast<std::uint64_t>(x) - quotient * p;
        rest -= rest >= p ? p : 0;
        rest -= rest >= p ? p : 0;
        return rest - (rest >= p ? p : 0);
    }
};

struct Kernels {
    const char* name;
    // The first `layers` layers of the negacyclic transform, in place, natural to bit-reversed order; and back.
    // Entries of absolute value up to p in; up to p / 2 (rounded) out.
    void (*forward)(double* x, const Roots& roots, unsigned layers);
    void (*inverse)(double* x, const Roots& roots, unsigned layers);
    // out = x y mod p, entrywise; |x|, |y| <= p.
    void (*multiply)(double* out, const double* x, const double* y, std::size_t count, double p);
    // sum = sum + x y mod p, entrywise, near zero; |sum|, |x| <= 2^51 - p, |y| <= p / 2. The second with one y for all.
    void (*add_products)(double* sum, const double* x, const double* y, std::size_t count, double p);
    void (*add_multiple)(double* sum, const double* x, double y, std::size_t count, double p);
    // out[r][w] = sum_d plain[r][d] cipher[w / 16][d][w % 16] mod p, up to p from zero. Entries in [0, p), p < 2^49,
    // depth <= 1024; the width is a multiple of 16, and `cipher` stands in strips of 16 columns.
    void (*products)(const std::uint64_t* plain, const std::uint64_t* cipher, std::size_t rows, std::size_t depth,
                     std::size_t width, const Barrett& modulus, double* out, std::size_t out_stride);
    // Residues of [0, p) from doubles of absolute value up to 2^51.
    void (*canonical)(std::uint64_t* out, const double* x, std::size_t count, double p);
    // bins[code[i]] += words[i], eight 64-bit numbers each; even and odd samples go to two copies of the bins.
    void (*add_to_bins)(const std::uint8_t* codes, const std::uint64_t* words, std::size_t count, std::uint64_t* even,
                        std::uint64_t* odd);
    // row += sum over k of window[offsets[k] ...], `columns` numbers each, a multiple of 128.
    void (*add_windows)(const std::uint64_t* window, const std::uint32_t* offsets, std::size_t count,
                        std::uint64_t* row, std::size_t columns);
    // ChaCha20 blocks from a state (RFC 8439, with a 64-bit counter in words 12 and 13): `count` blocks of 64 bytes.
    void (*chacha)(const std::uint32_t state[16], std::uint64_t counter, std::size_t count, std::uint8_t* out);
};

const Kernels& kernels();
std::vector<std::string> available_kernels();
void use_kernels(const std::string& name);  // throws std::invalid_argument

const Kernels& portable_kernels();
#if defined(FEDBANK_X86)
const Kernels& avx2_kernels();
const Kernels& avx512_kernels();
#endif

}  // namespace fedbank
