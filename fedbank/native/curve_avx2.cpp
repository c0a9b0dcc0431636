#include "curve_body.hpp"

namespace fedbank {
const Curve& avx2_curve() {
    static const Curve table = FEDBANK_CURVE("avx2");
    return table;
}
}  // namespace fedbank
