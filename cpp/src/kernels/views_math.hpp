// Arithmetic of resampling, compositing and local contrast, shared by the CPU loops and the CUDA kernels.
#pragma once

#include "kernels/common.hpp"
#include "kernels/views_kernels.hpp"

namespace og {
namespace {

constexpr int32_t kHalf = 1 << (kWeightBits - 1);

/// A weighted sum of samples, begun with kHalf, in kWeightBits fixed point.
OG_FN uint8_t to_byte(int32_t sum) {
    return static_cast<uint8_t>(clamp_to<int32_t>(sum >> kWeightBits, 0, 255));
}

OG_FN float lerp(float a, float b, float t) {
    return a + (b - a) * t;
}
OG_FN uint8_t lerp_sample(float a, float b, float t, float bias) {
    return static_cast<uint8_t>(static_cast<int32_t>(a + (b - a) * t + bias));
}
OG_FN float cubic(float a, float b, float c, float d, float w0, float w1, float w2, float w3) {
    return ((a * w0 + b * w1) + c * w2) + d * w3;
}

OG_FN uint8_t over(uint8_t value, uint8_t alpha, uint8_t background) {
    const uint32_t t = static_cast<uint32_t>(value) * alpha + static_cast<uint32_t>(background) * (255u - alpha) + 128u;
    return static_cast<uint8_t>((t + (t >> 8)) >> 8);  // t / 255 rounded, exact for every t up to 255 * 255
}

OG_FN int32_t luma_of(int32_t r, int32_t g, int32_t b) {
    return (77 * r + 150 * g + 29 * b + 128) >> 8;
}

/// Local contrast of a value from the sums of its window and of their squares.
OG_FN uint8_t contrast_of(int16_t value, int32_t sum, uint32_t squares) {
    constexpr int32_t count = (2 * kContrastRadius + 1) * (2 * kContrastRadius + 1);
    // (count * std)^2 <= (225 * 255)^2 < 2^32, so wrapping arithmetic ends at the true value.
    const uint32_t spread =
        squares * static_cast<uint32_t>(count) - static_cast<uint32_t>(sum) * static_cast<uint32_t>(sum);
    // Halves below 2^31 convert exactly like the whole would, and signed conversion is one instruction everywhere.
    const float high = static_cast<float>(static_cast<int32_t>(spread >> 16)) * 65536.0f;
    const float low = static_cast<float>(static_cast<int32_t>(spread & 0xffffu));
    const float deviation = square_root(high + low);
    const float z = static_cast<float>(value * count - sum) * 32.0f / (deviation + 2.0f * count);
    return to_sample(z + 128.5f);
}

}  // namespace
}  // namespace og
