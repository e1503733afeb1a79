#pragma once

#include <stdint.h>

namespace og {

/// Rows of `n` = width * channels samples; `step` = channels is the distance to the neighbour of the same channel.
struct PurifyKernels {
    /// rows[0..2]: the rows above, at and below; scratch: 3 * (n + 2 * step) bytes.
    void (*median3_row)(const uint8_t* const* rows, uint8_t* dst, int64_t n, int64_t step, uint8_t* scratch);
};

}  // namespace og
