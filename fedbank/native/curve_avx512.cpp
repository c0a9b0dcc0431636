#include "curve_body.hpp"

namespace fedbank {
const Curve& avx512_curve() {
    static const Curve table = FEDBANK_CURVE("avx512");
    return table;
}
}  // namespace fedbank
