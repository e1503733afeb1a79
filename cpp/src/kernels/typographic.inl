#include "kernels/typographic_kernels.hpp"
#include "kernels/typographic_math.hpp"

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
        const Contrasts p = contrasts_of(src[3 * i], src[3 * i + 1], src[3 * i + 2]);
        y[i] = p.y;
        rg[i] = p.rg;
        by[i] = p.by;
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

void contrast_row(const int16_t* OG_RESTRICT v, const int32_t* OG_RESTRICT sum, const int32_t* OG_RESTRICT square,
                  int64_t n, int plane, uint32_t* OG_RESTRICT dst, int32_t* OG_RESTRICT scratch) {
    int32_t* OG_RESTRICT s1 = scratch;
    int32_t* OG_RESTRICT s2 = scratch + (n + 16);
    int32_t* OG_RESTRICT two = scratch + 2 * (n + 16);
    sum15(sum, n, s1, two);
    sum15(square, n, s2, two);
    const int shift = 8 * plane;
    const uint32_t keep = plane == 1 ? 0U : 0xFFFFFFFFU, start = ~keep;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t level = contrast_level(v[i], s1[i], s2[i]);
        const uint32_t word = (dst[i] & keep) | (static_cast<uint32_t>(v[i]) & start);
        dst[i] = word | (static_cast<uint32_t>(level) << shift);
    }
}

void luma_row(const uint8_t* src, int64_t n, int channels, uint32_t* OG_RESTRICT pixels, uint8_t* OG_RESTRICT y) {
    if (channels == 1) {
        memcpy(y, src, static_cast<size_t>(n));
        return;
    }
    split_pixels(src, n, pixels);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t r = pixels[i] & 255, g = (pixels[i] >> 8) & 255, b = pixels[i] >> 16;
        y[i] = static_cast<uint8_t>((77 * r + 150 * g + 29 * b + 128) >> 8);
    }
}

void slide_row(const uint8_t* in, const uint8_t* out, int32_t* OG_RESTRICT sum, int64_t n) {
    if (in && out) {
        for (int64_t i = 0; i < n; ++i) sum[i] += in[i] - out[i];
    } else if (in) {
        for (int64_t i = 0; i < n; ++i) sum[i] += in[i];
    } else if (out) {
        for (int64_t i = 0; i < n; ++i) sum[i] -= out[i];
    }
}

void dark_row(const uint8_t* OG_RESTRICT y, const uint32_t* from, const uint32_t* to, const int32_t* OG_RESTRICT wide,
              int32_t tall, int64_t n, uint8_t* OG_RESTRICT dark) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dark[i] = (y[i] + 5) * (tall * wide[i]) < static_cast<int32_t>(to[i] - from[i]);
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

void strip_row(const uint8_t* src, int64_t height, int64_t width, int64_t row_stride, int channels, float x0, float y0,
               float dx, float dy, float ux, float uy, float vx, float vy, int taps, int64_t n, uint8_t* dst) {
    const Strip strip{src, height, width, row_stride, channels, x0, y0, dx, dy, ux, uy, vx, vy, taps};
    for (int64_t i = 0; i < n; ++i) dst[i] = strip_sample(strip, i);
}

}  // namespace

extern const TypographicKernels typographic_kernels;
const TypographicKernels typographic_kernels = {
    split_row, slide_rows, contrast_row, luma_row, slide_row, dark_row, pack_row, strip_row,
};

}  // namespace OG_ISA
}  // namespace og
