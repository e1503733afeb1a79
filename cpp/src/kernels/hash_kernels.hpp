#pragma once

#include <stdint.h>

namespace og {

/// Rows of luma.
struct HashKernels {
    /// sums[i] += row[i]
    void (*add_row)(const uint8_t* row, uint32_t* sums, int64_t n);
    /// out[i] = clip(4 at[i] - above[i] - below[i] - at[i - 1] - at[i + 1], -32, 32); at[-1] and at[n] exist
    void (*residual_row)(const uint8_t* above, const uint8_t* at, const uint8_t* below, int16_t* out, int64_t n);
};

}  // namespace og
