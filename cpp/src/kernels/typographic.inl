#include <math.h>
#include <string.h>

#include "kernels/common.hpp"
#include "kernels/typographic_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

void split_row(const uint8_t* OG_RESTRICT src, int64_t n, int channels, int16_t* OG_RESTRICT y, int16_t* OG_RESTRICT rg,
               int16_t* OG_RESTRICT by) {
    if (channels == 1) {
        for (int64_t i = 0; i < n; ++i) {
            y[i] = src[i];
            rg[i] = 0;
            by[i] = 0;
        }
        return;
    }
    for (int64_t i = 0; i < n; ++i) {
        const int r = src[3 * i], g = src[3 * i + 1], b = src[3 * i + 2];
        const int luma = (77 * r + 150 * g + 29 * b + 128) >> 8;
        y[i] = static_cast<int16_t>(luma);
        rg[i] = static_cast<int16_t>(r - g);
        by[i] = static_cast<int16_t>(b - luma);
    }
}

void slide_rows(const int16_t* OG_RESTRICT in, const int16_t* OG_RESTRICT out, int32_t* OG_RESTRICT sum,
                int32_t* OG_RESTRICT square, int64_t n) {
    if (!out) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            const int32_t a = in[i];
            sum[i] += a;
            square[i] += a * a;
        }
        return;
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t a = in[i], b = out[i];
        sum[i] += a - b;
        square[i] += a * a - b * b;
    }
}

// 15 = 8 + 4 + 2 + 1: a running sum would be one long chain of additions, this is four independent ones.
OG_FN void sum15(const int32_t* OG_RESTRICT v, int64_t n, int32_t* OG_RESTRICT out, int32_t* OG_RESTRICT two) {
    OG_IVDEP
    for (int64_t i = 0; i < n + 13; ++i) two[i] = v[i] + v[i + 1];
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t eight = (two[i] + two[i + 2]) + (two[i + 4] + two[i + 6]);
        out[i] = eight + (two[i + 8] + two[i + 10]) + two[i + 12] + v[i + 14];
    }
}

void contrast_row(const int16_t* OG_RESTRICT v, const int32_t* OG_RESTRICT sum, const int32_t* OG_RESTRICT square, int64_t n,
                  int plane, uint32_t* OG_RESTRICT dst, int32_t* OG_RESTRICT scratch) {
    int32_t* OG_RESTRICT s1 = scratch;
    int32_t* OG_RESTRICT s2 = scratch + (n + 16);
    int32_t* OG_RESTRICT two = scratch + 2 * (n + 16);
    sum15(sum, n, s1, two);
    sum15(square, n, s2, two);
    const float share = 1.0F / 225.0F;
    const int shift = 8 * plane;
    const uint32_t keep = plane == 1 ? 0U : 0xFFFFFFFFU, start = ~keep;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const float mean = static_cast<float>(s1[i]) * share;
        const float variance = max_of(static_cast<float>(s2[i]) * share - mean * mean, 0.0F);
        const float deviation = sqrtf(variance);
        const float z = 128.5F + 32.0F * (static_cast<float>(v[i]) - mean) / (deviation + 2.0F);
        // |v - mean| is at most 15 deviations in a box of 225, so z is within int range before the clamp
        const int32_t level = static_cast<int32_t>(clamp_to(z, 0.0F, 255.0F));
        const uint32_t word = (dst[i] & keep) | (static_cast<uint32_t>(v[i]) & start);
        dst[i] = word | (static_cast<uint32_t>(level) << shift);
    }
}

void pack_row(const uint32_t* OG_RESTRICT src, int64_t n, uint8_t* OG_RESTRICT dst) {
    for (int64_t cell = 0; cell < n / 4; ++cell) {
        const uint32_t* p = src + 4 * cell;
        uint8_t* q = dst + 64 * cell;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        for (int k = 0; k < 16; ++k) q[k] = static_cast<uint8_t>(p[k / 4] >> (8 * (k % 4)));
#else
        memcpy(q, p, 16);
#endif
    }
}

// Grey value at pixel p: luma of RGB, the sample itself of grey.
OG_FN float grey(const uint8_t* p, int channels) {
    return channels == 1 ? static_cast<float>(p[0]) : 0.299F * p[0] + 0.587F * p[1] + 0.114F * p[2];
}

void strip_row(const uint8_t* src, int64_t height, int64_t width, int64_t row_stride, int channels, float x0, float y0, float dx,
               float dy, float ux, float uy, float vx, float vy, int taps, int64_t n, uint8_t* dst) {
    const float last_x = static_cast<float>(width - 1), last_y = static_cast<float>(height - 1);
    const float weight = 1.0F / static_cast<float>(taps * taps);
    for (int64_t i = 0; i < n; ++i) {
        const float cx = x0 + static_cast<float>(i) * dx, cy = y0 + static_cast<float>(i) * dy;
        float total = 0.0F;
        for (int j = 0; j < taps; ++j) {
            const float tj = (static_cast<float>(j) + 0.5F) / static_cast<float>(taps) - 0.5F;
            for (int k = 0; k < taps; ++k) {
                const float tk = (static_cast<float>(k) + 0.5F) / static_cast<float>(taps) - 0.5F;
                const float x = clamp_to(cx + tk * ux + tj * vx, 0.0F, last_x);
                const float y = clamp_to(cy + tk * uy + tj * vy, 0.0F, last_y);
                const int64_t xi = static_cast<int64_t>(x), yi = static_cast<int64_t>(y);
                const float fx = x - static_cast<float>(xi), fy = y - static_cast<float>(yi);
                const uint8_t* a = src + yi * row_stride + xi * channels;
                const uint8_t* b = yi + 1 < height ? a + row_stride : a;
                const int right = xi + 1 < width ? channels : 0;
                const float top = grey(a, channels) + fx * (grey(a + right, channels) - grey(a, channels));
                const float low = grey(b, channels) + fx * (grey(b + right, channels) - grey(b, channels));
                total += top + fy * (low - top);
            }
        }
        dst[i] = static_cast<uint8_t>(clamp_to(total * weight + 0.5F, 0.0F, 255.0F));
    }
}

}  // namespace

extern const TypographicKernels typographic_kernels;
const TypographicKernels typographic_kernels = {
    split_row, slide_rows, contrast_row, pack_row, strip_row,
};

}  // namespace OG_ISA
}  // namespace og
