#include "cuda/launch.hpp"
#include "kernels/views_math.hpp"

namespace og {
namespace cuda {
namespace {

struct Sample {
    int64_t at;
    int y, x, c;
};
/// What this thread makes of an output of the given shape; y >= height where there is nothing left.
OG_FN Sample sample_of_thread(int width, int channels) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x,
                  row = static_cast<int64_t>(width) * channels;
    const int64_t in_row = at % row;
    return {at, static_cast<int>(at / row), static_cast<int>(in_row / channels), static_cast<int>(in_row % channels)};
}

__global__ void resample_rows(Plane in, uint8_t* out, int width, const int32_t* first, const int32_t* taps,
                              const int32_t* weights, int stride) {
    const Sample s = sample_of_thread(width, in.channels);
    if (s.y >= in.height) return;
    const uint8_t* row = in.data + static_cast<int64_t>(s.y) * in.width * in.channels + s.c;
    const int32_t* w = weights + static_cast<int64_t>(s.x) * stride;
    const int start = first[s.x], count = taps[s.x];
    int32_t sum = kHalf;
    // Padded taps weigh nothing, wherever they read.
    for (int j = 0; j < count; ++j)
        sum += row[static_cast<int64_t>(min_of(start + j, in.width - 1)) * in.channels] * w[j];
    out[s.at] = to_byte(sum);
}

__global__ void resample_columns(Plane in, uint8_t* out, int height, const int32_t* first, const int32_t* taps,
                                 const int32_t* weights, int stride) {
    const Sample s = sample_of_thread(in.width, in.channels);
    if (s.y >= height) return;
    const int64_t row = static_cast<int64_t>(in.width) * in.channels;
    const uint8_t* column = in.data + s.at % row;
    const int32_t* w = weights + static_cast<int64_t>(s.y) * stride;
    const int start = first[s.y], count = taps[s.y];
    int32_t sum = kHalf;
    for (int j = 0; j < count; ++j) sum += column[min_of(start + j, in.height - 1) * row] * w[j];
    out[s.at] = to_byte(sum);
}

__global__ void pick(Plane in, uint8_t* out, int height, int width, const int32_t* across, const int32_t* down) {
    const Sample s = sample_of_thread(width, in.channels);
    if (s.y >= height) return;
    out[s.at] = in.data[static_cast<int64_t>(down[s.y]) * in.width * in.channels + across[s.x] + s.c];
}

__global__ void lerp_both(Plane in, uint8_t* out, int height, int width, const int32_t* across, const float* across_t,
                          const int32_t* down, const float* down_t, float bias) {
    const Sample s = sample_of_thread(width, in.channels);
    if (s.y >= height) return;
    const int64_t row = static_cast<int64_t>(in.width) * in.channels;
    const uint8_t *p = in.data + down[s.y] * row + s.c, *q = in.data + down[height + s.y] * row + s.c;
    const int a = across[s.x], b = across[width + s.x];
    const float upper = lerp(p[a], p[b], across_t[s.x]), lower = lerp(q[a], q[b], across_t[s.x]);
    out[s.at] = lerp_sample(upper, lower, down_t[s.y], bias);
}

__global__ void cubic_both(Plane in, uint8_t* out, int height, int width, const int32_t* across, const float* across_w,
                           const int32_t* down, const float* down_w) {
    const Sample s = sample_of_thread(width, in.channels);
    if (s.y >= height) return;
    const int64_t row = static_cast<int64_t>(in.width) * in.channels;
    const int32_t* a = across + 4 * s.x;
    const float *w = across_w + 4 * s.x, *v = down_w + 4 * s.y;
    float line[4];
    for (int i = 0; i < 4; ++i) {
        const uint8_t* p = in.data + down[4 * s.y + i] * row + s.c;
        line[i] = cubic(p[a[0]], p[a[1]], p[a[2]], p[a[3]], w[0], w[1], w[2], w[3]);
    }
    out[s.at] = to_sample(cubic(line[0], line[1], line[2], line[3], v[0], v[1], v[2], v[3]) + 0.5f);
}

struct Colour {
    uint8_t channel[3];
};
__global__ void composite(Plane in, const uint8_t* alpha, Colour background, uint8_t* out) {
    const Sample s = sample_of_thread(in.width, 3);
    if (s.y >= in.height) return;
    out[s.at] = over(in.data[s.at], alpha[s.at / 3], background.channel[s.c]);
}

__global__ void luma(Plane in, uint8_t* out) {
    const Sample s = sample_of_thread(in.width, 1);
    if (s.y >= in.height) return;
    const uint8_t* p = in.data + s.at * in.channels;
    out[s.at] = static_cast<uint8_t>(luma_of(p[0], p[1], p[2]));
}

constexpr int kWideX = kTileX + 2 * kContrastRadius, kWideY = kTileY + 2 * kContrastRadius;

/// A tile and what its windows reach, and sums along x of each of its rows.
struct ContrastTile {
    int16_t value[kWideY][kWideX];
    int32_t sum[kWideY][kTileX];
    uint32_t square[kWideY][kTileX];
};

OG_FN int16_t contrast_channel(const uint8_t* p, int channels, int c) {
    if (channels == 1) return c == 0 ? p[0] : static_cast<int16_t>(0);
    if (c == 1) return static_cast<int16_t>(p[0] - p[1]);
    const int32_t l = luma_of(p[0], p[1], p[2]);
    return static_cast<int16_t>(c == 0 ? l : p[2] - l);
}

__global__ void contrast(Plane in, uint8_t* out) {
    OG_SHARED(ContrastTile, t);
    const int across = (in.width + kTileX - 1) / kTileX, tid = static_cast<int>(threadIdx.x);
    const int x0 = static_cast<int>(blockIdx.x) % across * kTileX, y0 = static_cast<int>(blockIdx.x) / across * kTileY;
    const int lx = tid % kTileX, ly = tid / kTileX, x = x0 + lx, y = y0 + ly;
    for (int c = 0; c < 3; ++c) {
        for (int i = tid; i < kWideY * kWideX; i += kThreads) {
            const int64_t sy = mirror_index(y0 + i / kWideX - kContrastRadius, in.height);
            const int64_t sx = mirror_index(x0 + i % kWideX - kContrastRadius, in.width);
            t.value[i / kWideX][i % kWideX] =
                contrast_channel(in.data + (sy * in.width + sx) * in.channels, in.channels, c);
        }
        __syncthreads();
        for (int i = tid; i < kWideY * kTileX; i += kThreads) {
            int32_t sum = 0;
            uint32_t square = 0;
            for (int k = 0; k <= 2 * kContrastRadius; ++k) {
                const int32_t v = t.value[i / kTileX][i % kTileX + k];
                sum += v;
                square += static_cast<uint32_t>(v * v);
            }
            t.sum[i / kTileX][i % kTileX] = sum;
            t.square[i / kTileX][i % kTileX] = square;
        }
        __syncthreads();
        int32_t sum = 0;
        uint32_t square = 0;
        for (int k = 0; k <= 2 * kContrastRadius; ++k) {
            sum += t.sum[ly + k][lx];
            square += t.square[ly + k][lx];
        }
        if (x < in.width && y < in.height) {
            out[(static_cast<int64_t>(y) * in.width + x) * 3 + c] =
                contrast_of(t.value[ly + kContrastRadius][lx + kContrastRadius], sum, square);
        }
        __syncthreads();
    }
}

__global__ void pad(Plane in, uint8_t* out, int height, int width, int top, int left) {
    const Sample s = sample_of_thread(width, in.channels);
    if (s.y >= height) return;
    const int64_t y = clamp_to(s.y - top, 0, in.height - 1), x = clamp_to(s.x - left, 0, in.width - 1);
    out[s.at] = in.data[(y * in.width + x) * in.channels + s.c];
}

int64_t samples(int height, int width, int channels) {
    return static_cast<int64_t>(height) * width * channels;
}

}  // namespace

void launch_resample_rows(const Plane& in, uint8_t* out, int width, const int32_t* first, const int32_t* taps,
                          const int32_t* weights, int stride, cudaStream_t stream) {
    OG_LAUNCH(resample_rows, blocks_for(samples(in.height, width, in.channels)), kThreads, stream, in, out, width,
              first, taps, weights, stride);
}

void launch_resample_columns(const Plane& in, uint8_t* out, int height, const int32_t* first, const int32_t* taps,
                             const int32_t* weights, int stride, cudaStream_t stream) {
    OG_LAUNCH(resample_columns, blocks_for(samples(height, in.width, in.channels)), kThreads, stream, in, out, height,
              first, taps, weights, stride);
}

void launch_pick(const Plane& in, uint8_t* out, int height, int width, const int32_t* across, const int32_t* down,
                 cudaStream_t stream) {
    OG_LAUNCH(pick, blocks_for(samples(height, width, in.channels)), kThreads, stream, in, out, height, width, across,
              down);
}

void launch_lerp(const Plane& in, uint8_t* out, int height, int width, const int32_t* across, const float* across_t,
                 const int32_t* down, const float* down_t, float bias, cudaStream_t stream) {
    OG_LAUNCH(lerp_both, blocks_for(samples(height, width, in.channels)), kThreads, stream, in, out, height, width,
              across, across_t, down, down_t, bias);
}

void launch_cubic(const Plane& in, uint8_t* out, int height, int width, const int32_t* across, const float* across_w,
                  const int32_t* down, const float* down_w, cudaStream_t stream) {
    OG_LAUNCH(cubic_both, blocks_for(samples(height, width, in.channels)), kThreads, stream, in, out, height, width,
              across, across_w, down, down_w);
}

void launch_composite(const Plane& in, const uint8_t* alpha, const int* background, uint8_t* out, cudaStream_t stream) {
    Colour colour;
    for (int c = 0; c < 3; ++c) colour.channel[c] = static_cast<uint8_t>(background[c]);
    OG_LAUNCH(composite, blocks_for(samples(in.height, in.width, 3)), kThreads, stream, in, alpha, colour, out);
}

void launch_luma(const Plane& in, uint8_t* out, cudaStream_t stream) {
    OG_LAUNCH(luma, blocks_for(samples(in.height, in.width, 1)), kThreads, stream, in, out);
}

void launch_contrast(const Plane& in, uint8_t* out, cudaStream_t stream) {
    OG_LAUNCH(contrast, tiles_for(in.height, in.width), kThreads, stream, in, out);
}

void launch_pad(const Plane& in, uint8_t* out, int height, int width, int top, int left, cudaStream_t stream) {
    OG_LAUNCH(pad, blocks_for(samples(height, width, in.channels)), kThreads, stream, in, out, height, width, top,
              left);
}

}  // namespace cuda
}  // namespace og
