#include "aes_body.hpp"

namespace fedbank {
const AesKernels& ni_aes() {
    static const AesKernels table = FEDBANK_AES;
    return table;
}
}  // namespace fedbank
