#pragma once

#include <stdint.h>

namespace og {

/// A picture whose rows are packed, `stride` bytes apart.
struct PackedPicture {
    const uint8_t* data;
    int64_t height, width, stride;
    int channels;
};

/// Weights in 1/256, together 256, of the four samples around a place that is so many 1/64 after the second.
struct CubicWeights {
    int32_t down[64][4];
    int32_t across[64][16];  ///< each as often as a pixel has channels, then 0
};

/// Turned pixels of one call: what a few dozen rows of so many look at stays in the first-level cache.
constexpr int64_t kTurned = 64;

/// Rows of `n` = width * channels samples; `step` = channels is the distance to the neighbour of the same channel.
struct PurifyKernels {
    /// Medians of 3x3 and of 5x5 windows; rows: as many as a window has, from the uppermost on.
    void (*median_row[2])(const uint8_t* const* rows, uint8_t* dst, int64_t n, int64_t step);
    /// round(v * levels / 255) spread over 0..255 again; levels = 2^bits - 1.
    void (*bit_depth_row)(const uint8_t* src, uint8_t* dst, int64_t n, int levels);
    /// The low `bits` of a sample replaced by its high ones.
    void (*low_bits_row)(const uint8_t* src, uint8_t* dst, int64_t n, int bits);
    /// Two rows of n pixels, continued by their mirror image to `wide` (even), as wide / 2 blocks of 2 x 2 pixels: four bytes
    /// a pixel, the three colours (grey three times) and `strength`. scratch: 2 * wide words.
    void (*blocks_row)(const uint8_t* top, const uint8_t* bottom, int channels, int64_t n, int64_t wide,
                       uint8_t strength, uint32_t* scratch, uint8_t* dst);
    /// One row of n pixels less its residuals, told as 128 + r in four bytes a pixel: `side` (2 or 4) pixels j * side ... from
    /// residual + 4 * side^2 * j on. Grey loses the mean of three, rounded after each is clipped; alpha is copied.
    /// scratch: 2 * (n + 3) words.
    void (*subtract_row)(const uint8_t* src, const uint8_t* residual, int side, int channels, int64_t n,
                         uint32_t* scratch, uint8_t* dst);
    /// n turned pixels of a row, at most `kTurned`; the first lies at (x, y) of the picture, in 2^-25 pixels, and each
    /// further one (dx, dy) on.
    void (*rotate_row)(const PackedPicture& in, const CubicWeights& weights, int64_t x, int64_t y, int64_t dx,
                       int64_t dy, int64_t n, uint8_t* dst);
    /// The same of 2 x 2 neighbours in place of 4 x 4.
    void (*rotate_linear_row)(const PackedPicture& in, int64_t x, int64_t y, int64_t dx, int64_t dy, int64_t n,
                              uint8_t* dst);
};

}  // namespace og
