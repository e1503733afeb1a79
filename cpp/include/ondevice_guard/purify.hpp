// Filters that remove what a photograph does not need and an attack does.
//
// All take and give uint8 HxWxC pictures of equal shape, treat every channel alike, may run in place, and return the
// same bits on every backend and thread count.
//
//   median(k)   out(y, x) = the middle one of the k*k samples around (y, x); the border is replicated.
//               k = 3 or 5. Feature squeezing: Xu, Evans, Qi 2018 (arXiv 1704.01155), section "spatial smoothing".
#pragma once

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

/// Median of the size x size window (3 or 5), border replicated.
void median(const ImageView& in, const MutableImageView& out, int size, const Context& context = {});

}  // namespace og
