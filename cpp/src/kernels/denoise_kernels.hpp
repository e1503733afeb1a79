#pragma once

#include <stdint.h>

namespace og {

constexpr int kNlmRows = 32;      // rows and
constexpr int kNlmColumns = 256;  // pixels of a tile: its sums stay in the second-level cache
constexpr int kNlmPatch = 3;      // radius of the patches that are compared

/// One tile against itself moved by one displacement.
struct NlmTile {
    const int16_t* plane[3];  // sample (0, 0) of the tile in each plane
    int planes;
    int64_t stride;  // of the planes
    int64_t moved;   // displacement, in samples of a plane
    int64_t rows, columns;
    float scale;      // y = scale * sum of squared differences over the patch = z / 16
    int32_t* column;  // columns + 2 * kNlmPatch words
    int32_t* ring;    // (2 * kNlmPatch + 1) * (columns + 2 * kNlmPatch) words
    float* weights;   // rows * columns
    float* sums[3];
};

struct DenoiseKernels {
    /// u = f - p0 - p1 + p0 of the row above + p1 of the left; u gets its last pixel repeated once.
    void (*tv_image)(const uint8_t* f, const float* p0, const float* p0_above, const float* p1, int64_t n, int64_t step,
                     float* u);
    /// p -= tau grad u; p /= 1 + factor |grad u|
    void (*tv_dual)(const float* u, const float* u_below, int64_t n, int64_t step, float tau, float factor, float* p0,
                    float* p1);
    void (*to_samples)(const float* u, int64_t n, uint8_t* dst);
    void (*nlm_displacement)(const NlmTile& tile);
    void (*nlm_row)(const float* const* sums, const float* weights, int channels, int64_t n, const uint8_t* alpha_src,
                    uint8_t* dst);
    /// Two rows of 2 * half samples to sums and differences (Haar, not normalised).
    void (*haar)(const int16_t* a, const int16_t* b, int64_t half, int16_t* ll, int16_t* lh, int16_t* hl, int16_t* hh);
    int64_t (*sum_of_squares)(const int16_t* row, int64_t n);
    /// The way back, the three detail bands shrunk softly first.
    void (*unhaar)(const float* ll, const int16_t* lh, const int16_t* hl, const int16_t* hh, const float* thresholds,
                   int64_t half, float* a, float* b);
    /// Every step-th (1, 3 or 4) of step * n samples.
    void (*channel)(const uint8_t* from, int64_t step, int64_t n, int16_t* to);
    void (*add)(const float* from, int64_t n, float* to);
    /// from * share, rounded, into every step-th of step * n samples.
    void (*to_channel)(const float* from, float share, int64_t n, int64_t step, uint8_t* to);
};

}  // namespace og
