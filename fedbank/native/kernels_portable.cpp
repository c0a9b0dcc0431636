#include "kernels_body.hpp"

namespace fedbank {
const Kernels& portable_kernels() {
    static const Kernels table = FEDBANK_KERNELS("portable");
    return table;
}
}  // namespace fedbank
