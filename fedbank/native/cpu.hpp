// Instructions for one purpose (AES, SHA-256, carry-less products) that a processor may have or not. They follow the
// choice of `kernels()`: the portable path uses none of them.
#pragma once
#include <string_view>

#include "kernels.hpp"
#if defined(FEDBANK_X86)
#include <cpuid.h>
#endif

namespace fedbank {

struct Instructions {
    bool aes = false, clmul = false, sha = false, wide_clmul = false;
};

inline Instructions instructions() {
    static const Instructions found = [] {
        Instructions has;
#if defined(FEDBANK_X86)
        unsigned a, b, c, d;
        if (__get_cpuid(1, &a, &b, &c, &d)) {
            bool base = (c >> 9 & 1) && (c >> 19 & 1);  // SSSE3 and SSE4.1
            has.aes = base && (c >> 25 & 1);
            has.clmul = base && (c >> 1 & 1);
            if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
                has.sha = base && (b >> 29 & 1);
                has.wide_clmul = has.clmul && (c >> 10 & 1);
            }
        }
#endif
        return has;
    }();
    std::string_view path = kernels().name;
    Instructions chosen = path == "portable" ? Instructions{} : found;
    chosen.wide_clmul = chosen.wide_clmul && path == "avx512";  // whose registers the system must save
    return chosen;
}

}  // namespace fedbank
