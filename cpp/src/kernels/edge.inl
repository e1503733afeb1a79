#include "kernels/edge_kernels.hpp"
#include "kernels/edge_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

void planes(const uint8_t* src, int channels, int64_t n, int pad, uint32_t* OG_RESTRICT pixels, int16_t* const* out) {
    if (channels == 1) {
        int16_t* OG_RESTRICT p = out[0];
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) p[i] = src[i];
    } else {
        if (channels == 3) {
            split_pixels(src, n, pixels);
        } else {
            memcpy(pixels, src, static_cast<size_t>(4 * n));
        }
        int16_t *OG_RESTRICT r = out[0], *OG_RESTRICT g = out[1], *OG_RESTRICT b = out[2];
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            r[i] = static_cast<int16_t>(pixels[i] & 255u);
            g[i] = static_cast<int16_t>((pixels[i] >> 8) & 255u);
            b[i] = static_cast<int16_t>((pixels[i] >> 16) & 255u);
        }
    }
    for (int c = 0; c < (channels == 1 ? 1 : 3); ++c) {
        for (int64_t i = 1; i <= pad; ++i) {
            out[c][-i] = out[c][mirror_index(-i, n)];
            out[c][n - 1 + i] = out[c][mirror_index(n - 1 + i, n)];
        }
    }
}

template <int C>
OG_FN void bilateral_weights_of(const int16_t* const* planes, int64_t n, const BilateralTaps& taps, uint16_t* weights,
                                int64_t stride) {
    const int16_t limit = taps.limit, factor = taps.factor, scale = taps.scale;
    const int16_t *r = planes[0], *g = C == 3 ? planes[1] : r, *b = C == 3 ? planes[2] : r;
    for (int t = 0; t < taps.count; t += 2) {
        const int64_t o0 = taps.offset[t], o1 = taps.offset[t + 1];
        const int16_t spatial0 = taps.spatial[t], spatial1 = taps.spatial[t + 1];
        uint16_t *OG_RESTRICT w0 = weights + t * stride, *OG_RESTRICT w1 = w0 + stride;
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            const int16_t d0 = distance_of<C>(r[i], g[i], b[i], r[i + o0], g[i + o0], b[i + o0]);
            const int16_t d1 = distance_of<C>(r[i], g[i], b[i], r[i + o1], g[i + o1], b[i + o1]);
            w0[i] = weight_of(d0, spatial0, limit, scale, factor);
            w1[i] = weight_of(d1, spatial1, limit, scale, factor);
        }
    }
}

void bilateral_weights(const int16_t* const* planes, int channels, int64_t n, const BilateralTaps& taps,
                       uint16_t* weights, int64_t stride) {
    if (channels == 1) return bilateral_weights_of<1>(planes, n, taps, weights, stride);
    bilateral_weights_of<3>(planes, n, taps, weights, stride);
}

/// Sums over all taps: of the samples in sums[0..3 n), of the weights in sums[3 n..4 n).
template <int C>
OG_FN void bilateral_of(const int16_t* const* planes, int64_t n, const BilateralTaps& taps,
                        const uint16_t* const* ahead, const uint16_t* const* back, uint32_t* OG_RESTRICT sums) {
    uint32_t *OG_RESTRICT s0 = sums, *OG_RESTRICT s1 = sums + n, *OG_RESTRICT s2 = sums + 2 * n,
                          *OG_RESTRICT sw = sums + 3 * n;
    const int16_t *r = planes[0], *g = C == 3 ? planes[1] : r, *b = C == 3 ? planes[2] : r;
    const uint16_t own = weight_of(0, taps.centre, taps.limit, taps.scale, taps.factor);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        s0[i] = static_cast<uint32_t>(own * r[i]);
        if (C == 3) {
            s1[i] = static_cast<uint32_t>(own * g[i]);
            s2[i] = static_cast<uint32_t>(own * b[i]);
        }
        sw[i] = own;
    }
    for (int t = 0; t < taps.count; t += 2) {
        const int64_t o0 = taps.offset[t], o1 = taps.offset[t + 1];
        const uint16_t *a0 = ahead[t], *b0 = back[t], *a1 = ahead[t + 1], *b1 = back[t + 1];
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            uint16_t part[4] = {0, 0, 0, 0};
            add_tap<C>(a0[i], r[i + o0], g[i + o0], b[i + o0], part);
            add_tap<C>(b0[i], r[i - o0], g[i - o0], b[i - o0], part);
            add_tap<C>(a1[i], r[i + o1], g[i + o1], b[i + o1], part);
            add_tap<C>(b1[i], r[i - o1], g[i - o1], b[i - o1], part);
            s0[i] += part[0];
            if (C == 3) {
                s1[i] += part[1];
                s2[i] += part[2];
            }
            sw[i] += part[3];
        }
    }
}

void bilateral_row(const int16_t* const* planes, int channels, int64_t n, const BilateralTaps& taps,
                   const uint16_t* const* ahead, const uint16_t* const* back, uint32_t* OG_RESTRICT sums,
                   const uint8_t* alpha_src, uint8_t* OG_RESTRICT dst) {
    if (channels == 1) {
        bilateral_of<1>(planes, n, taps, ahead, back, sums);
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            const float inverse = inverse_of(sums[3 * n + i]);
            dst[i] = static_cast<uint8_t>(weighted_mean(sums[i], inverse));
        }
        return;
    }
    bilateral_of<3>(planes, n, taps, ahead, back, sums);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const float inverse = inverse_of(sums[3 * n + i]);
        const int32_t r = weighted_mean(sums[i], inverse);
        const int32_t g = weighted_mean(sums[n + i], inverse);
        const int32_t b = weighted_mean(sums[2 * n + i], inverse);
        sums[i] = static_cast<uint32_t>(r | (g << 8) | (b << 16));
    }
    if (channels == 3) return join_pixels(sums, n, dst);
    for (int64_t i = 0; i < n; ++i) store_word(dst + 4 * i, sums[i] | (load_word(alpha_src + 4 * i) & 0xff000000u));
}

void guided_terms(const int32_t* s1, const int32_t* s2, int64_t n, int count, float eps, int32_t* OG_RESTRICT a,
                  int32_t* OG_RESTRICT b) {
    const float inverse = 1.0f / static_cast<float>(count);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const GuidedTerms t = guided_terms_of(s1[i], s2[i], inverse, eps);
        a[i] = t.a;
        b[i] = t.b;
    }
}

void guided_out(const uint8_t* src, const int32_t* a, const int32_t* b, int64_t n, int count,
                uint8_t* OG_RESTRICT dst) {
    const float scale_a = guided_scale_a(count), scale_b = guided_scale_b(count);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = guided_sample(src[i], a[i], b[i], scale_a, scale_b);
}

void sums_u8(const uint8_t* add, const uint8_t* sub, int64_t n, int32_t* OG_RESTRICT s1, int32_t* OG_RESTRICT s2) {
    if (!sub) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            s1[i] += add[i];
            s2[i] += add[i] * add[i];
        }
        return;
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t p = add[i], q = sub[i];
        s1[i] += p - q;
        s2[i] += (p - q) * (p + q);
    }
}

void sums_i32(const int32_t* add, const int32_t* sub, int64_t n, int32_t* OG_RESTRICT sum) {
    if (!sub) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) sum[i] += add[i];
        return;
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) sum[i] += add[i] - sub[i];
}

void window(const int32_t* src, int64_t n, int64_t step, int taps, int32_t* OG_RESTRICT dst) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = src[i];
    for (int k = 1; k < taps; ++k) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) dst[i] += src[i + k * step];
    }
}

}  // namespace

extern const EdgeKernels edge_kernels;
const EdgeKernels edge_kernels = {planes,     bilateral_weights, bilateral_row, guided_terms,
                                  guided_out, sums_u8,           sums_i32,      window};

}  // namespace OG_ISA
}  // namespace og
