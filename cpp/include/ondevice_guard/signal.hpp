// signal.hpp: statistics that score an image.
//
// Sampling grid (image-scaling attacks; Xiao et al. 2019, Quiring et al. 2020). A resize without antialiasing from W to
// w pixels reads only columns near i W/w, so a payload for it sits at the crossings of periodic columns and rows. Let
//
//     L = (R + 2G + B + 2) / 4                                          luma
//     e_d(y, x) = distance of L(y, x) from the middle interval [m2, m3] of the four sorted L(y ± d, x), L(y, x ± d)
//
// for d = 1 and 2: how far a pixel sticks out of its surroundings. One altered pixel raises its own e and hardly its
// neighbours'. For a pair of frequencies (f_y, f_x) rows and columns are put into 8 bins by phase, frac(8 f y). With
// mean energies m11 over sampled rows x sampled columns, m10, m01 and m00 over the other three parts,
//
//     cross = (m11 + s)(m00 + s) / ((m10 + s)(m01 + s))      lead = (m11 + s) / (max(m10, m01, m00) + s)      s = 1/20
//     log_ratio = ln min(cross, lead²)                       z = log_ratio / (cv / sqrt(n11))
//
// is near 0 on photographs, grain and texture, whose energy does not depend on the phase, and on JPEG blocks and
// upscaled pictures, whose energy is a product of a row and a column pattern. On an attack it is ln of the factor by
// which sampled pixels stick out. cross is the same for both complements of the sampled parts, and large where one part
// is smoother than the others; lead is not. cv is the coefficient of variation of e over the picture. A faint payload hides in the spread of texture, but not in its mean: with e_1 signed (positive above m3,
// negative below m2, at most 24), and the four means of that,
//
//     shift = m11 - m10 - m01 + m00      shift_z = shift / (sigma sqrt(1/n11 + 1/n10 + 1/n01 + 1/n00))
//
// grows with the payload's mean contrast times the root of the number of sampled pixels: 11 to 230 standard errors at a
// tenth of full opacity. Sampled pixels raise (or lower) the rows and columns they lie in by themselves, too. With c the share of
// columns, r of rows that are sampled, a grid counts only if
//
//     (mean of the sampled rows - mean of the others) >= 0.6 c |cross'|     and     (columns) >= 0.6 r |cross'|
//
// in the direction of cross' = m11 - m10 - m01 + m00, of e as of the signed residual. Patterns of a chessboard's kind, which a
// sensor's colour filters, ordered dither and weaves leave, alternate along rows and columns at once and along neither alone.
//
// Of all grids tried the one with the largest
//
//     evidence = max(log_ratio sqrt(min(z, 60)) / 1.83, |shift_z| / 7)
//
// is kept, shifts below 0.05 grey levels aside, which large smooth pictures have of their own: z alone prefers multiples of the true frequency once sampled pixels stick out sixteenfold, log_ratio alone
// prefers chance in small samples. benchmarks/scaling.py measures the evidence of photographs and of attacks.
//
// Of a picture above 2^20 pixels bands of 64 rows are looked at, evenly spread. Frequencies tried: multiples of 1/8, and
// those k / N of the discrete Fourier transforms of the row and column sums of each residual (N values) whose power
// exceeds 12 times the median power around them; a resize of N to k pixels has exactly k / N. Each is paired with those
// of the other axis, and with the same ratio there.
//
// Reconstruction (after Quiring et al. 2020). A resize of N to n pixels without antialiasing gives line i of N the
// exposure
//
//     e(i) = largest |weight| of i in any of the n samples       sample j reads, with r = N / n,
//         one pixel at floor((j + p/8) r), p = 0 … 7             (nearest; p = 4: Pillow)
//         two around (j + 1/2) r - 1/2                           (bilinear)
//         four around it                                         (bicubic, a = -3/4: OpenCV, torch)
//
// The frequencies found may be multiples or aliases of the true ones, so sizes n = N (j ± f) / m, m <= 4, are tried with
// every reader. With a bar for what is less its mean and hats for unit length, exposures p of the rows and q of the columns
// fit a residual E by
//
//     z = min(|bar(p)^ · E · bar(q)^|, |bar(p q)^ · E|) / rms(E),     E = c - mean of its four neighbours, e_1 signed, e_1, e_2;
//
// the first is the same for both complements, the second counts rows and columns that stand out by themselves.
// Of all sizes with at least 0.85 of the largest z that with the fewest pixels is taken (a payload fits multiples of its
// size, not fractions), with its best reader. Pixels with e(y) e(x) > 0.03 are rebuilt: a payload of least change has
// amplitude e(y) e(x) and is read with weight e(y) e(x), so what is kept carries at most 0.03² of it a pixel. Bilinear and
// bicubic fit each other's payloads, so the wider is taken where it keeps an eighth of the picture and one line of any nine:
// over a wider gap nothing of the picture could be interpolated.
//
//     one tap:    a rebuilt pixel is a copy of one of the nearest kept ones, drawn by its place;
//     more taps:  the picture is interpolated linearly from rows and columns with e² <= 0.03, one axis after the other.
//
// What is interpolated spreads what it carries: with K the bicubic resize, X the kept values, s(X) the picture interpolated
// from them and T = K^T K (x - s(X)) over the samples' squares, read where X is, the outer taps of a bicubic payload leave
// about T in X, those of a bilinear one nothing. The regression g of X on T, of what each value has beyond its four
// neighbours, tells which: from 0.4 on s(X - min(g, 1.5) T) is handed out.
//
// Neither leaves a grid behind: copies have their surroundings' grain, and the energy of the other is a product. The
// grid that then stands out is mended too while its evidence is at least 1. A round that leaves such a grid and less than a
// quarter off the evidence is undone; the size with the largest z is tried in place of the one with the fewest pixels, and
// when that takes off no more, it was the last one: so what comes out has evidence below 1, or is its own reconstruction,
// and sanitizing it again changes nothing. Nothing can be rebuilt where a kernel spares no pixel (bilinear and bicubic at
// ratio 2): such a payload is an overlay that everyone sees, and sizes from n = N / 2 on are tried with one tap alone.
//
// Low bits. The lowest bits of consecutive samples are packed into bytes in 8 orders ({RGB, R, G, B} x first sample in the
// highest or the lowest bit) and searched for printable ASCII.
#pragma once

#include <string>
#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

/// The sampling grid that stands out most; all zero when the picture is smaller than 48 pixels on a side.
struct SamplingGrid {
    double evidence = 0;                      ///< >= 0; 0 = no grid, 1 = where the default threshold lies
    double log_ratio = 0;                     ///< >= 0; 0 = no grid
    double z = 0;                             ///< standard errors by which log_ratio exceeds 0
    double shift = 0;                         ///< grey levels
    double shift_z = 0;                       ///< standard errors by which it differs from 0
    double frequency_y = 0, frequency_x = 0;  ///< cycles per pixel, in [1/12, 1/2]
};

/// `image` is HxWx3 or HxW.
SamplingGrid sampling_grid(const ImageView& image, const Context& context = {});

/// Rebuilds the picture from the pixels that the resize of the grid that stands out most does not read. Returns that
/// grid; a picture without one (evidence 0) is copied.
SamplingGrid reconstruct(const ImageView& in, const MutableImageView& out, const Context& context = {});

struct LowBitText {
    const char*
        order;  ///< "rgb", "r", "g", "b" or "grey", then "-lsb" when the first sample is the lowest bit of a byte
    std::string text;  ///< printable ASCII, at most 4096 characters
};

/// The longest run of at least 32 printable characters of each order, 10 or more of them different. HxWx3 or HxW.
std::vector<LowBitText> low_bit_text(const ImageView& image);

}  // namespace og
