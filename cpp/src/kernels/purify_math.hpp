// Arithmetic of median, bit depth and low bits, shared by the CPU loops and the CUDA kernels, and of turning.
#pragma once

#include "kernels/common.hpp"
#include "kernels/purify_kernels.hpp"

namespace og {
namespace {

OG_FN uint8_t median_of(uint8_t a, uint8_t b, uint8_t c) {
    return max_of(min_of(a, b), min_of(max_of(a, b), c));
}

OG_FN void sort3(uint8_t& a, uint8_t& b, uint8_t& c) {
    order(a, b);
    order(b, c);
    order(a, b);
}

/// Median of nine samples whose three columns are sorted: the middle one of {largest minimum, middle of the middles,
/// smallest maximum}.
OG_FN uint8_t median9(uint8_t lo0, uint8_t lo1, uint8_t lo2, uint8_t mid0, uint8_t mid1, uint8_t mid2, uint8_t hi0,
                      uint8_t hi1, uint8_t hi2) {
    const uint8_t low = max_of(max_of(lo0, lo1), lo2);
    const uint8_t middle = median_of(mid0, mid1, mid2);
    const uint8_t high = min_of(min_of(hi0, hi1), hi2);
    return median_of(low, middle, high);
}

OG_FN void sort5(uint8_t& a, uint8_t& b, uint8_t& c, uint8_t& d, uint8_t& e) {
    order(a, b);
    order(d, e);
    order(c, e);
    order(c, d);
    order(a, d);
    order(a, c);
    order(b, e);
    order(b, c);
    order(d, e);
    order(c, d);
}

/// Median of 25 samples; m[k] holds the k-th smallest of each of the five columns. With these rows sorted as well, twelve
/// corner elements cannot be the median, and what is left are three anti-diagonals: the median of 25 is the middle one of
/// {largest of the upper diagonal, median of the main one, smallest of the lower}. (All 252 monotone 0-1 matrices agree;
/// sorting networks need no more proof.) The comparisons whose results nobody reads are removed by the compiler.
OG_FN uint8_t median25(uint8_t m[5][5]) {
    for (int k = 0; k < 5; ++k) sort5(m[k][0], m[k][1], m[k][2], m[k][3], m[k][4]);
    const uint8_t upper = max_of(max_of(m[0][3], m[1][2]), max_of(m[2][1], m[3][0]));
    const uint8_t lower = min_of(min_of(m[1][4], m[2][3]), min_of(m[3][2], m[4][1]));
    const uint8_t f = max_of(min_of(m[0][4], m[1][3]), min_of(m[3][1], m[4][0]));
    const uint8_t g = min_of(max_of(m[0][4], m[1][3]), max_of(m[3][1], m[4][0]));
    return median_of(upper, median_of(f, g, m[2][2]), lower);
}

/// Weights of the four samples around a place that is `f` / 64 after the second.
OG_FN CubicWeights cubic_weights(int32_t f) {
    const int32_t square = f * f, cube = square * f;  // cubic convolution with a = -1/2, of numerators over 2 * 64^3
    const int32_t before = (-cube + 128 * square - 4096 * f + 1024) >> 11;
    const int32_t after = (-3 * cube + 256 * square + 4096 * f + 1024) >> 11;
    const int32_t last = (cube - 64 * square + 1024) >> 11;
    return {{before, 256 - before - after - last, after, last}};
}

/// What one level of `levels` is worth, in 1/65536.
OG_FN uint32_t level_scale(int levels) {
    return static_cast<uint32_t>((255 * 65536 + levels / 2) / levels);
}
OG_FN uint8_t keep_levels(uint8_t v, int levels, uint32_t scale) {
    const uint32_t t = static_cast<uint32_t>(v) * static_cast<uint32_t>(levels) + 128u;
    const uint32_t level = (t + (t >> 8)) >> 8;  // / 255, rounded
    return static_cast<uint8_t>((level * scale + 32768u) >> 16);
}

/// `low` = 2^bits - 1, `down` = 8 - bits.
OG_FN uint8_t repeat_high_bits(uint8_t v, int low, int down) {
    return static_cast<uint8_t>((v & ~low) | (v >> down & low));
}

/// A sample less a residual that is told as 128 + r.
OG_FN uint8_t less_residual(uint8_t v, uint8_t r) {
    return static_cast<uint8_t>(clamp_to<int16_t>(static_cast<int16_t>(v + 128 - r), 0, 255));
}

}  // namespace
}  // namespace og
