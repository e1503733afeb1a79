#pragma once

#include <stdint.h>

namespace og {

constexpr int kBilateralGroup = 4;  // taps whose weighted samples (64 * 255 each) still add up in 16 bits

/// Weight of a sample at colour distance d (sum of absolute differences): spatial * exp(-d^2 / (2 sigma^2)). Two samples weigh
/// the same for each other: of the taps at o and -o one is listed, and its weights serve both ends.
struct BilateralTaps {
    const int64_t* offset;   // in samples of a plane
    const int16_t* spatial;  // 0..64
    int count;               // even: without its centre a disc has a multiple of four
    int16_t centre;          // spatial weight of the sample itself
    int16_t limit;           // distances above weigh as this one
    int16_t scale, factor;   // d * scale * factor / 32768 = 32768 * d / (2 sqrt(32) sigma) < 16384
};

struct EdgeKernels {
    /// One row to int16 planes with `pad` mirrored samples (reflect-101) on both sides; alpha is left out.
    void (*planes)(const uint8_t* src, int channels, int64_t n, int pad, uint32_t* pixels, int16_t* const* planes);
    /// weights[t * stride + i] = weight of sample i of a row, which planes[c] point at, and its tap t, i in [0, n).
    void (*bilateral_weights)(const int16_t* const* planes, int channels, int64_t n, const BilateralTaps& taps,
                              uint16_t* weights, int64_t stride);
    /// planes[c] points at sample 0 of the row to filter, ahead[t] and back[t] at the weights of sample 0 with its neighbour at
    /// taps.offset[t] and at -taps.offset[t]. sums: 4 * n words. alpha_src: where channel 3 comes from.
    void (*bilateral_row)(const int16_t* const* planes, int channels, int64_t n, const BilateralTaps& taps,
                          const uint16_t* const* ahead, const uint16_t* const* back, uint32_t* sums,
                          const uint8_t* alpha_src, uint8_t* dst);
    /// Self-guided filter, per sample: a in 1/4096, b in 1/16, from window sums of `count` samples.
    void (*guided_terms)(const int32_t* s1, const int32_t* s2, int64_t n, int count, float eps, int32_t* a, int32_t* b);
    void (*guided_out)(const uint8_t* src, const int32_t* a, const int32_t* b, int64_t n, int count, uint8_t* dst);
    /// s1 += add - sub, s2 += add^2 - sub^2 (sub may be null).
    void (*sums_u8)(const uint8_t* add, const uint8_t* sub, int64_t n, int32_t* s1, int32_t* s2);
    void (*sums_i32)(const int32_t* add, const int32_t* sub, int64_t n, int32_t* sum);
    /// dst[i] = sum of src[i + k * step], k in [0, taps)
    void (*window)(const int32_t* src, int64_t n, int64_t step, int taps, int32_t* dst);
};

}  // namespace og
