#include "kernels/common.hpp"
#include "kernels/fill_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

void reduce(const float* above, const float* below, const float* known_above, const float* known_below, int64_t width,
            int channels, float* OG_RESTRICT dst, float* OG_RESTRICT known) {
    for (int64_t x = 0; 2 * x < width; ++x) {
        const int64_t a = 2 * x, b = min_of<int64_t>(a + 1, width - 1);
        const float w0 = known_above[a], w1 = known_above[b], w2 = known_below[a], w3 = known_below[b];
        const float total = ((w0 + w1) + w2) + w3;
        known[x] = total > 0.0f ? 1.0f : 0.0f;
        const float inverse = total > 0.0f ? 1.0f / total : 0.0f;
        for (int c = 0; c < channels; ++c) {
            const float sum =
                ((above[a * channels + c] * w0 + above[b * channels + c] * w1) + below[a * channels + c] * w2) +
                below[b * channels + c] * w3;
            dst[x * channels + c] = sum * inverse;
        }
    }
}

void expand(const float* near, const float* far, int64_t coarse_width, const float* known, int64_t width, int channels,
            float* OG_RESTRICT dst) {
    for (int64_t x = 0; x < width; ++x) {
        if (known[x] != 0.0f) continue;
        const int64_t i = x / 2;
        const int64_t j = clamp_to<int64_t>((x & 1) ? i + 1 : i - 1, 0, coarse_width - 1);
        for (int c = 0; c < channels; ++c) {
            const float n = near[i * channels + c] * 0.75f + near[j * channels + c] * 0.25f;
            const float f = far[i * channels + c] * 0.75f + far[j * channels + c] * 0.25f;
            dst[x * channels + c] = n * 0.75f + f * 0.25f;
        }
    }
}

void relax(const float* above, float* row, const float* below, const float* known, int64_t width, int channels,
           int phase) {
    for (int64_t x = phase; x < width; x += 2) {
        if (known[x] != 0.0f) continue;
        const int64_t l = max_of<int64_t>(x - 1, 0), r = min_of<int64_t>(x + 1, width - 1);
        for (int c = 0; c < channels; ++c) {
            row[x * channels + c] = 0.25f * ((above[x * channels + c] + below[x * channels + c]) +
                                             (row[l * channels + c] + row[r * channels + c]));
        }
    }
}

}  // namespace

extern const FillKernels fill_kernels;
const FillKernels fill_kernels = {reduce, expand, relax};

}  // namespace OG_ISA
}  // namespace og
