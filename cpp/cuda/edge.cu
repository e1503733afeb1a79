#include "cuda/launch.hpp"
#include "kernels/edge_kernels.hpp"
#include "kernels/edge_math.hpp"

namespace og {
namespace cuda {
namespace {

constexpr int kMostRadius = 8;         // of the bilateral filter
constexpr int kMostGuidedRadius = 16;  // of the guided filter

/// Colours of a tile with its surroundings.
struct BilateralTile {
    int16_t plane[3][kTileY + 2 * kMostRadius][kTileX + 2 * kMostRadius];
};

struct BilateralJob {
    Plane in;
    uint8_t* out;
    const BilateralTap* taps;
    int count, radius;
    int16_t limit, scale, factor;
};

template <int C>
__global__ void bilateral(BilateralJob job) {
    OG_SHARED(BilateralTile, t);
    const Plane& in = job.in;
    const int across = (in.width + kTileX - 1) / kTileX, tid = static_cast<int>(threadIdx.x), radius = job.radius;
    const int x0 = static_cast<int>(blockIdx.x) % across * kTileX, y0 = static_cast<int>(blockIdx.x) / across * kTileY;
    const int wide = kTileX + 2 * radius, high = kTileY + 2 * radius;
    for (int i = tid; i < wide * high; i += kThreads) {
        const int64_t sy = mirror_index(y0 + i / wide - radius, in.height),
                      sx = mirror_index(x0 + i % wide - radius, in.width);
        const uint8_t* s = in.data + (sy * in.width + sx) * in.channels;
        for (int c = 0; c < C; ++c) t.plane[c][i / wide][i % wide] = s[c];
    }
    __syncthreads();
    const int lx = tid % kTileX + radius, ly = tid / kTileX + radius, x = x0 + lx - radius, y = y0 + ly - radius;
    if (x >= in.width || y >= in.height) return;
    const int16_t r = t.plane[0][ly][lx], g = C == 3 ? t.plane[1][ly][lx] : r, b = C == 3 ? t.plane[2][ly][lx] : r;
    uint32_t sums[4] = {0, 0, 0, 0};
    for (int i = 0; i < job.count; i += kBilateralGroup) {
        uint16_t part[4] = {0, 0, 0, 0};
        for (int k = i; k < i + kBilateralGroup; ++k) {
            const BilateralTap tap = job.taps[k];
            const int ty = ly + tap.dy, tx = lx + tap.dx;
            const int16_t r1 = t.plane[0][ty][tx], g1 = C == 3 ? t.plane[1][ty][tx] : r1,
                          b1 = C == 3 ? t.plane[2][ty][tx] : r1;
            const int16_t d = distance_of<C>(r, g, b, r1, g1, b1);
            add_tap<C>(weight_of(d, tap.spatial, job.limit, job.scale, job.factor), r1, g1, b1, part);
        }
        for (int k = 0; k < 4; ++k) sums[k] += part[k];
    }
    const float inverse = inverse_of(sums[3]);
    const int64_t at = (static_cast<int64_t>(y) * in.width + x) * in.channels;
    for (int c = 0; c < C; ++c) job.out[at + c] = static_cast<uint8_t>(weighted_mean(sums[c], inverse));
    if (in.channels == 4) job.out[at + 3] = in.data[at + 3];
}

constexpr int kWideX = kTileX + 2 * kMostGuidedRadius, kWideY = kTileY + 2 * kMostGuidedRadius;

/// Two values of every pixel of a tile with its surroundings, and their sums along x.
struct GuidedTile {
    int32_t first[kWideY][kWideX], second[kWideY][kWideX];
    int32_t first_sum[kWideY][kTileX], second_sum[kWideY][kTileX];
};

struct GuidedJob {
    Plane in;
    uint8_t* out;
    int32_t *a, *b;
    int radius;
    float eps;
};

/// Sums the window of this thread's pixel, of which the block has loaded `first` and `second` and met a barrier.
__device__ inline void window_sums(GuidedTile& t, int radius, int32_t& s1, int32_t& s2) {
    const int tid = static_cast<int>(threadIdx.x), high = kTileY + 2 * radius;
    for (int i = tid; i < high * kTileX; i += kThreads) {
        int32_t p = 0, q = 0;
        for (int k = 0; k <= 2 * radius; ++k) {
            p += t.first[i / kTileX][i % kTileX + k];
            q += t.second[i / kTileX][i % kTileX + k];
        }
        t.first_sum[i / kTileX][i % kTileX] = p;
        t.second_sum[i / kTileX][i % kTileX] = q;
    }
    __syncthreads();
    s1 = s2 = 0;
    for (int k = 0; k <= 2 * radius; ++k) {
        s1 += t.first_sum[tid / kTileX + k][tid % kTileX];
        s2 += t.second_sum[tid / kTileX + k][tid % kTileX];
    }
}

/// kOut: from the terms to the result; else from the samples to the terms.
template <bool kOut>
__global__ void guided(GuidedJob job) {
    OG_SHARED(GuidedTile, t);
    const Plane& in = job.in;
    const int across = (in.width + kTileX - 1) / kTileX, tid = static_cast<int>(threadIdx.x), radius = job.radius;
    const int x0 = static_cast<int>(blockIdx.x) % across * kTileX, y0 = static_cast<int>(blockIdx.x) / across * kTileY;
    const int x = x0 + tid % kTileX, y = y0 + tid / kTileX, wide = kTileX + 2 * radius, high = kTileY + 2 * radius;
    const int count = (2 * radius + 1) * (2 * radius + 1);
    for (int c = 0; c < in.channels; ++c) {
        for (int i = tid; i < wide * high; i += kThreads) {
            const int64_t sy = mirror_index(y0 + i / wide - radius, in.height),
                          sx = mirror_index(x0 + i % wide - radius, in.width);
            const int64_t from = (sy * in.width + sx) * in.channels + c;
            t.first[i / wide][i % wide] = kOut ? job.a[from] : in.data[from];
            t.second[i / wide][i % wide] = kOut ? job.b[from] : in.data[from] * in.data[from];
        }
        __syncthreads();
        int32_t s1, s2;
        window_sums(t, radius, s1, s2);
        // The next channel's load writes what was read before the barrier within; its sums are written behind the next one.
        if (x >= in.width || y >= in.height) continue;
        const int64_t at = (static_cast<int64_t>(y) * in.width + x) * in.channels + c;
        if (kOut) {
            job.out[at] = guided_sample(in.data[at], s1, s2, guided_scale_a(count), guided_scale_b(count));
        } else {
            const GuidedTerms terms = guided_terms_of(s1, s2, 1.0f / static_cast<float>(count), job.eps);
            job.a[at] = terms.a;
            job.b[at] = terms.b;
        }
    }
}

}  // namespace

void launch_bilateral(const Plane& in, uint8_t* out, const BilateralTap* taps, int count, int radius, int limit,
                      int scale, int factor, cudaStream_t stream) {
    const BilateralJob job{in,
                           out,
                           taps,
                           count,
                           radius,
                           static_cast<int16_t>(limit),
                           static_cast<int16_t>(scale),
                           static_cast<int16_t>(factor)};
    if (in.channels == 1) {
        OG_LAUNCH(bilateral<1>, tiles_for(in.height, in.width), kThreads, stream, job);
    } else {
        OG_LAUNCH(bilateral<3>, tiles_for(in.height, in.width), kThreads, stream, job);
    }
}

void launch_guided(const Plane& in, uint8_t* out, int32_t* a, int32_t* b, int radius, float eps, cudaStream_t stream) {
    const GuidedJob job{in, out, a, b, radius, eps};
    OG_LAUNCH(guided<false>, tiles_for(in.height, in.width), kThreads, stream, job);
    OG_LAUNCH(guided<true>, tiles_for(in.height, in.width), kThreads, stream, job);
}

}  // namespace cuda
}  // namespace og
