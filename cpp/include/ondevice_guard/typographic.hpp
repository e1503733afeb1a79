// Where writing is: what goes into the text-map network, what comes out of it, and lines cut out for the line reader.
//
//   patches    For every pixel: luma Y = (77 R + 150 G + 29 B + 128) >> 8, and for v = Y, R - G, B - Y the local contrast
//
//                  k(v) = clip(floor(128.5 + 32 (v - m) / (s + 2)), 0, 255),   m, s = mean and deviation over 15 x 15
//
//              around it, border reflected without repeating the edge (replicating it draws false lines there). Sums are
//              integers. 4x4 pixels become one cell of 64 bytes, channel = dy * 16 + dx * 4 + {Y, k(Y), k(R-G), k(B-Y)}, since
//              int8 convolutions on 4-channel pixels spend their time gathering. Height and width are padded to multiples
//              of 32 by the same reflection.
//
//   tiling     Cells of one 32x32 block, the network's coarsest stride, depend on nothing further than 171 pixels before the block
//              and 143 behind it. Backwards from an answer at stride s, in cells of that stride: a 3x3 convolution takes one
//              cell more on both sides; one of stride 2 turns [a, b] into [2a - 1, 2b + 1] of the finer map; doubling a map
//              turns it into [floor(a / 2), floor(b / 2)] of the coarser. From the four cells [0, 3] at stride 8: 3x3 [-1, 4],
//              doubled [-1, 2], 3x3 [-2, 3], doubled [-1, 1], two 3x3 [-3, 3], stride 2 [-7, 7], two 3x3 [-9, 9], stride 2
//              [-19, 19], 3x3 [-20, 20], stride 2 [-41, 41] cells of 4 pixels = [-164, 167]; then 7 pixels of local contrast:
//              [-171, 174], and 174 lies 143 pixels behind the block. So tiles that reach 192 pixels before what is kept of
//              them and 160 behind, cut at multiples of 32, give the answer of the whole picture, bit for bit.
//
//   find_lines The network's answer, uint8 logits q = zero + x / scale, h x w cells of 8 pixels x 14 channels: text, overlay
//              and core of the four 4-pixel cells (dy * 2 + dx), and the reading direction (cos, sin). Connected components
//              (8 neighbours) of core logit > threshold are pieces of lines. A piece's axis is the larger eigenvector of
//              its cells' covariance, or the mean reading direction where it is not elongated; it points along the
//              reading direction. Its height is sqrt(12 var + 1) cells (the height of a uniform bar of that variance),
//              divided by the core's share of a line (0.4), and its ends lie 0.3 heights beyond the core's. Short pieces
//              (digits, single letters) take the direction of the picture's long ones where those agree. Pieces on one
//              axis, of like height, less than a wide space apart (further where the map sees text in between) are one
//              line, fitted anew to the cells of all.
//
//   rectify    A line's quadrilateral (clockwise from the start of the line) mapped bilinearly to an upright grey strip
//              of fixed height; width = height * length / line height. Each output pixel averages n x n bilinear samples,
//              n = the reduction rounded up, at most 8.
//
//   find_qr    Runs of dark-light-dark-light-dark in proportion 1:1:3:1:1 on a row, confirmed on the column through their
//              centre, are finder patterns (ISO/IEC 18004); three of like size at the corners of a right isosceles
//              triangle, whose 3 x 49 modules agree with the pattern to 85 %, are a code.
#pragma once

#include <array>
#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

struct PointF {
    float x, y;
};
using QuadF = std::array<PointF, 4>;

/// Cells of `patches`: height and width rounded up to multiples of 32, divided by 4.
inline int64_t patch_cells(int64_t pixels) {
    return (pixels + 31) / 32 * 8;
}

/// The network's input for a grey or RGB picture; `out` holds patch_cells(height) x patch_cells(width) x 64 bytes.
void patches(const ImageView& in, uint8_t* out, const Context& context = {});

/// One side of a tile: the pixels looked at, [begin, end), and those of them whose answer is kept, [first, last). All but the
/// end of the picture are multiples of 32.
struct Span {
    int64_t begin, end, first, last;
};

/// A picture as tiles: every span of `down` with every span of `across`.
struct Tiling {
    std::vector<Span> down, across;
};

/// The whole for a picture of up to `most` pixels; else, of the grids whose tiles have no more (padded to multiples of 32), the
/// one that looks at the fewest pixels. `most` must be at least 384 x 384, one block with what lies around it.
Tiling tiling(int64_t height, int64_t width, int64_t most);

/// One line of writing.
struct Line {
    QuadF quad;       ///< in pixels, clockwise from the start of the line
    float text;       ///< mean probability over the line's core, in [0, 1]
    float overlay;    ///< likewise, of having been put on the picture
    float core;       ///< likewise, of being the middle of a line
    float direction;  ///< how much the cells agree on the reading direction, in [0, 1]
    float fill;       ///< share of the bounding bars of the core's pieces that its cells cover, in (0, 1]
    float cells;      ///< area of the core in 4x4-pixel cells
};

/// How the network's uint8 output is read.
struct MapCode {
    float scale = 1.0F;
    int zero = 0;
    float threshold = 0.0F;  ///< core logit above which a cell belongs to a line
    int64_t min_cells = 3;   ///< smaller components are dropped
};

/// Lines of one map of h x w x 14, largest first, at most `limit`.
std::vector<Line> find_lines(const uint8_t* map, int64_t h, int64_t w, const MapCode& code, int64_t limit = 1024);

/// Widths of the strips that `rectify` makes for these quadrilaterals, each in [height / 2, max_width].
std::vector<int64_t> strip_widths(const std::vector<QuadF>& quads, int64_t height, int64_t max_width);

/// Grey strips; strip i starts at out + offsets[i] and is height x widths[i] bytes, packed.
void rectify(const ImageView& in, const std::vector<QuadF>& quads, int64_t height, const std::vector<int64_t>& widths,
             const std::vector<int64_t>& offsets, uint8_t* out, const Context& context = {});

/// QR codes: outline and score in [0, 1] (agreement of the three finder patterns in size and geometry).
struct QrCode {
    QuadF quad;
    float score;
};
std::vector<QrCode> find_qr(const ImageView& in);

}  // namespace og
