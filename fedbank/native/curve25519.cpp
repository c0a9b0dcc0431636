#include "curve25519.hpp"

#include <algorithm>
#include <string_view>

#include "parallel.hpp"

namespace fedbank {
namespace {

// The instruction set that the kernels use.
const Curve& curve() {
#if defined(FEDBANK_X86)
    std::string_view name = kernels().name;
    if (name == avx512_curve().name) return avx512_curve();
    if (name == avx2_curve().name) return avx2_curve();
#endif
    return portable_curve();
}

// work(first, count) over batches.
template <class Work>
void in_batches(std::size_t most, std::size_t count, unsigned threads, Work work) {
    in_parallel((count + most - 1) / most, threads,
                [&](std::size_t batch) { work(batch * most, std::min(most, count - batch * most)); });
}

}  // namespace

void multiply_points(const Key& scalar, const std::uint8_t* points, std::size_t count, unsigned threads,
                     std::uint8_t* out) {
    const Curve& here = curve();
    in_batches(here.most, count, threads, [&](std::size_t first, std::size_t some) {
        here.multiply(scalar.data(), 0, points + 32 * first, some, out + 32 * first);
    });
}

void multiply_each(const std::uint8_t* scalars, const std::uint8_t* points, std::size_t count, unsigned threads,
                   std::uint8_t* out) {
    const Curve& here = curve();
    in_batches(here.most, count, threads, [&](std::size_t first, std::size_t some) {
        here.multiply(scalars + 32 * first, 32, points + 32 * first, some, out + 32 * first);
    });
}

void hash_points(const Messages& messages, std::size_t count, const Domain& domain, unsigned threads,
                 std::uint8_t* out) {
    const Curve& here = curve();
    in_batches(here.most, count, threads, [&](std::size_t first, std::size_t some) {
        here.hash({messages.data, messages.offsets + first}, some, domain, out + 32 * first);
    });
}

void map_pairs(const std::uint8_t* elements, std::size_t count, std::uint8_t* out) {
    const Curve& here = curve();
    in_batches(here.most, count, 1, [&](std::size_t first, std::size_t some) {
        here.map(elements + 64 * first, some, out + 32 * first);
    });
}

}  // namespace fedbank
