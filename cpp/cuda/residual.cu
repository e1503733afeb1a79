#include "cuda/launch.hpp"
#include "kernels/residual_math.hpp"

namespace og {
namespace cuda {
namespace {

constexpr int kTile = 16, kReach = 4, kRows = kTile + kReach, kSums = 82;
constexpr int kPlaneSums = 18, kJoint = 1 + 3 * kPlaneSums, kPhase = kJoint + 3, kBlock = kPhase + 8;

struct ResidualTile {
    int16_t plane[3][kRows][kRows];
    int16_t detail[3][kTile + 2][kTile + 2];
    int32_t sums[kSums];
};

/// One block of threads for each tile, one thread for each of its pixels. Whole numbers: the order of additions is free.
__global__ void tile_sums(Plane in, int across, int every, long long* out) {
    OG_SHARED(ResidualTile, t);
    const int tid = static_cast<int>(threadIdx.x), lx = tid % kTile, ly = tid / kTile;
    const int x0 = static_cast<int>(blockIdx.x) % across * every * kTile;
    const int y0 = static_cast<int>(blockIdx.x) / across * every * kTile;
    for (int i = tid; i < kSums; i += kThreads) t.sums[i] = 0;
    for (int i = tid; i < kRows * kRows; i += kThreads) {
        const int y = y0 + i / kRows, x = x0 + i % kRows;
        ResidualPlanes p{0, 0, 0};
        if (y < in.height && x < in.width) {
            const uint8_t* s = in.data + (static_cast<int64_t>(y) * in.width + x) * in.channels;
            p = in.channels == 1 ? ResidualPlanes{s[0], 0, 0} : residual_planes_of(s[0], s[1], s[2]);
        }
        t.plane[0][i / kRows][i % kRows] = p.y;
        t.plane[1][i / kRows][i % kRows] = p.u;
        t.plane[2][i / kRows][i % kRows] = p.v;
    }
    __syncthreads();
    for (int i = tid; i < 3 * (kTile + 2) * (kTile + 2); i += kThreads) {
        const int c = i / ((kTile + 2) * (kTile + 2)), y = i / (kTile + 2) % (kTile + 2), x = i % (kTile + 2);
        const auto& p = t.plane[c];
        t.detail[c][y][x] = clipped(haar_detail(p[y][x], p[y][x + 1], p[y + 1][x], p[y + 1][x + 1]));
    }
    __syncthreads();
    // A pixel counts when it has four neighbours to its right and below.
    if (y0 + ly + kReach < in.height && x0 + lx + kReach < in.width) {
        atomicAdd(&t.sums[0], 1);
        for (int c = 0; c < 3; ++c) {
            const auto& p = t.plane[c];
            const auto& a = t.detail[c];
            const int16_t v = a[ly][lx], here = p[ly][lx], m = magnitude(v);
            const int values[11] = {
                m,
                times(v, v),
                capped(haar_detail(here, p[ly][lx + 2], p[ly + 2][lx], p[ly + 2][lx + 2])),
                capped(haar_detail(here, p[ly][lx + 4], p[ly + 4][lx], p[ly + 4][lx + 4])),
                capped(minus(here, p[ly][lx + 1])),
                capped(minus(here, p[ly + 1][lx])),
                times(v, a[ly][lx + 1]),
                times(v, a[ly][lx + 2]),
                times(v, a[ly + 1][lx]),
                times(v, a[ly + 2][lx]),
                times(v, a[ly + 1][lx + 1]),
            };
            int32_t* sums = t.sums + 1 + c * kPlaneSums;
            for (int i = 0; i < 11; ++i) atomicAdd(&sums[i], values[i]);
            for (int i = 0; i < 7; ++i) {
                const int limit = i == 0 ? 0 : 1 << (i - 1);  // 0, 1, 2, 4, 8, 16, 32
                if (m <= limit) atomicAdd(&sums[11 + i], 1);
            }
        }
        const int16_t y = t.detail[0][ly][lx], u = t.detail[1][ly][lx], v = t.detail[2][ly][lx];
        atomicAdd(&t.sums[kJoint], static_cast<int>(times(y, u)));
        atomicAdd(&t.sums[kJoint + 1], static_cast<int>(times(y, v)));
        atomicAdd(&t.sums[kJoint + 2], static_cast<int>(times(u, v)));
        // Tiles begin at multiples of 16, so that a pixel's place in its tile gives its parity and its place among 8.
        const int phase = 2 * (ly & 1) + (lx & 1);
        atomicAdd(&t.sums[kPhase + phase], static_cast<int>(magnitude(y)));
        atomicAdd(&t.sums[kPhase + 4 + phase], static_cast<int>(magnitude(u)));
        const auto& luma = t.plane[0];
        atomicAdd(&t.sums[kBlock + (lx & 7)], static_cast<int>(capped(minus(luma[ly][lx], luma[ly][lx + 1]))));
        atomicAdd(&t.sums[kBlock + 8 + (ly & 7)], static_cast<int>(capped(minus(luma[ly][lx], luma[ly + 1][lx]))));
    }
    __syncthreads();
    for (int i = tid; i < kSums; i += kThreads) out[static_cast<int64_t>(blockIdx.x) * kSums + i] = t.sums[i];
}

}  // namespace

void launch_tile_sums(const Plane& in, long long* out, int down, int across, int every, cudaStream_t stream) {
    OG_LAUNCH(tile_sums, dim3(static_cast<unsigned>(down) * static_cast<unsigned>(across)), kThreads, stream, in,
              across, every, out);
}

}  // namespace cuda
}  // namespace og
