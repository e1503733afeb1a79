#pragma once

#include <stdint.h>

namespace og {

/// Harmonic filling by a pyramid. A level is a plane of float samples (`channels` interleaved) with a weight per pixel:
/// 1 known, 0 to be filled.
struct FillKernels {
    /// One row of the next level from two of this one: mean of the known among 2 x 2. `width` is this level's; an odd last
    /// column stands alone; `below` may equal `above`.
    void (*reduce)(const float* above, const float* below, const float* known_above, const float* known_below,
                   int64_t width, int channels, float* dst, float* known);
    /// Fills the unknown pixels of a row from the two nearest rows of the coarser level (3/4, 1/4 bilinear).
    void (*expand)(const float* near, const float* far, int64_t coarse_width, const float* known, int64_t width,
                   int channels, float* dst);
    /// Every second unknown pixel (x + y of parity `phase`) becomes the mean of its four neighbours.
    void (*relax)(const float* above, float* row, const float* below, const float* known, int64_t width, int channels,
                  int phase);
};

}  // namespace og
