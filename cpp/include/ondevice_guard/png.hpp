// A picture as a fresh PNG file (ISO/IEC 15948): IHDR, IDAT, IEND and nothing else. Exact, the same bytes on
// every backend and number of threads.
//
// Filter. With a, b, c the samples to the left, above, and above left of x (0 outside), bpp bytes to a pixel, a row is
// sent as one of the residuals, modulo 256,
//
//     x,   x - a,   x - b,   x - floor((a + b) / 2),   x - p     p = whichever of a, b, c is nearest to a + b - c
//     (Paeth)
//
// namely the one with the least sum of |r|, r read as a signed byte (the specification's own heuristic, 12.8); ties go
// to the first.
//
// Deflate (RFC 1951) in blocks of up to 2^16 bytes, each of which can be made without the others: it starts on a whole byte,
// after an empty stored block, and its matches may reach into the filtered bytes before it. They come from one probe of a
// table of 2^14 positions, hashed over six bytes (every fourth position of the window before the block is in it); shorter
// ones do not pay on filtered photographs, whose literals cost about four bits. After every two positions without a match
// one more position is passed over before the next probe, until a match is found. Codes are Huffman's, of at most 14 bits;
// a block that they would lengthen is stored. The stream is zlib's (RFC 1950), in a chunk for about every megabyte of rows.
//
// A 512-pixel photograph takes a quarter of the time of zlib's level 1, at the same size (benchmarks/results/batch.json,
// "png").
#pragma once

#include <cstdint>
#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

/// Undoes the filters of an inflated stream: `height` rows of one filter number and `width * channels` bytes (1 to 4
/// channels of 8 bits), into `out`, height x width x channels. False when a row names a filter that does not exist.
bool unfilter_png(const uint8_t* rows, int64_t height, int64_t width, int channels, uint8_t* out);

/// The file of an HxW (grey), HxWx3 (RGB) or HxWx4 (RGBA) picture, 8 bits a sample.
std::vector<uint8_t> encode_png(const ImageView& image, const Context& context = {});

}  // namespace og
