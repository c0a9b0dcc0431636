#include "aes_body.hpp"

namespace fedbank {
const AesKernels& portable_aes() {
    static const AesKernels table = FEDBANK_AES;
    return table;
}
}  // namespace fedbank
