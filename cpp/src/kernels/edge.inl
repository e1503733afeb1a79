#include "kernels/common.hpp"
#include "kernels/edge_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

OG_FN int64_t mirror(int64_t i, int64_t n) {
    if (n == 1) return 0;
    const int64_t period = 2 * n - 2;
    i = ((i % period) + period) % period;
    return i < n ? i : period - i;
}

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
            out[c][-i] = out[c][mirror(-i, n)];
            out[c][n - 1 + i] = out[c][mirror(n - 1 + i, n)];
        }
    }
}

/// a * b / 32768, rounded; the form GCC knows for pmulhrsw.
OG_FN int16_t mul(int16_t a, int16_t b) {
    return static_cast<int16_t>((((static_cast<int32_t>(a) * static_cast<int32_t>(b)) >> 14) + 1) >> 1);
}
OG_FN int16_t distance(int16_t a, int16_t b) {
    const int16_t d = static_cast<int16_t>(a - b);
    return d < 0 ? static_cast<int16_t>(-d) : d;
}

/// spatial * exp(-z), z = d^2 / (2 sigma^2), as (1 - y + y^2 / 2)^16 with y = z / 16 <= 1: within 0.6 % of spatial.
OG_FN uint16_t weight_of(int16_t d, int16_t spatial, int16_t limit, int16_t scale, int16_t factor) {
    const int16_t near = min_of(d, limit);
    const int16_t p = mul(static_cast<int16_t>(near * scale), factor);
    const int16_t y = static_cast<int16_t>(mul(p, p) << 2);
    int16_t u = static_cast<int16_t>(static_cast<int16_t>(32767 - y) + static_cast<int16_t>(mul(y, y) >> 1));
    u = mul(u, u);
    u = mul(u, u);
    u = mul(u, u);
    u = mul(u, u);
    return static_cast<uint16_t>(mul(u, spatial));
}

/// One tap: its weight, and its weighted samples added to the partial sums.
template <int C>
OG_FN void add_tap(int16_t r, int16_t g, int16_t b, int16_t r1, int16_t g1, int16_t b1, int16_t spatial, int16_t limit,
                   int16_t scale, int16_t factor, uint16_t part[4]) {
    int16_t d = distance(r, r1);
    if (C == 3) d = static_cast<int16_t>(d + distance(g, g1) + distance(b, b1));
    const uint16_t w = weight_of(d, spatial, limit, scale, factor);
    part[0] = static_cast<uint16_t>(part[0] + w * static_cast<uint16_t>(r1));
    if (C == 3) {
        part[1] = static_cast<uint16_t>(part[1] + w * static_cast<uint16_t>(g1));
        part[2] = static_cast<uint16_t>(part[2] + w * static_cast<uint16_t>(b1));
    }
    part[3] = static_cast<uint16_t>(part[3] + w);
}

template <int C>
OG_FN void bilateral_of(const int16_t* const* planes, int64_t n, const BilateralTaps& taps, uint32_t* OG_RESTRICT sums) {
    uint32_t *OG_RESTRICT s0 = sums, *OG_RESTRICT s1 = sums + n, *OG_RESTRICT s2 = sums + 2 * n, *OG_RESTRICT sw = sums + 3 * n;
    const int16_t limit = taps.limit, factor = taps.factor, scale = taps.scale;
    const int16_t *r = planes[0], *g = C == 3 ? planes[1] : r, *b = C == 3 ? planes[2] : r;
    memset(sums, 0, static_cast<size_t>(4 * n) * sizeof(uint32_t));
    for (int t = 0; t < taps.count; t += kBilateralGroup) {
        const int64_t o0 = taps.offset[t], o1 = taps.offset[t + 1], o2 = taps.offset[t + 2], o3 = taps.offset[t + 3];
        const int16_t w0 = taps.spatial[t], w1 = taps.spatial[t + 1], w2 = taps.spatial[t + 2], w3 = taps.spatial[t + 3];
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            uint16_t part[4] = {0, 0, 0, 0};
            add_tap<C>(r[i], g[i], b[i], r[i + o0], g[i + o0], b[i + o0], w0, limit, scale, factor, part);
            add_tap<C>(r[i], g[i], b[i], r[i + o1], g[i + o1], b[i + o1], w1, limit, scale, factor, part);
            add_tap<C>(r[i], g[i], b[i], r[i + o2], g[i + o2], b[i + o2], w2, limit, scale, factor, part);
            add_tap<C>(r[i], g[i], b[i], r[i + o3], g[i + o3], b[i + o3], w3, limit, scale, factor, part);
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
                   uint32_t* OG_RESTRICT sums, const uint8_t* alpha_src, uint8_t* OG_RESTRICT dst) {
    // Sums stay below 52 * 64 * 255 < 2^24 for radius 4, below 2^31 always; the signed conversion is one instruction.
    if (channels == 1) {
        bilateral_of<1>(planes, n, taps, sums);
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            const float inverse = 1.0f / static_cast<float>(static_cast<int32_t>(sums[3 * n + i]));
            dst[i] = static_cast<uint8_t>(static_cast<int32_t>(static_cast<float>(static_cast<int32_t>(sums[i])) * inverse + 0.5f));
        }
        return;
    }
    bilateral_of<3>(planes, n, taps, sums);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const float inverse = 1.0f / static_cast<float>(static_cast<int32_t>(sums[3 * n + i]));
        const int32_t r = static_cast<int32_t>(static_cast<float>(static_cast<int32_t>(sums[i])) * inverse + 0.5f);
        const int32_t g = static_cast<int32_t>(static_cast<float>(static_cast<int32_t>(sums[n + i])) * inverse + 0.5f);
        const int32_t b = static_cast<int32_t>(static_cast<float>(static_cast<int32_t>(sums[2 * n + i])) * inverse + 0.5f);
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
        const float mean = static_cast<float>(s1[i]) * inverse;
        const float variance = max_of(static_cast<float>(s2[i]) * inverse - mean * mean, 0.0f);
        const float slope = variance / (variance + eps);
        a[i] = static_cast<int32_t>(slope * 4096.0f + 0.5f);
        b[i] = static_cast<int32_t>((mean - mean * slope) * 16.0f + 0.5f);
    }
}

void guided_out(const uint8_t* src, const int32_t* a, const int32_t* b, int64_t n, int count, uint8_t* OG_RESTRICT dst) {
    const float scale_a = 1.0f / (4096.0f * static_cast<float>(count)), scale_b = 1.0f / (16.0f * static_cast<float>(count));
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const float v = static_cast<float>(a[i]) * scale_a * static_cast<float>(src[i]) + static_cast<float>(b[i]) * scale_b;
        dst[i] = static_cast<uint8_t>(static_cast<int32_t>(clamp_to(v + 0.5f, 0.0f, 255.0f)));
    }
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
const EdgeKernels edge_kernels = {planes, bilateral_row, guided_terms, guided_out, sums_u8, sums_i32, window};

}  // namespace OG_ISA
}  // namespace og
