// Fingerprints of a picture that nearly equal pictures share, and a sketch of its finest pattern.
//
// All are integers computed from the luma Y of views.hpp (an HxW picture is its own Y) in exact integer arithmetic.
//
//   cells     The picture is cut into n x m cells: rows floor(i H / n) .. floor((i + 1) H / n), at least one, columns
//             alike. A cell's value is floor(256 * sum / count), the mean in 8.8 fixed point. The eight rows of dHash
//             are the sums of four consecutive rows of pHash's 32.
//   dhash     8 x 9 cells; bit 63 - (8 r + c) is set when cell (r, c + 1) > cell (r, c).
//             Krawetz 2013, "Kind of like that" (difference hash).
//   phash     32 x 32 cells, D = T cells T' with T[u][x] = round(2^14 cos(pi (2x + 1) u / 64)) for u = 0..7; bit
//             63 - (8 u + v) is set when D(u, v) > the median of the 63 values other than D(0, 0); bit 63 is 0.
//             Zauner 2010, "Implementation and benchmarking of perceptual image hash functions" (DCT hash).
//   sketch    256 bits about the residual of the top-left min(H, 256) x min(W, 256) samples:
//               r(y, x) = clip(4 Y(y, x) - Y(y-1, x) - Y(y+1, x) - Y(y, x-1) - Y(y, x+1), -32, 32), border left out;
//               q = 64 r - floor(64 * mean of r over the samples with the same (y mod 8, x mod 8)), which takes away
//               the grid that JPEG leaves in every picture;
//               bit b is the sign (> 0) of the sum of s(y, x) q(y, x) over the samples with bucket(y, x) = b,
//             where z = splitmix64(256 y + x), bucket = z >> 56, s = +1 or -1 by the lowest bit of z. For two residuals of
//             correlation rho a bit agrees with probability 1 - arccos(rho) / pi (Charikar 2002), by chance 1/2.
//             None for pictures below 64 samples a side.
//
// Results are the same bits on every backend and thread count.
#pragma once

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

struct Fingerprint {
    uint64_t dhash = 0;
    uint64_t phash = 0;
    bool sketched = false;
    uint8_t sketch[32] = {};  ///< bit b is bit 7 - b % 8 of byte b / 8
};

/// Fingerprints of an HxW, HxWx3 or HxWx4 picture (alpha ignored).
Fingerprint fingerprint(const ImageView& in, const Context& context = {});

}  // namespace og
