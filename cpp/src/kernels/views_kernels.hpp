#pragma once

#include <stdint.h>

namespace og {

/// Rows of a picture that the horizontal pass turns on their side and filters together.
constexpr int kLanes = 32;
/// Bits of a filter weight: sums of weights may reach 2, samples take 8 bits, the sign one (Pillow's choice).
constexpr int kWeightBits = 22;
/// Taps are added four at a time; weights are padded with zeros to a multiple of it.
constexpr int kTapGroup = 4;
/// Radius of the local-contrast window.
constexpr int kContrastRadius = 7;

/// Weights of one axis: output i is the sum of weights[i * stride + j] * source[first[i] + j], j < taps.
struct Axis {
    const int32_t* first;
    const int32_t* taps;     // multiples of kTapGroup
    const int32_t* weights;  // kWeightBits fixed point
    int64_t stride;
    int64_t size;
};

struct ViewsKernels {
    /// Filters kLanes rows along x. `turned`: (width + 2 * kTapGroup) * channels * kLanes bytes, `result`: axis.size *
    /// channels * kLanes bytes. The caller repeats a row where fewer than kLanes are left.
    void (*resample_rows)(const uint8_t* const* rows, uint8_t* const* dst, int64_t width, int channels,
                          const Axis& axis, uint8_t* turned, uint8_t* result);
    /// dst[i] = weighted sum over `taps` rows (a multiple of kTapGroup).
    void (*resample_columns)(const uint8_t* const* rows, const int32_t* weights, int taps, uint8_t* dst, int64_t n);
    /// dst[x, c] = src[first[x], c] for the two-sample kernels: a + (b - a) * t.
    void (*lerp_row)(const uint8_t* src, const int32_t* a, const int32_t* b, const float* t, int64_t width,
                     int channels, float* dst);
    void (*lerp_columns)(const float* a, const float* b, float t, float bias, uint8_t* dst, int64_t n);
    /// Four samples: positions and weights of output x at [4 * x].
    void (*cubic_row)(const uint8_t* src, const int32_t* at, const float* weights, int64_t width, int channels,
                      float* dst);
    void (*cubic_columns)(const float* const* rows, const float* weights, uint8_t* dst, int64_t n);
    void (*nearest_row)(const uint8_t* src, const int32_t* at, int64_t width, int channels, uint8_t* dst);
    void (*composite_row)(const uint8_t* rgb, const uint8_t* alpha, const uint8_t* background, uint8_t* dst, int64_t n);
    void (*luma_row)(const uint8_t* src, int channels, uint8_t* dst, int64_t n);
    /// planes: three int16 rows (Y, R - G, B - Y), `stride` apart.
    void (*contrast_planes)(const uint8_t* src, int channels, int16_t* planes, int64_t stride, int64_t n);
    /// s1 += add - sub, s2 += add^2 - sub^2 (sub may be null: only add).
    void (*contrast_sums)(const int16_t* add, const int16_t* sub, int32_t* s1, uint32_t* s2, int64_t n);
    /// s1, s2: column sums with kContrastRadius mirrored entries on both sides; scratch: 2 * (n + 16) words.
    void (*contrast_row)(const int16_t* plane, const int32_t* s1, const uint32_t* s2, uint32_t* scratch, uint8_t* dst,
                         int64_t n);
    void (*interleave3)(const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* dst, int64_t n);
};

}  // namespace og
