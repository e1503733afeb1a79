// What is left of a photograph when its shapes are gone: sums of the finest-scale residual over 16x16 tiles.
//
// Planes (integers):   Y = (R + 2G + B + 2) >> 2      U = R - G      V = B - G          (grey: Y = value, U = V = 0)
// Residual of plane p at distance d (the diagonal Haar detail, undecimated; a second difference that sees no ramps):
//
//     h_d(y, x) = p(y, x) - p(y, x+d) - p(y+d, x) + p(y+d, x+d),      a = clip(h_1, +-63)
//
// A pixel counts when it has 4 neighbours to its right and below. A tile (ty, tx) sums over its counted pixels:
//
//     [0]            1                                                     how many
//     per plane, 18  |a|  a^2  |clip h_2|  |clip h_4|                      energy at three scales: spectrum slope
//                    |clip(p - right)|  |clip(p - below)|                  horizontal and vertical detail
//                    a * a shifted by (0,1) (0,2) (1,0) (2,0) (1,1)        autocorrelation: white noise or not
//                    [|a| <= 0, 1, 2, 4, 8, 16, 32]                        cumulative histogram: median, tails
//     joint, 3       aY*aU  aY*aV  aU*aV                                   correlation between channels
//     phase, 8       |aY|, |aU| where (y&1, x&1) = (0,0) (0,1) (1,0) (1,1) stride-2 patterns
//     block, 16      min(|Y - right|, 63) by x mod 8; min(|Y - below|, 63) by y mod 8      JPEG blocks
//
// noise_level: one number from the details alone. Independent Gaussian noise of standard deviation s in R, G and B makes the
// mean of |a| of U and V s / 0.4431, so
//
//     level = max(0.4431 * median over tiles of the mean of |aU| and |aV|,  0.6 * 0.6267 * first decile of mean |aY|)
//
// The first term reads s off any picture whose chroma is smooth in half of its tiles, as nearly every photograph's is. The
// second is a floor for grey pictures and for noise that all channels share, which no chroma shows: 0.6267 would read the
// noise of a flat picture, 0.6 allows for texture in nine tenths of the others. Tiles of 16, whole ones; of large pictures
// every second, third … row of tiles.
//
// ratios: what a classifier reads of a region, a rectangle of tiles. Over the region (whole) and, plane by plane, over the
// quarter of its tiles with the least |a| (quiet), with n counted pixels and s_i the sum of entry i of a plane's 18:
//
//     per plane: for whole, then quiet   e_0, e_i - e_0 (i = 2..5), e_i = log2(s_i / n + 0.02)        energies
//                                        s_0^2 / (n w), w = s_1 + 0.05 n                              1 where |a| is constant
//                                        s_i / w (i = 6..10), s_i / n (i = 11..17)                    autocorrelation, histogram
//                quantiles .05 .25 .5 .75 .95, over its tiles, of log2(mean |a| + 0.02), interpolated linearly
//     joint:     for whole, then where luma is quiet    sum(a_p a_q) / sqrt(w_p w_q) of YU, YV, UV
//     phase:     of Y, of U, p_k their four sums + 0.01 n     log2(max / min), |log2((p_0 + p_3) / (p_1 + p_2))|
//     block:     of columns, of rows, b_k their eight sums + 0.01 n     log2(max / median), log2(min / median)
//
// All sums are exact integers: the same on every backend and thread count, and those of a region are those of its tiles.
// Noise statistics of this kind: Immerkaer 1996 (the residual as noise estimator), Fridrich and Kodovsky 2012
// (doi:10.1109/TIFS.2012.2190402, residual co-occurrence as evidence of tampering).
#pragma once

#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {
namespace residual {

constexpr int kTile = 16;
constexpr int kReach = 4;
constexpr int kSums = 1 + 3 * 18 + 3 + 8 + 16;

/// Tiles along an axis of `n` pixels: every `every`-th of those that hold a counted pixel, at least one.
int64_t tiles_along(int64_t n, int64_t every = 1);

/// Fills `out` (tiles_along(height, every) x tiles_along(width, every) x kSums, row-major) with the sums of every
/// `every`-th tile of both axes, the first included: a large picture's statistics need a sample of it, no more.
void tile_sums(const ImageView& image, int64_t every, int64_t* out, const Context& context = {});

constexpr int kRatios = 3 * (2 * 18 + 5) + 2 * 3 + 4 + 4;

/// A rectangle of tiles.
struct Region {
    int64_t top, left, height, width;
};

/// Fills `out` (count x kRatios) with the ratios of `count` regions of a grid of down x across tile sums. Tiles without a
/// counted pixel do not count; of a region without any the ratios are those of a flat one.
void ratios(const int64_t* sums, int64_t down, int64_t across, const Region* regions, int64_t count, double* out);

/// The classifier of ratios: x = clip((ratio - mean) / scale, +-5); of each layer but the last x = max(x W + b, 0), of the last
/// x = x W + b, its one output; log-odds = slope x + offset. Sums run in the order of the inputs and begin at 0, b is added last.
struct Perceptron {
    struct Layer {
        std::vector<double> weights;  ///< inputs x outputs
        std::vector<double> bias;     ///< outputs
    };
    std::vector<double> mean, scale;  ///< kRatios each
    std::vector<Layer> layers;
    double slope = 1, offset = 0;

    /// False where the sizes do not fit each other, kRatios inputs and one output.
    bool fits() const;
};

/// Fills `out` (count) with the log-odds of regions, as in `ratios`.
void logits(const int64_t* sums, int64_t down, int64_t across, const Region* regions, int64_t count,
            const Perceptron& perceptron, double* out);

/// Noise level in sample values, 0 for pictures thinner than 2 pixels.
double noise_level(const ImageView& image, const Context& context = {});

}  // namespace residual
}  // namespace og
