#include "kernels/common.hpp"
#include "kernels/denoise_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

void tv_image(const uint8_t* f, const float* p0, const float* p0_above, const float* p1, int64_t n, int64_t step,
              float* OG_RESTRICT u) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        u[i] = static_cast<float>(f[i]) + ((p0_above[i] - p0[i]) + (p1[i - step] - p1[i]));
    }
    for (int64_t c = 0; c < step; ++c) u[n + c] = u[n - step + c];
}

void tv_dual(const float* u, const float* u_below, int64_t n, int64_t step, float tau, float factor,
             float* OG_RESTRICT p0, float* OG_RESTRICT p1) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const float down = u_below[i] - u[i], across = u[i + step] - u[i];
        const float inverse = 1.0f / (1.0f + factor * __builtin_sqrtf(down * down + across * across));
        p0[i] = (p0[i] - tau * down) * inverse;
        p1[i] = (p1[i] - tau * across) * inverse;
    }
}

void to_samples(const float* u, int64_t n, uint8_t* OG_RESTRICT dst) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<uint8_t>(static_cast<int32_t>(clamp_to(u[i] + 0.5f, 0.0f, 255.0f)));
}

/// Sum over the planes of the squared difference between a row and the same row moved.
template <int C>
OG_FN void nlm_differences(const NlmTile& t, int64_t offset, int64_t n, int32_t* OG_RESTRICT fresh,
                           int32_t* OG_RESTRICT column) {
    const int16_t *a = t.plane[0] + offset, *b = C == 3 ? t.plane[1] + offset : a, *c = C == 3 ? t.plane[2] + offset : a;
    const int64_t m = t.moved;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int16_t d0 = static_cast<int16_t>(a[i] - a[i + m]);
        uint32_t sum = static_cast<uint16_t>(d0 * d0);
        if (C == 3) {
            const int16_t d1 = static_cast<int16_t>(b[i] - b[i + m]), d2 = static_cast<int16_t>(c[i] - c[i + m]);
            sum += static_cast<uint32_t>(static_cast<uint16_t>(d1 * d1)) + static_cast<uint16_t>(d2 * d2);
        }
        column[i] += static_cast<int32_t>(sum) - fresh[i];  // fresh still holds the row that leaves the patch
        fresh[i] = static_cast<int32_t>(sum);
    }
}

template <int C>
OG_FN void nlm_accumulate(const NlmTile& t, int64_t y) {
    const int64_t n = t.columns, at = y * t.stride + t.moved;
    const int32_t* column = t.column;
    const int16_t *a = t.plane[0] + at, *b = C == 3 ? t.plane[1] + at : a, *c = C == 3 ? t.plane[2] + at : a;
    float* OG_RESTRICT weights = t.weights + y * n;
    float* OG_RESTRICT s0 = t.sums[0] + y * n;
    float* OG_RESTRICT s1 = C == 3 ? t.sums[1] + y * n : s0;
    float* OG_RESTRICT s2 = C == 3 ? t.sums[2] + y * n : s0;
    const float scale = t.scale;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int32_t patch = ((column[i] + column[i + 1]) + (column[i + 2] + column[i + 3])) +
                              ((column[i + 4] + column[i + 5]) + column[i + 6]);
        // exp(-z) = (1 - y + y^2 / 2)^16, y = z / 16; beyond z = 16 a patch weighs nothing.
        const float y16 = min_of(static_cast<float>(patch) * scale, 1.0f);
        float w = (1.0f - y16) + y16 * y16 * 0.5f;
        w *= w;
        w *= w;
        w *= w;
        w *= w;
        weights[i] += w;
        s0[i] += w * static_cast<float>(a[i]);
        if (C == 3) {
            s1[i] += w * static_cast<float>(b[i]);
            s2[i] += w * static_cast<float>(c[i]);
        }
    }
}

template <int C>
OG_FN void nlm_of(const NlmTile& t) {
    constexpr int kSide = 2 * kNlmPatch + 1;
    const int64_t wide = t.columns + 2 * kNlmPatch;
    memset(t.column, 0, static_cast<size_t>(wide) * sizeof(int32_t));
    memset(t.ring, 0, static_cast<size_t>(kSide * wide) * sizeof(int32_t));
    int slot = 0;
    for (int64_t y = -kNlmPatch; y < t.rows + kNlmPatch; ++y) {
        nlm_differences<C>(t, y * t.stride - kNlmPatch, wide, t.ring + slot * wide, t.column);
        slot = slot + 1 == kSide ? 0 : slot + 1;
        if (y >= kNlmPatch) nlm_accumulate<C>(t, y - kNlmPatch);
    }
}

void nlm_displacement(const NlmTile& tile) {
    if (tile.planes == 1) return nlm_of<1>(tile);
    nlm_of<3>(tile);
}

void nlm_row(const float* const* sums, const float* weights, int channels, int64_t n, const uint8_t* alpha_src,
             uint8_t* OG_RESTRICT dst) {
    for (int64_t i = 0; i < n; ++i) {
        const float inverse = 1.0f / weights[i];
        for (int c = 0; c < (channels == 1 ? 1 : 3); ++c) {
            dst[i * channels + c] = static_cast<uint8_t>(static_cast<int32_t>(clamp_to(sums[c][i] * inverse + 0.5f, 0.0f, 255.0f)));
        }
        if (channels == 4) dst[4 * i + 3] = alpha_src[4 * i + 3];
    }
}

void haar(const int16_t* a, const int16_t* b, int64_t half, int16_t* OG_RESTRICT ll, int16_t* OG_RESTRICT lh,
          int16_t* OG_RESTRICT hl, int16_t* OG_RESTRICT hh) {
    OG_IVDEP
    for (int64_t i = 0; i < half; ++i) {
        const int16_t p = static_cast<int16_t>(a[2 * i] + a[2 * i + 1]), q = static_cast<int16_t>(b[2 * i] + b[2 * i + 1]);
        const int16_t r = static_cast<int16_t>(a[2 * i] - a[2 * i + 1]), s = static_cast<int16_t>(b[2 * i] - b[2 * i + 1]);
        ll[i] = static_cast<int16_t>(p + q);
        lh[i] = static_cast<int16_t>(p - q);
        hl[i] = static_cast<int16_t>(r + s);
        hh[i] = static_cast<int16_t>(r - s);
    }
}

int64_t sum_of_squares(const int16_t* row, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<int64_t>(row[i]) * row[i];
    return sum;
}

OG_FN float soft(int16_t value, float threshold) {
    const float v = static_cast<float>(value);
    return v - clamp_to(v, -threshold, threshold);
}

void unhaar(const float* ll, const int16_t* lh, const int16_t* hl, const int16_t* hh, const float* thresholds,
            int64_t half, float* OG_RESTRICT a, float* OG_RESTRICT b) {
    const float t0 = thresholds[0], t1 = thresholds[1], t2 = thresholds[2];
    OG_IVDEP
    for (int64_t i = 0; i < half; ++i) {
        const float v = soft(lh[i], t0), h = soft(hl[i], t1), d = soft(hh[i], t2);
        const float p = (ll[i] + v) * 0.25f, q = (ll[i] - v) * 0.25f, r = (h + d) * 0.25f, s = (h - d) * 0.25f;
        a[2 * i] = p + r;
        a[2 * i + 1] = p - r;
        b[2 * i] = q + s;
        b[2 * i + 1] = q - s;
    }
}

}  // namespace

extern const DenoiseKernels denoise_kernels;
const DenoiseKernels denoise_kernels = {
    tv_image, tv_dual, to_samples, nlm_displacement, nlm_row, haar, sum_of_squares, unhaar,
};

}  // namespace OG_ISA
}  // namespace og
