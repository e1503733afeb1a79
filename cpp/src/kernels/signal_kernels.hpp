#pragma once

#include <stdint.h>

namespace og {

constexpr int kAddedRows = 257;  // 257 * 255 fits 16 bits

struct SignalKernels {
    /// Luma of `n` packed RGB pixels.
    void (*luma_row)(const uint8_t* rgb, uint8_t* dst, int64_t n);
    /// e_d of a row: `here` has d readable samples before and after its n; returns the sum, adds squares to *squares.
    uint64_t (*residual_row)(const uint8_t* above, const uint8_t* here, const uint8_t* below, int64_t d, uint8_t* dst,
                             int64_t n, uint64_t* squares);
    /// The signed residual of a row, 128 + c - [c between the middle two of its four neighbours], at most 24 either way
    /// (a payload shifts many pixels a little, edges few pixels much); returns the sum, adds its squares to *squares.
    uint64_t (*signed_row)(const uint8_t* above, const uint8_t* here, const uint8_t* below, uint8_t* dst, int64_t n,
                           uint64_t* squares);
    /// The same of c minus the mean of the four.
    uint64_t (*linear_row)(const uint8_t* above, const uint8_t* here, const uint8_t* below, uint8_t* dst, int64_t n,
                           uint64_t* squares);
    /// sums[i] += row[i], of up to kAddedRows rows
    void (*add_row)(uint16_t* sums, const uint8_t* row, int64_t n);
    /// sums[i] += part[i], and part[i] = 0
    void (*add_part)(uint32_t* sums, uint16_t* part, int64_t n);
    /// dst[i] = lowest bits of samples 8 i .. 8 i + 7, the first one in bit 7.
    void (*pack_low_bits)(const uint8_t* src, uint8_t* dst, int64_t bytes);
};

}  // namespace og
