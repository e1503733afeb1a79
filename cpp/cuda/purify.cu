#include "cuda/launch.hpp"
#include "kernels/purify_math.hpp"

namespace og {
namespace cuda {
namespace {

/// One channel of a tile with its surroundings, and the columns under every window, sorted.
template <int kSize>
struct MedianTile {
    uint8_t value[kTileY + kSize - 1][kTileX + kSize - 1];
    uint8_t rank[kSize][kTileY][kTileX + kSize - 1];
};

template <int kSize>
OG_FN uint8_t median_at(const MedianTile<kSize>& t, int y, int x) {
    uint8_t m[kSize][kSize];
    for (int k = 0; k < kSize; ++k) {
        for (int i = 0; i < kSize; ++i) m[k][i] = t.rank[k][y][x + i];
    }
    return median_of_columns(m);
}

template <int kSize>
__global__ void median(Plane in, uint8_t* out) {
    OG_SHARED(MedianTile<kSize>, t);
    constexpr int kRadius = kSize / 2, kWideX = kTileX + kSize - 1, kWideY = kTileY + kSize - 1;
    const int across = (in.width + kTileX - 1) / kTileX, tid = static_cast<int>(threadIdx.x);
    const int x0 = static_cast<int>(blockIdx.x) % across * kTileX, y0 = static_cast<int>(blockIdx.x) / across * kTileY;
    const int lx = tid % kTileX, ly = tid / kTileX, x = x0 + lx, y = y0 + ly;
    for (int c = 0; c < in.channels; ++c) {
        for (int i = tid; i < kWideY * kWideX; i += kThreads) {
            const int64_t sy = clamp_to(y0 + i / kWideX - kRadius, 0, in.height - 1);
            const int64_t sx = clamp_to(x0 + i % kWideX - kRadius, 0, in.width - 1);
            t.value[i / kWideX][i % kWideX] = in.data[(sy * in.width + sx) * in.channels + c];
        }
        __syncthreads();
        for (int i = tid; i < kTileY * kWideX; i += kThreads) {
            uint8_t v[kSize];
            for (int k = 0; k < kSize; ++k) v[k] = t.value[i / kWideX + k][i % kWideX];
            sort_column(v);
            for (int k = 0; k < kSize; ++k) t.rank[k][i / kWideX][i % kWideX] = v[k];
        }
        __syncthreads();
        if (x < in.width && y < in.height)
            out[(static_cast<int64_t>(y) * in.width + x) * in.channels + c] = median_at(t, ly, lx);
        // The next channel's load and sort write what nobody reads any more: `value` was read before the last barrier, and
        // `rank` is written behind the next one.
    }
}

__global__ void bit_depth(const uint8_t* in, uint8_t* out, int64_t n, int levels) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i < n) out[i] = keep_levels(in[i], levels, level_scale(levels));
}

__global__ void low_bits(const uint8_t* in, uint8_t* out, int64_t n, int bits) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i < n) out[i] = repeat_high_bits(in[i], (1 << bits) - 1, 8 - bits);
}

int64_t samples(const Plane& p) {
    return static_cast<int64_t>(p.height) * p.width * p.channels;
}

}  // namespace

void launch_median(const Plane& in, uint8_t* out, int size, cudaStream_t stream) {
    if (size == 3) {
        OG_LAUNCH(median<3>, tiles_for(in.height, in.width), kThreads, stream, in, out);
    } else {
        OG_LAUNCH(median<5>, tiles_for(in.height, in.width), kThreads, stream, in, out);
    }
}

void launch_bit_depth(const Plane& in, uint8_t* out, int bits, cudaStream_t stream) {
    OG_LAUNCH(bit_depth, blocks_for(samples(in)), kThreads, stream, in.data, out, samples(in), (1 << bits) - 1);
}

void launch_low_bits(const Plane& in, uint8_t* out, int bits, cudaStream_t stream) {
    OG_LAUNCH(low_bits, blocks_for(samples(in)), kThreads, stream, in.data, out, samples(in), bits);
}

}  // namespace cuda
}  // namespace og
