#pragma once

#include <stdint.h>

namespace og {

/// Lanes of 8x8 blocks side by side: sample (x = k, y = v) of block l lies at [(k * 8 + v) * lanes + l].
struct DctTables {
    int16_t recip[64];  // [k * 8 + v]: 32768 / divisor of the scaled forward transform
    int16_t step[64];   // factor of the scaled inverse transform
    int16_t keep[64];   // smallest magnitude of a scaled coefficient that survives (shrink); 0 keeps all
};

struct DctKernels {
    /// Rows of interleaved samples to Y - 128, Cb, Cr (or one plane for gray).
    /// `pixels`: scratch of n words, here and below.
    void (*rgb_to_ycc)(const uint8_t* src, int channels, int64_t n, uint32_t* pixels, int16_t* y, int16_t* cb,
                       int16_t* cr);
    void (*gray_to_y)(const uint8_t* src, int64_t n, int16_t* y);
    void (*average_2x2)(const int16_t* a, const int16_t* b, int64_t half, int16_t* dst);
    /// line[8 * l + k] → dst[k * 8 * lanes + l]
    void (*spread)(const int16_t* line, int64_t blocks, int64_t lanes, int16_t* dst);
    void (*gather)(const int16_t* src, int64_t blocks, int64_t lanes, int16_t* line);
    /// Transform, quantise or shrink, transform back; `lanes` is a multiple of 32.
    void (*quantise)(int16_t* blocks, int64_t lanes, const DctTables& tables);
    void (*shrink)(int16_t* blocks, int64_t lanes, const DctTables& tables);
    void (*repeat_2)(const int16_t* src, int64_t half, int16_t* dst);
    /// Back to interleaved samples; channel 3 (alpha) is copied from `alpha_src`.
    void (*ycc_to_rgb)(const int16_t* y, const int16_t* cb, const int16_t* cr, const uint8_t* alpha_src, int channels,
                       int64_t n, uint32_t* pixels, uint8_t* dst);
    void (*y_to_gray)(const int16_t* y, int64_t n, uint8_t* dst);
    /// sum[i] += src[i]; dst[i] = (sum[i] + count / 2) / count
    void (*accumulate)(const uint8_t* src, int64_t n, uint16_t* sum);
    void (*average)(const uint16_t* sum, int64_t n, int count, uint8_t* dst);
};

}  // namespace og
