// What a model will see: resampling, compositing and local contrast.
//
// Resampling to w' x h' maps output x to the source position  s(x) = (x + 1/2) * w / w' - 1/2  (pixel centres).
//
//   nearest          floor((x + 1/2) * w / w')                                    Pillow NEAREST, torch "nearest-exact"
//   box, bilinear,   out(x) = sum_j f((j - s(x)) / r) v(j) / sum f,  r = max(1, w / w'):  the kernel f widens with the
//   bicubic,         reduction (antialiasing). Weights in 22-bit fixed point, 8 bits between the two passes: bit-equal to
//   lanczos          Pillow 13's BOX, BILINEAR, BICUBIC (a = -1/2), LANCZOS (3 lobes). Rows are filtered first, unless
//                    h - h' > 2 (w - w') and h' < h; Pillow before 13 always filters rows first (differs by at most 1).
//   area             each output is the mean of the source area it covers, fractions counted: OpenCV INTER_AREA when
//                    reducing (within 1 of it).
//   point_nearest    floor(x * w / w')                                            OpenCV INTER_NEAREST, torch "nearest"
//   point_bilinear   the two (four) samples around s(x), however strong the reduction: OpenCV INTER_LINEAR, INTER_CUBIC
//   point_bicubic    (a = -3/4), torch interpolate(antialias=False, align_corners=False); within 1 of them.
//   corner_bilinear  the two samples around x * (w - 1) / w', result truncated: llama.cpp's own bilinear resize.
//
// point_* and corner_* skip most of a picture when they reduce it: that is what image-scaling attacks use (Quiring et al.,
// "Adversarial Preprocessing", USENIX Security 2020).
//
//   composite        out = (a v + (255 - a) b) / 255, rounded to nearest (no ties: 255 is odd); a, v, b in 0..255
//   luma             Y = (77 R + 150 G + 29 B + 128) >> 8
//   local_contrast   c in {Y, R - G, B - Y}:  out = 128 + 32 (c - mean) / (std + 2), rounded to nearest, clipped to 0..255;
//                    mean and std over the 15 x 15 window around the pixel, border mirrored without repeating the edge
//                    (reflect-101). The sums are exact integers; std comes from  225 S2 - S1^2, never negative.
//
// All results are the same bits on every backend and thread count.
#pragma once

#include <string>
#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

enum class Resampler {
    nearest,
    box,
    bilinear,
    bicubic,
    lanczos,
    area,
    point_nearest,
    point_bilinear,
    point_bicubic,
    corner_bilinear,
};

/// The kernel of a name ("nearest", "box", "bilinear", "bicubic", "lanczos", "area", "corner_bilinear"); without
/// `antialias` the first, third and fourth mean their point_* forms. Throws `Code::unsupported` where there is no such kernel.
Resampler resampler_of(const std::string& name, bool antialias);

/// Scales `in` to the size of `out` (same channels, each channel alike).
void resize(const ImageView& in, const MutableImageView& out, Resampler kernel, const Context& context = {});

/// Lays an HxWx3 picture with its HxW alpha over a colour; `out` is HxWx3.
void composite(const ImageView& rgb, const ImageView& alpha, const uint8_t background[3], const MutableImageView& out,
               const Context& context = {});

/// HxWx3 or HxWx4 (alpha ignored) to HxW.
void luma(const ImageView& in, const MutableImageView& out, const Context& context = {});

/// HxW, HxWx3 or HxWx4 (alpha ignored) to HxWx3: contrast of Y, R - G, B - Y.
void local_contrast(const ImageView& in, const MutableImageView& out, const Context& context = {});

/// One picture to be made by `build`.
struct ViewRequest {
    enum class Kind { resize, over, luma, contrast };
    Kind kind = Kind::resize;
    Resampler kernel = Resampler::bicubic;
    uint8_t colour[3] = {0, 0, 0};  ///< of `over`
    MutableImageView out;           ///< its size is the target size of `resize`
};

/// Makes every requested view of one HxWx3 picture. With `alpha` (HxW, or no data) the picture is first laid over
/// `background`, and that is what `resize`, `luma` and `contrast` look at; `over` lays it over its own colour.
void build(const ImageView& rgb, const ImageView& alpha, const uint8_t background[3],
           const std::vector<ViewRequest>& requests, const Context& context = {});

}  // namespace og
