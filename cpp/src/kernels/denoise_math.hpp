// Arithmetic of total variation, non-local means and wavelet shrinkage, shared by the CPU loops and the CUDA kernels.
#pragma once

#include "kernels/common.hpp"

namespace og {
namespace {

/// u = f - div p: p0 and p1 are the dual of the vertical and horizontal difference, the neighbours' above and on the left.
OG_FN float tv_value(uint8_t f, float p0, float p0_above, float p1, float p1_left) {
    return static_cast<float>(f) + ((p0_above - p0) + (p1_left - p1));
}
/// p -= tau grad u; p /= 1 + factor |grad u|
OG_FN void tv_step(float down, float across, float tau, float factor, float& p0, float& p1) {
    const float inverse = 1.0f / (1.0f + factor * square_root(down * down + across * across));
    p0 = (p0 - tau * down) * inverse;
    p1 = (p1 - tau * across) * inverse;
}

/// Squared difference of two samples: below 2^16, so that 16-bit products do.
OG_FN uint32_t squared_difference(int16_t a, int16_t b) {
    const int16_t d = static_cast<int16_t>(a - b);
    return static_cast<uint16_t>(d * d);
}
/// Weight of a patch at squared distance `patch`: exp(-z) = (1 - y + y^2 / 2)^16, y = z / 16; beyond z = 16 it is nothing.
OG_FN float patch_weight(int32_t patch, float scale) {
    const float y16 = min_of(static_cast<float>(patch) * scale, 1.0f);
    float w = (1.0f - y16) + y16 * y16 * 0.5f;
    w *= w;
    w *= w;
    w *= w;
    w *= w;
    return w;
}
OG_FN uint8_t nlm_sample(float sum, float inverse) {
    return to_sample(sum * inverse + 0.5f);
}

/// Levels of the transform, and what the absolute diagonal details of its finest level are below.
constexpr int kHaarLevels = 3, kDiagonals = 1021;

struct Haar {
    int16_t ll, lh, hl, hh;
};
/// Sums and differences of 2 x 2 samples: p q above, r s below; not normalised.
OG_FN Haar haar_of(int16_t p, int16_t q, int16_t r, int16_t s) {
    const int16_t above = static_cast<int16_t>(p + q), below = static_cast<int16_t>(r + s);
    const int16_t left = static_cast<int16_t>(p - q), right = static_cast<int16_t>(r - s);
    return {static_cast<int16_t>(above + below), static_cast<int16_t>(above - below),
            static_cast<int16_t>(left + right), static_cast<int16_t>(left - right)};
}
OG_FN float soft(int16_t value, float threshold) {
    const float v = static_cast<float>(value);
    return v - clamp_to(v, -threshold, threshold);
}
struct Square {
    float p, q, r, s;
};
/// The way back of one 2 x 2 square, the details shrunk softly first.
OG_FN Square unhaar_of(float ll, int16_t lh, int16_t hl, int16_t hh, float t0, float t1, float t2) {
    const float v = soft(lh, t0), h = soft(hl, t1), d = soft(hh, t2);
    const float p = (ll + v) * 0.25f, q = (ll - v) * 0.25f, r = (h + d) * 0.25f, s = (h - d) * 0.25f;
    return {p + r, p - r, q + s, q - s};
}
/// BayesShrink's threshold of a band, in units of its coefficients / unit. `count` coefficients whose squares sum to `squares`.
OG_FN float bayes_threshold(double squares, double count, double unit, double sigma) {
    const double energy = squares / (count * unit * unit);
    const double signal = square_root(max_of(energy - sigma * sigma, 1e-12));
    return static_cast<float>(min_of(sigma * sigma / signal * unit, 32767.0));
}
/// Sigma in sample values: the median of `count` absolute diagonal details of the finest level, of which `histogram` says how
/// often each occurs, over 0.6745 (they are twice the orthonormal ones).
template <class T>
OG_FN double sigma_of_diagonals(const T* histogram, int64_t count) {
    const int64_t half = (count + 1) / 2;
    int64_t seen = 0;
    int value = 0;
    while ((seen += static_cast<int64_t>(histogram[value])) < half) ++value;
    return static_cast<double>(value) / 2.0 / 0.6745;
}

}  // namespace
}  // namespace og
