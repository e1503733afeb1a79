// Arithmetic of the bilateral and the guided filter, shared by the CPU loops and the CUDA kernels.
#pragma once

#include "kernels/common.hpp"

namespace og {
namespace {

OG_FN int16_t distance(int16_t a, int16_t b) {
    const int16_t d = static_cast<int16_t>(a - b);
    return d < 0 ? static_cast<int16_t>(-d) : d;
}

/// spatial * exp(-z), z = d^2 / (2 sigma^2), as (1 - y + y^2 / 2)^16 with y = z / 16 <= 1: within 0.6 % of spatial.
OG_FN uint16_t weight_of(int16_t d, int16_t spatial, int16_t limit, int16_t scale, int16_t factor) {
    const int16_t near = min_of(d, limit);
    const int16_t p = mul_q15(static_cast<int16_t>(near * scale), factor);
    const int16_t y = static_cast<int16_t>(mul_q15(p, p) << 2);
    int16_t u = static_cast<int16_t>(static_cast<int16_t>(32767 - y) + static_cast<int16_t>(mul_q15(y, y) >> 1));
    u = mul_q15(u, u);
    u = mul_q15(u, u);
    u = mul_q15(u, u);
    u = mul_q15(u, u);
    return static_cast<uint16_t>(mul_q15(u, spatial));
}

/// Sum of the absolute differences of two samples' colours.
template <int C>
OG_FN int16_t distance_of(int16_t r, int16_t g, int16_t b, int16_t r1, int16_t g1, int16_t b1) {
    const int16_t d = distance(r, r1);
    return C == 3 ? static_cast<int16_t>(d + distance(g, g1) + distance(b, b1)) : d;
}

/// One tap of weight w, added to the partial sums.
template <int C>
OG_FN void add_tap(uint16_t w, int16_t r1, int16_t g1, int16_t b1, uint16_t part[4]) {
    part[0] = static_cast<uint16_t>(part[0] + w * static_cast<uint16_t>(r1));
    if (C == 3) {
        part[1] = static_cast<uint16_t>(part[1] + w * static_cast<uint16_t>(g1));
        part[2] = static_cast<uint16_t>(part[2] + w * static_cast<uint16_t>(b1));
    }
    part[3] = static_cast<uint16_t>(part[3] + w);
}

/// Weighted sum over weights, rounded. Sums stay below 52 * 64 * 255 < 2^24 for radius 4, below 2^31 always; the signed
/// conversion is one instruction.
OG_FN float inverse_of(uint32_t weights) {
    return 1.0f / static_cast<float>(static_cast<int32_t>(weights));
}
OG_FN int32_t weighted_mean(uint32_t sum, float inverse) {
    return static_cast<int32_t>(static_cast<float>(static_cast<int32_t>(sum)) * inverse + 0.5f);
}

struct GuidedTerms {
    int32_t a, b;  // in 1/4096 and 1/16
};
/// From the window sums of samples and squares; inverse = 1 / samples.
OG_FN GuidedTerms guided_terms_of(int32_t s1, int32_t s2, float inverse, float eps) {
    const float mean = static_cast<float>(s1) * inverse;
    const float variance = max_of(static_cast<float>(s2) * inverse - mean * mean, 0.0f);
    const float slope = variance / (variance + eps);
    return {static_cast<int32_t>(slope * 4096.0f + 0.5f), static_cast<int32_t>((mean - mean * slope) * 16.0f + 0.5f)};
}
/// From the window sums of the terms.
OG_FN uint8_t guided_sample(uint8_t v, int32_t a, int32_t b, float scale_a, float scale_b) {
    return to_sample(static_cast<float>(a) * scale_a * static_cast<float>(v) + static_cast<float>(b) * scale_b + 0.5f);
}
OG_FN float guided_scale_a(int count) {
    return 1.0f / (4096.0f * static_cast<float>(count));
}
OG_FN float guided_scale_b(int count) {
    return 1.0f / (16.0f * static_cast<float>(count));
}

}  // namespace
}  // namespace og
