#pragma once

#include <stdint.h>

namespace og {

/// Rows of `n` pixels. Accumulators hold one int16 per column and sum, good for eight rows: the caller folds them.
struct ResidualKernels {
    /// One packed row of 1, 3 or 4 channels → the planes Y, U, V; `pixels` is scratch for n words.
    void (*planes_row)(const uint8_t* row, int64_t n, int channels, uint32_t* pixels, int16_t* y, int16_t* u,
                       int16_t* v);
    /// a(x) = clip(h_1) for x in [0, n): p0 and p1 are the row and the one below, n + 1 samples each.
    void (*detail_row)(const int16_t* p0, const int16_t* p1, int64_t n, int16_t* a);
    /// Adds the 18 sums of one plane: p[0..4] are the row and the four below (n + 4 samples), a[0..2] the details of the
    /// first three (n + 2 samples); sum i of column x is acc[i * stride + x].
    void (*plane_row)(const int16_t* const* p, const int16_t* const* a, int64_t n, int16_t* acc, int64_t stride);
    /// Adds the joint, phase and block sums of row y: 16 accumulator rows, 3 joint, 2 phase of Y and 2 of U by y & 1, one of
    /// horizontal steps, 8 of vertical ones by y & 7.
    void (*joint_row)(const int16_t* const* a, const int16_t* y0, const int16_t* y1, int64_t y, int64_t n, int16_t* acc,
                      int64_t stride);
    /// acc[x] += |a(x)|
    void (*magnitude_row)(const int16_t* a, int64_t n, int16_t* acc);
    /// sums[x] + sums[x + 1] = columns x to x + 15 of one accumulator row, for every x that is a multiple of 8 below n; reads
    /// 8 samples of `acc` and writes nothing of `sums` beyond n, which holds n + 4 of defined value.
    void (*fold)(const int16_t* acc, int64_t n, int32_t* sums);
    /// y[k] += x * w[k]
    void (*add_scaled)(double x, const double* w, int64_t n, double* y);
};

}  // namespace og
