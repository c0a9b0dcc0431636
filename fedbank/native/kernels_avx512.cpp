#include "kernels_body.hpp"

namespace fedbank {
const Kernels& avx512_kernels() {
    static const Kernels table = FEDBANK_KERNELS("avx512");
    return table;
}
}  // namespace fedbank
