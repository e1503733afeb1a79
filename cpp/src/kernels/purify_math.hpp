// Arithmetic of median, bit depth and low bits, shared by the CPU loops and the CUDA kernels, and of turning.
#pragma once

#include "kernels/common.hpp"
#include "kernels/purify_kernels.hpp"

namespace og {
namespace {

// T: a sample, or a vector of them.

template <class T>
OG_FN T median_of(T a, T b, T c) {
    return max_of(min_of(a, b), min_of(max_of(a, b), c));
}

template <class T>
OG_FN void sort_column(T (&v)[3]) {
    order(v[0], v[1]);
    order(v[1], v[2]);
    order(v[0], v[1]);
}

template <class T>
OG_FN void sort_column(T (&v)[5]) {
    order(v[0], v[1]);
    order(v[3], v[4]);
    order(v[2], v[4]);
    order(v[2], v[3]);
    order(v[0], v[3]);
    order(v[0], v[2]);
    order(v[1], v[4]);
    order(v[1], v[2]);
    order(v[3], v[4]);
    order(v[2], v[3]);
}

/// Median of nine samples; m[k] holds the k-th smallest of each of the three columns: the middle one of {largest minimum,
/// middle of the middles, smallest maximum}.
template <class T>
OG_FN T median_of_columns(T (&m)[3][3]) {
    const T low = max_of(max_of(m[0][0], m[0][1]), m[0][2]);
    const T middle = median_of(m[1][0], m[1][1], m[1][2]);
    const T high = min_of(min_of(m[2][0], m[2][1]), m[2][2]);
    return median_of(low, middle, high);
}

/// Median of 25 samples of five sorted columns. With these rows sorted as well, twelve
/// corner elements cannot be the median, and what is left are three anti-diagonals: the median of 25 is the middle one of
/// {largest of the upper diagonal, median of the main one, smallest of the lower}. (All 252 monotone 0-1 matrices agree;
/// sorting networks need no more proof.) The comparisons whose results nobody reads are removed by the compiler.
template <class T>
OG_FN T median_of_columns(T (&m)[5][5]) {
    for (int k = 0; k < 5; ++k) sort_column(m[k]);
    const T upper = max_of(max_of(m[0][3], m[1][2]), max_of(m[2][1], m[3][0]));
    const T lower = min_of(min_of(m[1][4], m[2][3]), min_of(m[3][2], m[4][1]));
    const T f = max_of(min_of(m[0][4], m[1][3]), min_of(m[3][1], m[4][0]));
    const T g = min_of(max_of(m[0][4], m[1][3]), max_of(m[3][1], m[4][0]));
    return median_of(upper, median_of(f, g, m[2][2]), lower);
}

/// The weights of cubic convolution with a = -1/2 (Keys 1981) for pixels of `channels` samples.
OG_FN CubicWeights cubic_weights(int channels) {
    CubicWeights made = {};
    for (int32_t f = 0; f < 64; ++f) {
        const int32_t square = f * f, cube = square * f;  // of numerators over 2 * 64^3
        int32_t* w = made.down[f];
        w[0] = (-cube + 128 * square - 4096 * f + 1024) >> 11;
        w[2] = (-3 * cube + 256 * square + 4096 * f + 1024) >> 11;
        w[3] = (cube - 64 * square + 1024) >> 11;
        w[1] = 256 - w[0] - w[2] - w[3];
        for (int j = 0; j < 4 * channels; ++j) made.across[f][j] = w[j / channels];
    }
    return made;
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
