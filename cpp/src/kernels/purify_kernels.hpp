#pragma once

#include <stdint.h>

namespace og {

/// Rows of `n` = width * channels samples; `step` = channels is the distance to the neighbour of the same channel.
struct PurifyKernels {
    /// rows[0..2]: the rows above, at and below; scratch: 3 * (n + 2 * step) bytes.
    void (*median3_row)(const uint8_t* const* rows, uint8_t* dst, int64_t n, int64_t step, uint8_t* scratch);
    /// rows[0..4]: two above to two below; scratch: 5 * (n + 4 * step) bytes.
    void (*median5_row)(const uint8_t* const* rows, uint8_t* dst, int64_t n, int64_t step, uint8_t* scratch);
    /// round(v * levels / 255) spread over 0..255 again; levels = 2^bits - 1.
    void (*bit_depth_row)(const uint8_t* src, uint8_t* dst, int64_t n, int levels);
    /// The low `bits` of a sample replaced by its high ones.
    void (*low_bits_row)(const uint8_t* src, uint8_t* dst, int64_t n, int bits);
};

}  // namespace og
