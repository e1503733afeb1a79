// Filters that remove what a photograph does not need and an attack does.
//
// All take and give uint8 HxWxC pictures of equal shape, may run in place, and return the same bits on every backend and
// thread count. Unless it says otherwise every channel is treated alike.
//
//   median(k)       out(y, x) = the middle one of the k x k samples around (y, x), k = 3 or 5; border replicated (bit-equal to
//                   OpenCV's medianBlur). Feature squeezing: Xu, Evans, Qi 2018 (arXiv 1704.01155).
//   bit_depth(b)    round(v (2^b - 1) / 255) * 255 / (2^b - 1), rounded. Same source.
//   low bits(b)     v = the high 8 - b bits, repeated into the low ones: what the low bits carried is gone, black and white
//                   stay black and white, a second pass changes nothing.
//   dct_quantise(q) JPEG without entropy coding. Y = (77 R + 150 G + 29 B) / 256, Cb, Cr likewise; chroma averaged 2 x 2
//                   (4:2:0); 8 x 8 DCT c; c -> Q round(c / Q), Q from ITU-T T.81 annex K scaled by quality like libjpeg; back.
//                   The transform is Arai, Agui, Nakajima's, in 16-bit fixed point: forward results are 8 s c, s the product
//                   of the two axes' scale factors (0.08 to 1.92), below 15,800 for 8-bit samples; the inverse works in
//                   quarters, 4 s c, with a headroom of four. Q is moved to the nearest whole multiple of 1 / (4 s), so that
//                   both directions agree; that is 3.3 at the highest frequency, below what qualities under 95 ask for.
//                   shifts > 1 averages that many positions of the block grid (Nosratinia 2001: removes block edges).
//   dct_shrink(t)   the same transform at 4:4:4 with every c of magnitude < t (but the mean) set to 0, averaged over shifts
//                   (Yu, Sapiro 2011, "DCT image denoising").
//   bilateral       sum_q w v(q) / sum_q w over the disc of radius r,  w = exp(-|q - p|^2 / 2 sigma_space^2) *
//                   exp(-d^2 / 2 sigma_color^2), d = sum over channels of |v(p) - v(q)|; border reflect-101: OpenCV's
//                   bilateralFilter(2 r + 1, sigma_color, sigma_space). Weights are multiples of 1/64 from
//                   exp(-z) ~ (1 - z/16 + (z/16)^2 / 2)^16: within 1 of OpenCV for 99 % of samples, see the test. Alpha is
//                   copied. Tomasi, Manduchi 1998.
//   guided          He, Sun, Tang 2010 with the picture as its own guide, each channel alone: a = var / (var + eps),
//                   b = (1 - a) mean over (2 r + 1)^2 windows, out = mean(a) v + mean(b); border reflect-101; a in 1/4096,
//                   b in 1/16, sums exact.
//   total_variation argmin_u |u - f|^2 / 2 + w |grad u|_1, each channel alone, by Chambolle's dual iteration with step 1/4
//                   (Chambolle 2004), samples in [0, 1]: scikit-image's denoise_tv_chambolle(f, w, eps=0, max_num_iter=N),
//                   within 1. Single precision; the order of every sum is fixed.
//   nlm             non-local means (Buades, Coll, Morel 2005): sum_q w v(q) / sum_q w over the (2 s + 1)^2 window,
//                   w = exp(-D / (49 C h^2)), D = squared difference of the 7 x 7 patches over C channels; border
//                   reflect-101: OpenCV's fastNlMeansDenoising(h, 7, 2 s + 1). exp as for bilateral (weights below
//                   exp(-6) up to 60 % too large): within 2 of the exact filter, see the test. Alpha is copied.
//   wavelet_shrink  Haar, 3 levels, soft threshold sigma^2 / sqrt(max(E[c^2] - sigma^2, 0)) per band (BayesShrink: Chang, Yu,
//                   Vetterli 2000), averaged over shifts of the grid; sigma = median |finest diagonal| / 0.6745 where it is
//                   not given. Statistics are exact integers.
//   resize_pad      the picture scaled to a random fraction of each side (bilinear, antialiased), laid at a random place on a
//                   canvas of the old size, edges repeated outwards: Xie et al. 2018 (arXiv 1711.01991), who pad with black.
//                   Draws 0 and 1 of the seed give height and width, 2 and 3 the place (random.hpp).
//   rotate          the picture turned about its centre c, size kept: out(p) = sum over the 4 x 4 neighbours i of q of
//                   k(i_x - q_x) k(i_y - q_y) v(i), q = c + R (p - c), k: cubic convolution with a = -1/2 (Keys 1981); border
//                   reflect-101. q in 1/64 pixel, weights in 1/256, sums exact. With 2 taps the 2 x 2 neighbours, k(t) =
//                   1 - |t|, weights in 1/64, down first, rounded to quarters between. Alpha is turned with the colours.
//   blocks          what the networks (purifier_v1, purifier_small_v1 and denoiser_v1 of models/) read: of each 2 x 2 block its
//                   four pixels (dy, dx), of each pixel R, G, B and min(255, round(4 level)); sides continued by their mirror
//                   image to multiples of 16.
//   subtract        its answer r, laid out alike or in blocks of 4 x 4, taken from the picture: clip(v - (r - 128)). Large
//                   pictures go through the network in tiles that overlap by what it can see.
//   fill            inpaint: the discrete Laplace equation with the surroundings as boundary, by a pyramid of averages of known
//                   pixels and 8 red-black sweeps a level; blur: means over cells as wide as the region is narrow; box: black.
//                   A pixel is replaced when its centre lies in a quadrilateral (even-odd rule; of two that share an edge,
//                   one owns it); for inpaint and box the result does not depend on any pixel that is replaced.
#pragma once

#include <array>
#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

/// Median of the size x size window (3 or 5), border replicated.
void median(const ImageView& in, const MutableImageView& out, int size, const Context& context = {});

/// Keeps `bits` (1-8) bits of every sample.
void bit_depth(const ImageView& in, const MutableImageView& out, int bits, const Context& context = {});

/// Overwrites the low `bits` (1-4) of every sample with its high ones.
void reset_low_bits(const ImageView& in, const MutableImageView& out, int bits, const Context& context = {});

/// What a JPEG round trip of this quality (1-100) does, without the entropy coding. `subsample`: 4:2:0, else 4:4:4.
/// `shifts` (1, 2, 4, 8): mean over that many positions of the block grid. Alpha is copied.
void dct_quantise(const ImageView& in, const MutableImageView& out, int quality, bool subsample, int shifts,
                  const Context& context = {});

/// Sets every coefficient (but the mean) below `threshold` (0-1024) to zero, averaged over `shifts` grids. Alpha is copied.
void dct_shrink(const ImageView& in, const MutableImageView& out, double threshold, int shifts,
                const Context& context = {});

/// Bilateral filter over the disc of `radius` (1-8). Alpha is copied.
void bilateral(const ImageView& in, const MutableImageView& out, int radius, double sigma_color, double sigma_space,
               const Context& context = {});

/// Self-guided filter, windows of radius 1-16; `eps` is a variance in squared sample values.
void guided(const ImageView& in, const MutableImageView& out, int radius, double eps, const Context& context = {});

/// Total variation, Chambolle's iterations (1-200); weight 0.001-10.
void total_variation(const ImageView& in, const MutableImageView& out, double weight, int iterations,
                     const Context& context = {});

/// Non-local means, patches 7 x 7, displacements up to `search` (1-20); h 0.1-255.
void nlm(const ImageView& in, const MutableImageView& out, double h, int search, const Context& context = {});

/// Haar wavelet shrinkage; sigma in sample values, -1 estimates it per channel; `shifts` 1, 2 or 4.
void wavelet_shrink(const ImageView& in, const MutableImageView& out, double sigma, int shifts,
                    const Context& context = {});

/// Random scale in [smallest, 1] (0.5-1) and random place, both functions of `seed`.
void resize_pad(const ImageView& in, const MutableImageView& out, double smallest, uint64_t seed,
                const Context& context = {});

/// Turns by `degrees` (-45 to 45), counter-clockwise where rows run down; `taps`: neighbours each way, 4 (bicubic) or 2.
void rotate(const ImageView& in, const MutableImageView& out, double degrees, int taps, const Context& context = {});

constexpr int64_t kBlockGrid = 16;  // pixels: a multiple of the coarsest grid of the networks
constexpr int64_t kBlockHalo = 48;  // pixels, a multiple of the grid: nothing further away has a part in any answer
constexpr double kStepsPerLevel = 4;

/// Blocks along a side of `n` pixels.
constexpr int64_t blocks_along(int64_t n) {
    return (n + kBlockGrid - 1) / kBlockGrid * (kBlockGrid / 2);
}

/// Rows [top, bottom) and columns [left, right) of a picture that the network answers for, and what it has to see for that.
struct Tile {
    int64_t top, bottom, left, right;
    int64_t halo_top, halo_bottom, halo_left, halo_right;
};

/// Cuts a picture into tiles of `most` pixels or less (before their halo; at least one grid cell); all begin on the grid.
/// `halo`: pixels, a multiple of the grid.
std::vector<Tile> tiles(int64_t height, int64_t width, int64_t most = int64_t{1} << 21, int64_t halo = kBlockHalo);

/// Fills `out` (blocks_along(height) x blocks_along(width) x 16) for a picture of this noise level (sample values, >= 0).
/// Grey counts as three equal colours, alpha is left out.
void blocks(const ImageView& in, double level, uint8_t* out, const Context& context = {});

/// Takes residuals from a picture whose top left pixel belongs to the block at `residual`; `row_stride`: bytes from one row of
/// blocks to the next; `side`: pixels along a block, 2 or 4. Grey loses the mean of three (each clipped first); alpha is copied.
void subtract(const ImageView& in, const uint8_t* residual, int64_t row_stride, int side, const MutableImageView& out,
              const Context& context = {});

/// x0, y0 … x3, y3: corners in pixels, (0, 0) at the top-left corner of the picture; may reach outside it.
using Quad = std::array<double, 8>;
enum class FillMethod { inpaint, blur, box };

/// Replaces the regions and touches nothing else.
void fill(const ImageView& in, const MutableImageView& out, const std::vector<Quad>& quads, FillMethod method);

}  // namespace og
