#include "kernels/views_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

constexpr int kBlock = 512;  // int32 accumulators of one block stay in the first-level cache

/// Transposes 8 x 8 bytes held in eight little-endian words: swaps 4 x 4, then 2 x 2, then single bytes.
OG_FN void transpose8(uint64_t v[8]) {
    for (int i = 0; i < 4; ++i) {
        const uint64_t t = ((v[i] >> 32) ^ v[i + 4]) & 0x00000000ffffffffull;
        v[i + 4] ^= t;
        v[i] ^= t << 32;
    }
    for (int k = 0; k < 8; k += 4) {
        for (int i = k; i < k + 2; ++i) {
            const uint64_t t = ((v[i] >> 16) ^ v[i + 2]) & 0x0000ffff0000ffffull;
            v[i + 2] ^= t;
            v[i] ^= t << 16;
        }
    }
    for (int i = 0; i < 8; i += 2) {
        const uint64_t t = ((v[i] >> 8) ^ v[i + 1]) & 0x00ff00ff00ff00ffull;
        v[i + 1] ^= t;
        v[i] ^= t << 8;
    }
}

/// kLanes rows of n samples → n groups of kLanes samples.
void turn(const uint8_t* const* rows, int64_t n, uint8_t* OG_RESTRICT dst) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int r = 0; r < kLanes; r += 8) {
            uint64_t v[8];
            for (int k = 0; k < 8; ++k) memcpy(&v[k], rows[r + k] + i, 8);
            transpose8(v);
            for (int k = 0; k < 8; ++k) memcpy(dst + (i + k) * kLanes + r, &v[k], 8);
        }
    }
    for (; i < n; ++i) {
        for (int r = 0; r < kLanes; ++r) dst[i * kLanes + r] = rows[r][i];
    }
}

/// The way back.
void turn_back(const uint8_t* OG_RESTRICT src, int64_t n, uint8_t* const* rows) {
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        for (int r = 0; r < kLanes; r += 8) {
            uint64_t v[8];
            for (int k = 0; k < 8; ++k) memcpy(&v[k], src + (i + k) * kLanes + r, 8);
            transpose8(v);
            for (int k = 0; k < 8; ++k) memcpy(rows[r + k] + i, &v[k], 8);
        }
    }
    for (; i < n; ++i) {
        for (int r = 0; r < kLanes; ++r) rows[r][i] = src[i * kLanes + r];
    }
}

void resample_rows(const uint8_t* const* rows, uint8_t* const* dst, int64_t width, int channels, const Axis& axis,
                   uint8_t* OG_RESTRICT turned, uint8_t* OG_RESTRICT result) {
    const int64_t pixel = static_cast<int64_t>(channels) * kLanes;
    turn(rows, width * channels, turned);
    memset(turned + width * pixel, 0, static_cast<size_t>(2 * kTapGroup * pixel));  // what padded taps read, times zero
    for (int64_t x = 0; x < axis.size; ++x) {
        const int32_t* weights = axis.weights + x * axis.stride;
        for (int c = 0; c < channels; ++c) {
            const uint8_t* OG_RESTRICT p = turned + axis.first[x] * pixel + c * kLanes;
            int32_t sum[kLanes];
            for (int r = 0; r < kLanes; ++r) sum[r] = kHalf;
            for (int j = 0; j < axis.taps[x]; j += kTapGroup) {
                const int32_t w0 = weights[j], w1 = weights[j + 1], w2 = weights[j + 2], w3 = weights[j + 3];
                const uint8_t *p0 = p + j * pixel, *p1 = p0 + pixel, *p2 = p1 + pixel, *p3 = p2 + pixel;
                for (int r = 0; r < kLanes; ++r) sum[r] += p0[r] * w0 + p1[r] * w1 + p2[r] * w2 + p3[r] * w3;
            }
            uint8_t* OG_RESTRICT q = result + x * pixel + c * kLanes;
            for (int r = 0; r < kLanes; ++r) q[r] = to_byte(sum[r]);
        }
    }
    turn_back(result, axis.size * channels, dst);
}

void resample_columns(const uint8_t* const* rows, const int32_t* weights, int taps, uint8_t* OG_RESTRICT dst,
                      int64_t n) {
    int32_t sum[kBlock];
    for (int64_t start = 0; start < n; start += kBlock) {
        const int count = static_cast<int>(min_of<int64_t>(kBlock, n - start));
        for (int i = 0; i < count; ++i) sum[i] = kHalf;
        for (int j = 0; j < taps; j += kTapGroup) {
            const int32_t w0 = weights[j], w1 = weights[j + 1], w2 = weights[j + 2], w3 = weights[j + 3];
            const uint8_t *p0 = rows[j] + start, *p1 = rows[j + 1] + start, *p2 = rows[j + 2] + start,
                          *p3 = rows[j + 3] + start;
            OG_IVDEP
            for (int i = 0; i < count; ++i) sum[i] += p0[i] * w0 + p1[i] * w1 + p2[i] * w2 + p3[i] * w3;
        }
        OG_IVDEP
        for (int i = 0; i < count; ++i) dst[start + i] = to_byte(sum[i]);
    }
}

template <int C>
OG_FN void lerp_row_of(const uint8_t* src, const int32_t* a, const int32_t* b, const float* t, int64_t width,
                       float* OG_RESTRICT dst) {
    for (int64_t x = 0; x < width; ++x) {
        const uint8_t *p = src + a[x], *q = src + b[x];
        for (int c = 0; c < C; ++c) {
            dst[x * C + c] = lerp(p[c], q[c], t[x]);
        }
    }
}

void lerp_row(const uint8_t* src, const int32_t* a, const int32_t* b, const float* t, int64_t width, int channels,
              float* dst) {
    if (channels == 1) return lerp_row_of<1>(src, a, b, t, width, dst);
    if (channels == 3) return lerp_row_of<3>(src, a, b, t, width, dst);
    lerp_row_of<4>(src, a, b, t, width, dst);
}

void lerp_columns(const float* a, const float* b, float t, float bias, uint8_t* OG_RESTRICT dst, int64_t n) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = lerp_sample(a[i], b[i], t, bias);
}

template <int C>
OG_FN void cubic_row_of(const uint8_t* src, const int32_t* at, const float* w, int64_t width, float* OG_RESTRICT dst) {
    for (int64_t x = 0; x < width; ++x, at += 4, w += 4) {
        for (int c = 0; c < C; ++c) {
            dst[x * C + c] =
                cubic(src[at[0] + c], src[at[1] + c], src[at[2] + c], src[at[3] + c], w[0], w[1], w[2], w[3]);
        }
    }
}

void cubic_row(const uint8_t* src, const int32_t* at, const float* weights, int64_t width, int channels, float* dst) {
    if (channels == 1) return cubic_row_of<1>(src, at, weights, width, dst);
    if (channels == 3) return cubic_row_of<3>(src, at, weights, width, dst);
    cubic_row_of<4>(src, at, weights, width, dst);
}

void cubic_columns(const float* const* rows, const float* w, uint8_t* OG_RESTRICT dst, int64_t n) {
    const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
    const float w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = to_sample(cubic(a[i], b[i], c[i], d[i], w0, w1, w2, w3) + 0.5f);
}

void nearest_row(const uint8_t* src, const int32_t* at, int64_t width, int channels, uint8_t* OG_RESTRICT dst) {
    if (channels == 1) {
        for (int64_t x = 0; x < width; ++x) dst[x] = src[at[x]];
    } else if (channels == 3) {
        for (int64_t x = 0; x < width; ++x) {
            const uint8_t* p = src + at[x];
            dst[3 * x] = p[0];
            dst[3 * x + 1] = p[1];
            dst[3 * x + 2] = p[2];
        }
    } else {
        for (int64_t x = 0; x < width; ++x) memcpy(dst + 4 * x, src + at[x], 4);
    }
}

void composite_row(const uint8_t* rgb, const uint8_t* alpha, const uint8_t* background, uint8_t* OG_RESTRICT dst,
                   int64_t n) {
    const uint8_t b0 = background[0], b1 = background[1], b2 = background[2];
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        dst[3 * i] = over(rgb[3 * i], alpha[i], b0);
        dst[3 * i + 1] = over(rgb[3 * i + 1], alpha[i], b1);
        dst[3 * i + 2] = over(rgb[3 * i + 2], alpha[i], b2);
    }
}

template <int C>
OG_FN void luma_row_of(const uint8_t* src, uint8_t* OG_RESTRICT dst, int64_t n) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<uint8_t>(luma_of(src[C * i], src[C * i + 1], src[C * i + 2]));
}

void luma_row(const uint8_t* src, int channels, uint8_t* dst, int64_t n) {
    if (channels == 3) return luma_row_of<3>(src, dst, n);
    luma_row_of<4>(src, dst, n);
}

template <int C>
OG_FN void contrast_planes_of(const uint8_t* src, int16_t* OG_RESTRICT y, int16_t* OG_RESTRICT rg,
                              int16_t* OG_RESTRICT by, int64_t n) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t r = src[C * i], g = src[C * i + 1], b = src[C * i + 2];
        const int32_t l = luma_of(r, g, b);
        y[i] = static_cast<int16_t>(l);
        rg[i] = static_cast<int16_t>(r - g);
        by[i] = static_cast<int16_t>(b - l);
    }
}

void contrast_planes(const uint8_t* src, int channels, int16_t* planes, int64_t stride, int64_t n) {
    if (channels == 3) return contrast_planes_of<3>(src, planes, planes + stride, planes + 2 * stride, n);
    if (channels == 4) return contrast_planes_of<4>(src, planes, planes + stride, planes + 2 * stride, n);
    for (int64_t i = 0; i < n; ++i) planes[i] = src[i];
    memset(planes + stride, 0, static_cast<size_t>(n) * sizeof(int16_t));
    memset(planes + 2 * stride, 0, static_cast<size_t>(n) * sizeof(int16_t));
}

void contrast_sums(const int16_t* add, const int16_t* sub, int32_t* OG_RESTRICT s1, uint32_t* OG_RESTRICT s2,
                   int64_t n) {
    if (!sub) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            const int32_t a = add[i];
            s1[i] += a;
            s2[i] += static_cast<uint32_t>(a * a);
        }
        return;
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t a = add[i], b = sub[i];
        s1[i] += a - b;
        s2[i] += static_cast<uint32_t>((a - b) * (a + b));
    }
}

void contrast_row(const int16_t* plane, const int32_t* s1, const uint32_t* s2, uint32_t* OG_RESTRICT scratch,
                  uint8_t* OG_RESTRICT dst, int64_t n) {
    // 15 = 5 x 3: sums of three neighbours first, then five of those.
    int32_t* OG_RESTRICT t1 = reinterpret_cast<int32_t*>(scratch);
    uint32_t* OG_RESTRICT t2 = scratch + (n + 16);
    OG_IVDEP
    for (int64_t i = 0; i < n + 12; ++i) {
        t1[i] = s1[i] + s1[i + 1] + s1[i + 2];
        t2[i] = s2[i] + s2[i + 1] + s2[i + 2];
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t sum = t1[i] + t1[i + 3] + t1[i + 6] + t1[i + 9] + t1[i + 12];
        const uint32_t squares = t2[i] + t2[i + 3] + t2[i + 6] + t2[i + 9] + t2[i + 12];
        dst[i] = contrast_of(plane[i], sum, squares);
    }
}

void interleave3(const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* OG_RESTRICT dst, int64_t n) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        dst[3 * i] = a[i];
        dst[3 * i + 1] = b[i];
        dst[3 * i + 2] = c[i];
    }
}

}  // namespace

extern const ViewsKernels views_kernels;
const ViewsKernels views_kernels = {
    resample_rows, resample_columns, lerp_row,        lerp_columns,  cubic_row,    cubic_columns, nearest_row,
    composite_row, luma_row,         contrast_planes, contrast_sums, contrast_row, interleave3,
};

}  // namespace OG_ISA
}  // namespace og
