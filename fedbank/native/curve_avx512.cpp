#include "curve_body.hpp"

namespace fedbank {
const Curve& avx512_curve() {
    static const Curve table = FEDBANK_CURVE;
    return table;
}
}  // namespace fedbank
