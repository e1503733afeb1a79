#pragma once

#include <stdint.h>

namespace og {

struct TypographicKernels {
    /// Grey or RGB samples → planes Y, R - G, B - Y of n values each.
    void (*split_row)(const uint8_t* src, int64_t n, int channels, int16_t* y, int16_t* rg, int16_t* by);
    /// Column sums of values and squares: adds row `in` and takes row `out` away (null: nothing leaves).
    void (*slide_rows)(const int16_t* in, const int16_t* out, int32_t* sum, int32_t* square, int64_t n);
    /// Local contrast from column sums: value i uses sums i .. i + 14 and becomes byte `plane` of dst[i], byte 0 being v
    /// itself when plane = 1 (the word is then started afresh). scratch: 3 * (n + 16) int32.
    void (*contrast_row)(const int16_t* v, const int32_t* sum, const int32_t* square, int64_t n, int plane,
                         uint32_t* dst, int32_t* scratch);
    /// Luma of n packed pixels of 1 or 3 channels; `pixels` is scratch for n words.
    void (*luma_row)(const uint8_t* src, int64_t n, int channels, uint32_t* pixels, uint8_t* y);
    /// sum[i] += in[i] - out[i]; null: nothing comes, nothing leaves.
    void (*slide_row)(const uint8_t* in, const uint8_t* out, int32_t* sum, int64_t n);
    /// dark[i] = whether y[i] lies more than 5 levels below the mean of wide[i] * tall samples, which sum to to[i] - from[i].
    void (*dark_row)(const uint8_t* y, const uint32_t* from, const uint32_t* to, const int32_t* wide, int32_t tall,
                     int64_t n, uint8_t* dark);
    /// n 4-byte pixels, 4 to a cell: dst[64 * cell + 0..15].
    void (*pack_row)(const uint32_t* src, int64_t n, uint8_t* dst);
    /// One output row: dst[i] = mean of taps x taps bilinear samples around (x0 + i dx, y0 + i dy), steps along u and v.
    void (*strip_row)(const uint8_t* src, int64_t height, int64_t width, int64_t row_stride, int channels, float x0,
                      float y0, float dx, float dy, float ux, float uy, float vx, float vy, int taps, int64_t n,
                      uint8_t* dst);
};

}  // namespace og
