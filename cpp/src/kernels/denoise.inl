#include "kernels/denoise_kernels.hpp"
#include "kernels/denoise_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

void tv_image(const uint8_t* f, const float* p0, const float* p0_above, const float* p1, int64_t n, int64_t step,
              float* OG_RESTRICT u) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) u[i] = tv_value(f[i], p0[i], p0_above[i], p1[i], p1[i - step]);
    for (int64_t c = 0; c < step; ++c) u[n + c] = u[n - step + c];
}

void tv_dual(const float* u, const float* u_below, int64_t n, int64_t step, float tau, float factor,
             float* OG_RESTRICT p0, float* OG_RESTRICT p1) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) tv_step(u_below[i] - u[i], u[i + step] - u[i], tau, factor, p0[i], p1[i]);
}

void to_samples(const float* u, int64_t n, uint8_t* OG_RESTRICT dst) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = to_sample(u[i] + 0.5f);
}

/// Sum over the planes of the squared difference between a row and the same row moved.
template <int C>
OG_FN void nlm_differences(const NlmTile& t, int64_t offset, int64_t n, int32_t* OG_RESTRICT fresh,
                           int32_t* OG_RESTRICT column) {
    const int16_t *a = t.plane[0] + offset, *b = C == 3 ? t.plane[1] + offset : a,
                  *c = C == 3 ? t.plane[2] + offset : a;
    const int64_t m = t.moved;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        uint32_t sum = squared_difference(a[i], a[i + m]);
        if (C == 3) sum += squared_difference(b[i], b[i + m]) + squared_difference(c[i], c[i + m]);
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
        const float w = patch_weight(patch, scale);
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
            dst[i * channels + c] = nlm_sample(sums[c][i], inverse);
        }
        if (channels == 4) dst[4 * i + 3] = alpha_src[4 * i + 3];
    }
}

void haar(const int16_t* a, const int16_t* b, int64_t half, int16_t* OG_RESTRICT ll, int16_t* OG_RESTRICT lh,
          int16_t* OG_RESTRICT hl, int16_t* OG_RESTRICT hh) {
    OG_IVDEP
    for (int64_t i = 0; i < half; ++i) {
        const Haar h = haar_of(a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]);
        ll[i] = h.ll;
        lh[i] = h.lh;
        hl[i] = h.hl;
        hh[i] = h.hh;
    }
}

int64_t sum_of_squares(const int16_t* row, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<int64_t>(row[i]) * row[i];
    return sum;
}

void unhaar(const float* ll, const int16_t* lh, const int16_t* hl, const int16_t* hh, const float* thresholds,
            int64_t half, float* OG_RESTRICT a, float* OG_RESTRICT b) {
    const float t0 = thresholds[0], t1 = thresholds[1], t2 = thresholds[2];
    OG_IVDEP
    for (int64_t i = 0; i < half; ++i) {
        const Square o = unhaar_of(ll[i], lh[i], hl[i], hh[i], t0, t1, t2);
        a[2 * i] = o.p;
        a[2 * i + 1] = o.q;
        b[2 * i] = o.r;
        b[2 * i + 1] = o.s;
    }
}

template <int Step>
OG_FN void spread(const uint8_t* from, int64_t n, int16_t* OG_RESTRICT to) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) to[i] = from[i * Step];
}

void channel(const uint8_t* from, int64_t step, int64_t n, int16_t* to) {
    if (step == 1) return spread<1>(from, n, to);
    if (step == 3) return spread<3>(from, n, to);
    return spread<4>(from, n, to);
}

void add(const float* from, int64_t n, float* OG_RESTRICT to) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) to[i] += from[i];
}

void to_channel(const float* from, float share, int64_t n, int64_t step, uint8_t* OG_RESTRICT to) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) to[i * step] = to_sample(from[i] * share + 0.5f);
}

}  // namespace

extern const DenoiseKernels denoise_kernels;
const DenoiseKernels denoise_kernels = {
    tv_image, tv_dual, to_samples, nlm_displacement, nlm_row, haar, sum_of_squares, unhaar, channel, add, to_channel,
};

}  // namespace OG_ISA
}  // namespace og
