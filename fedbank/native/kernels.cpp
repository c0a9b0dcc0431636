#include "kernels.hpp"

#include <atomic>
#include <stdexcept>

namespace fedbank {
namespace {

// The fastest first. AVX-512 means the extensions that the kernels are compiled for, IFMA among them.
std::vector<const Kernels*> runnable() {
    std::vector<const Kernels*> found;
#if defined(FEDBANK_X86)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512ifma"))
        found.push_back(&avx512_kernels());
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(&avx2_kernels());
#endif
    found.push_back(&portable_kernels());
    return found;
}

std::atomic<const Kernels*>& chosen() {
    static std::atomic<const Kernels*> table{runnable().front()};
    return table;
}

}  // namespace

const Kernels& kernels() { return *chosen().load(std::memory_order_relaxed); }

std::vector<std::string> available_kernels() {
    std::vector<std::string> names;
    for (const Kernels* table : runnable()) names.emplace_back(table->name);
    return names;
}

void use_kernels(const std::string& name) {
    for (const Kernels* table : runnable())
        if (name == table->name) {
            chosen().store(table);
            return;
        }
    throw std::invalid_argument("This machine has no kernels called " + name + ".");
}

}  // namespace fedbank
