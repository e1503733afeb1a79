#include "cuda/launch.hpp"
#include "kernels/signal_math.hpp"

namespace og {
namespace cuda {
namespace {

__global__ void luma(Plane in, uint8_t* out, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= n) return;
    const uint8_t* p = in.data + 3 * i;
    out[i] = in.channels == 3 ? quarter_luma(p[0], p[1], p[2]) : in.data[i];
}

struct RowSums {
    unsigned long long sum[kThreads], square[kThreads];
};

/// One block for each row.
__global__ void residual(const uint8_t* luma, int height, int width, const int32_t* bins, int d, uint8_t* plane,
                         unsigned long long* sums, unsigned long long* squares) {
    OG_SHARED(RowSums, t);
    const int tid = static_cast<int>(threadIdx.x), y = static_cast<int>(blockIdx.x);
    const uint8_t* here = luma + static_cast<int64_t>(y) * width;
    const uint8_t* above = luma + static_cast<int64_t>(max_of(y - d, 0)) * width;
    const uint8_t* below = luma + static_cast<int64_t>(min_of(y + d, height - 1)) * width;
    const bool wanted = bins[y] >= 0;
    unsigned long long sum = 0, square = 0;
    for (int x = tid; x < width; x += kThreads) {
        uint8_t e = 0;
        if (wanted) e = sticks_out(here[x], here[max_of(x - d, 0)], here[min_of(x + d, width - 1)], above[x], below[x]);
        plane[static_cast<int64_t>(y) * width + x] = e;
        sum += e;
        square += static_cast<unsigned long long>(e * e);
    }
    t.sum[tid] = sum;
    t.square[tid] = square;
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
        if (tid < half) {
            t.sum[tid] += t.sum[tid + half];
            t.square[tid] += t.square[tid + half];
        }
        __syncthreads();
    }
    if (tid > 0) return;
    sums[y] = t.sum[0];
    squares[y] = t.square[0];
}

/// Column sums of the rows of each bin.
__global__ void column_sums(const uint8_t* plane, int height, int width, const int32_t* bins, uint32_t* columns) {
    const int64_t x = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (x >= width) return;
    uint32_t sum[8] = {0, 0, 0, 0, 0, 0, 0, 0};
    for (int64_t y = 0; y < height; ++y) {
        const int bin = bins[y];
        for (int b = 0; b < 8; ++b)
            sum[b] += b == bin ? plane[y * width + x] : 0u;  // no register is addressed by a variable
    }
    for (int b = 0; b < 8; ++b) columns[static_cast<int64_t>(b) * width + x] = sum[b];
}

__global__ void pack_low_bits(const uint8_t* samples, uint8_t* out, int64_t bytes) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= bytes) return;
    uint64_t word = 0;
    for (int j = 0; j < 8; ++j) word |= static_cast<uint64_t>(samples[8 * i + j]) << (8 * j);
    out[i] = low_bits_of(word);
}

}  // namespace

void launch_residual(const Plane& in, uint8_t* luma_plane, uint8_t* plane, unsigned long long* sums,
                     unsigned long long* squares, uint32_t* columns, const int32_t* bins, int distance,
                     cudaStream_t stream) {
    const int64_t n = static_cast<int64_t>(in.height) * in.width;
    OG_LAUNCH(luma, blocks_for(n), kThreads, stream, in, luma_plane, n);
    OG_LAUNCH(residual, dim3(static_cast<unsigned>(in.height)), kThreads, stream, luma_plane, in.height, in.width, bins,
              distance, plane, sums, squares);
    OG_LAUNCH(column_sums, blocks_for(in.width), kThreads, stream, plane, in.height, in.width, bins, columns);
}

void launch_pack_low_bits(const Plane& in, uint8_t* out, cudaStream_t stream) {
    const int64_t bytes = static_cast<int64_t>(in.height) * in.width * in.channels / 8;
    if (bytes > 0) OG_LAUNCH(pack_low_bits, blocks_for(bytes), kThreads, stream, in.data, out, bytes);
}

}  // namespace cuda
}  // namespace og
