#include "kernels/common.hpp"
#include "kernels/hash_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

void add_row(const uint8_t* OG_RESTRICT row, uint32_t* OG_RESTRICT sums, int64_t n) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) sums[i] += row[i];
}

void residual_row(const uint8_t* OG_RESTRICT above, const uint8_t* OG_RESTRICT at, const uint8_t* OG_RESTRICT below,
                  int16_t* OG_RESTRICT out, int64_t n) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int16_t around = static_cast<int16_t>(above[i] + below[i] + at[i - 1] + at[i + 1]);
        out[i] =
            clamp_to(static_cast<int16_t>(4 * at[i] - around), static_cast<int16_t>(-32), static_cast<int16_t>(32));
    }
}

}  // namespace

extern const HashKernels hash_kernels;
const HashKernels hash_kernels = {
    add_row,
    residual_row,
};

}  // namespace OG_ISA
}  // namespace og
