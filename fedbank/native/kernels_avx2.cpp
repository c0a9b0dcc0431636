#include "kernels_body.hpp"

namespace fedbank {
const Kernels& avx2_kernels() {
    static const Kernels table = FEDBANK_KERNELS("avx2");
    return table;
}
}  // namespace fedbank
