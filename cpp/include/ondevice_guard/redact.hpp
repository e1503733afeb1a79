// Redaction: what a plan takes out of a picture, and nothing else.
//
// A region is a polygon of corners (x, y) in pixels. Pixel (row i, column j) belongs to it when its centre
// (j + 1/2, i + 1/2) lies inside by the even-odd rule; a centre exactly on an edge belongs to the side whose span starts
// there, so that two regions that share an edge share no pixel. M is the union of all regions. Pixels outside M keep
// their value, bit for bit. Inside M:
//
//   inpaint  push-pull interpolation (Gortler et al., The Lumigraph, SIGGRAPH 1996), then relaxation towards the
//            harmonic function that continues the surroundings:
//              push  w'(I) = min(1, sum w),  c'(I) = sum w c / sum w     over the 2x2 children of I; w = 1 outside M, 0 in it
//              pull  c(i)  = w c(i) + (1 - w) c'(i/2)
//              relax c(i)  = (c(N) + c(S) + c(W) + c(E)) / 4 for i in M, kRelaxations times, reflected at the border
//            Where M is the whole picture, its mean colour.
//   blur     a running mean of radius max(8, h/2) (h: height of the region's bounding box, at most 64), three times per
//            axis, which leaves strokes narrower than the radius below one grey level of contrast.
//   box      the mean colour of the region's pixels.
//
// Arithmetic: IEEE float in the order written here, no contraction; results rounded half up and the same on every
// machine. Cost: proportional to the regions' bounding boxes, not to the picture.
//
// reset_low_bits: v' = (v & ~(2^k - 1)) | 2^(k-1), the middle of what the k low bits could have said.
#pragma once

#include <array>
#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

using Polygon = std::vector<std::array<double, 2>>;

enum class FillMethod { inpaint, blur, box };

/// Writes `in` with every region filled to `out` (same shape; may not overlap `in`). Parts of regions that lie outside
/// the picture are ignored. Throws `unsupported` for a coordinate that is not finite or a region of under 3 corners.
void fill(const ImageView& in, const MutableImageView& out, const std::vector<Polygon>& regions, FillMethod method);

/// Writes `in` with the `bits` low bits of every sample replaced to `out`. Throws `unsupported` unless 1 <= bits <= 7.
void reset_low_bits(const ImageView& in, const MutableImageView& out, int bits, const Context& context = {});

}  // namespace og
