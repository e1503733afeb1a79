#include "cuda/launch.hpp"
#include "kernels/typographic_math.hpp"

namespace og {
namespace cuda {
namespace {

constexpr int kRadius = 7, kWideX = kTileX + 2 * kRadius, kWideY = kTileY + 2 * kRadius;

struct PatchTile {
    int16_t value[kWideY][kWideX];
    int32_t sum[kWideY][kTileX], square[kWideY][kTileX];
};

OG_FN int16_t contrast_channel(const uint8_t* p, int channels, int c) {
    if (channels == 1) return c == 0 ? p[0] : static_cast<int16_t>(0);
    const Contrasts v = contrasts_of(p[0], p[1], p[2]);
    return c == 0 ? v.y : c == 1 ? v.rg : v.by;
}

__global__ void patches(Plane in, uint8_t* out, int cells_across) {
    OG_SHARED(PatchTile, t);
    const int across = 4 * cells_across / kTileX, tid = static_cast<int>(threadIdx.x);
    const int x0 = static_cast<int>(blockIdx.x) % across * kTileX, y0 = static_cast<int>(blockIdx.x) / across * kTileY;
    const int lx = tid % kTileX, ly = tid / kTileX, x = x0 + lx, y = y0 + ly;
    uint32_t word = 0;
    for (int c = 0; c < 3; ++c) {
        for (int i = tid; i < kWideY * kWideX; i += kThreads) {
            const int64_t sy = mirror_index(y0 + i / kWideX - kRadius, in.height);
            const int64_t sx = mirror_index(x0 + i % kWideX - kRadius, in.width);
            t.value[i / kWideX][i % kWideX] =
                contrast_channel(in.data + (sy * in.width + sx) * in.channels, in.channels, c);
        }
        __syncthreads();
        for (int i = tid; i < kWideY * kTileX; i += kThreads) {
            int32_t sum = 0, square = 0;
            for (int k = 0; k <= 2 * kRadius; ++k) {
                const int32_t v = t.value[i / kTileX][i % kTileX + k];
                sum += v;
                square += v * v;
            }
            t.sum[i / kTileX][i % kTileX] = sum;
            t.square[i / kTileX][i % kTileX] = square;
        }
        __syncthreads();
        int32_t sum = 0, square = 0;
        for (int k = 0; k <= 2 * kRadius; ++k) {
            sum += t.sum[ly + k][lx];
            square += t.square[ly + k][lx];
        }
        const int16_t v = t.value[ly + kRadius][lx + kRadius];
        if (c == 0) word = static_cast<uint32_t>(v);
        word |= static_cast<uint32_t>(contrast_level(v, sum, square)) << (8 * (c + 1));
        __syncthreads();
    }
    // Sides are multiples of 32 and of 8: every thread has a pixel.
    uint8_t* cell = out + (static_cast<int64_t>(y / 4) * cells_across + x / 4) * 64 + y % 4 * 16 + x % 4 * 4;
    for (int k = 0; k < 4; ++k) cell[k] = static_cast<uint8_t>(word >> (8 * k));
}

__global__ void strips(Plane in, uint8_t* out, const StripRow* rows) {
    const StripRow row = rows[blockIdx.x];
    const Strip strip{in.data,     in.height, in.width, static_cast<int64_t>(in.width) * in.channels,
                      in.channels, row.x0,    row.y0,   row.dx,
                      row.dy,      row.ux,    row.uy,   row.vx,
                      row.vy,      row.taps};
    for (int i = static_cast<int>(threadIdx.x); i < row.n; i += kThreads) out[row.offset + i] = strip_sample(strip, i);
}

}  // namespace

void launch_patches(const Plane& in, uint8_t* out, int cells_down, int cells_across, cudaStream_t stream) {
    OG_LAUNCH(patches, tiles_for(4 * cells_down, 4 * cells_across), kThreads, stream, in, out, cells_across);
}

void launch_strips(const Plane& in, uint8_t* out, const StripRow* rows, int count, cudaStream_t stream) {
    OG_LAUNCH(strips, dim3(static_cast<unsigned>(count)), kThreads, stream, in, out, rows);
}

}  // namespace cuda
}  // namespace og
