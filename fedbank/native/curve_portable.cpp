#include "curve_body.hpp"

namespace fedbank {
const Curve& portable_curve() {
    static const Curve table = FEDBANK_CURVE("portable");
    return table;
}
}  // namespace fedbank
