#include "cuda/launch.hpp"
#include "kernels/denoise_kernels.hpp"
#include "kernels/denoise_math.hpp"

namespace og {
namespace cuda {
namespace {

// ---- total variation -------------------------------------------------------------------------------------------------

struct TvTile {
    float u[kTileY + 1][kTileX + 1];  // a tile, the row below and the column on its right
};

struct TvJob {
    Plane in;
    const float *p0, *p1;  // of the last iteration
    float *next0, *next1;
    float weight;
};

OG_FN float tv_at(const Plane& in, const float* p0, const float* p1, int64_t y, int64_t x, int c) {
    const int64_t row = static_cast<int64_t>(in.width) * in.channels, at = y * row + x * in.channels + c;
    return tv_value(in.data[at], p0[at], y > 0 ? p0[at - row] : 0.0f, p1[at], x > 0 ? p1[at - in.channels] : 0.0f);
}

/// One iteration, from one pair of dual planes to the other, so that no block sees another's new values.
__global__ void tv_iterate(TvJob job) {
    OG_SHARED(TvTile, t);
    const Plane& in = job.in;
    constexpr int kWide = kTileX + 1, kHigh = kTileY + 1;
    constexpr float tau = 0.25f;
    const int across = (in.width + kTileX - 1) / kTileX, tid = static_cast<int>(threadIdx.x);
    const int x0 = static_cast<int>(blockIdx.x) % across * kTileX, y0 = static_cast<int>(blockIdx.x) / across * kTileY;
    const int lx = tid % kTileX, ly = tid / kTileX, x = x0 + lx, y = y0 + ly;
    for (int c = 0; c < in.channels; ++c) {
        for (int i = tid; i < kWide * kHigh; i += kThreads) {
            const int64_t sy = y0 + i / kWide, sx = x0 + i % kWide;
            if (sy < in.height && sx < in.width) t.u[i / kWide][i % kWide] = tv_at(in, job.p0, job.p1, sy, sx, c);
        }
        __syncthreads();
        if (x < in.width && y < in.height) {
            const float u = t.u[ly][lx];
            const float down = y + 1 < in.height ? t.u[ly + 1][lx] - u : u - u;
            const float right = x + 1 < in.width ? t.u[ly][lx + 1] - u : u - u;
            const int64_t at = (static_cast<int64_t>(y) * in.width + x) * in.channels + c;
            float p0 = job.p0[at], p1 = job.p1[at];
            tv_step(down, right, tau, tau / job.weight, p0, p1);
            job.next0[at] = p0;
            job.next1[at] = p1;
        }
        __syncthreads();
    }
}

__global__ void tv_finish(Plane in, const float* p0, const float* p1, uint8_t* out, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x,
                  row = static_cast<int64_t>(in.width) * in.channels;
    if (i >= n) return;
    out[i] = to_sample(tv_at(in, p0, p1, i / row, i % row / in.channels, static_cast<int>(i % in.channels)) + 0.5f);
}

// ---- non-local means -------------------------------------------------------------------------------------------------

constexpr int kMostSearch = 20, kSide = 2 * kNlmPatch + 1;
constexpr int kPatchX = kTileX + 2 * kNlmPatch, kPatchY = kTileY + 2 * kNlmPatch;

struct NlmWindow {
    int16_t plane[3][kPatchY + 2 * kMostSearch][kPatchX + 2 * kMostSearch];
    int32_t difference[kPatchY][kPatchX];  // of every pixel under the patches, to the one that is a displacement away
    int32_t across[kPatchY][kTileX];       // sums of seven
};

struct NlmJob {
    Plane in;
    uint8_t* out;
    int search;
    float scale;
};

template <int C>
__global__ void nlm(NlmJob job) {
    OG_SHARED(NlmWindow, t);
    const Plane& in = job.in;
    const int search = job.search, pad = search + kNlmPatch, tid = static_cast<int>(threadIdx.x);
    const int across = (in.width + kTileX - 1) / kTileX;
    const int x0 = static_cast<int>(blockIdx.x) % across * kTileX, y0 = static_cast<int>(blockIdx.x) / across * kTileY;
    const int lx = tid % kTileX, ly = tid / kTileX, x = x0 + lx, y = y0 + ly, wide = kTileX + 2 * pad,
              high = kTileY + 2 * pad;
    for (int i = tid; i < wide * high; i += kThreads) {
        const int64_t sy = mirror_index(y0 + i / wide - pad, in.height),
                      sx = mirror_index(x0 + i % wide - pad, in.width);
        const uint8_t* s = in.data + (sy * in.width + sx) * in.channels;
        for (int c = 0; c < C; ++c) t.plane[c][i / wide][i % wide] = s[c];
    }
    __syncthreads();
    float weights = 0.0f, sums[C] = {};
    for (int dy = -search; dy <= search; ++dy) {
        for (int dx = -search; dx <= search; ++dx) {
            for (int i = tid; i < kPatchY * kPatchX; i += kThreads) {
                const int py = i / kPatchX + search, px = i % kPatchX + search;
                uint32_t sum = squared_difference(t.plane[0][py][px], t.plane[0][py + dy][px + dx]);
                if (C == 3) {
                    sum += squared_difference(t.plane[C / 2][py][px], t.plane[C / 2][py + dy][px + dx]) +
                           squared_difference(t.plane[C - 1][py][px], t.plane[C - 1][py + dy][px + dx]);
                }
                t.difference[i / kPatchX][i % kPatchX] = static_cast<int32_t>(sum);
            }
            __syncthreads();
            for (int i = tid; i < kPatchY * kTileX; i += kThreads) {
                int32_t sum = 0;
                for (int k = 0; k < kSide; ++k) sum += t.difference[i / kTileX][i % kTileX + k];
                t.across[i / kTileX][i % kTileX] = sum;
            }
            __syncthreads();
            int32_t patch = 0;
            for (int k = 0; k < kSide; ++k) patch += t.across[ly + k][lx];
            const float w = patch_weight(patch, job.scale);
            weights += w;
            for (int c = 0; c < C; ++c) sums[c] += w * static_cast<float>(t.plane[c][ly + pad + dy][lx + pad + dx]);
        }
    }
    if (x >= in.width || y >= in.height) return;
    const float inverse = 1.0f / weights;
    const int64_t at = (static_cast<int64_t>(y) * in.width + x) * in.channels;
    for (int c = 0; c < C; ++c) job.out[at + c] = nlm_sample(sums[c], inverse);
    if (in.channels == 4) job.out[at + 3] = in.data[at + 3];
}

// ---- wavelet shrinkage -----------------------------------------------------------------------------------------------

/// What one channel in one position of the grid needs; sides are multiples of 2^kHaarLevels.
struct WaveletPlan {
    int width, height;
    int16_t* plane;
    int16_t* band[kHaarLevels][4];
    float* image[2];
    float* sum;                   // of the picture's size
    unsigned long long* squares;  // [level][detail]
    uint32_t* histogram;
    float* thresholds;  // [level][detail]
};

__global__ void wavelet_plane(Plane in, int c, int shift_x, int shift_y, WaveletPlan p) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= static_cast<int64_t>(p.width) * p.height) return;
    const int64_t y = clamp_to(static_cast<int>(i / p.width) - shift_y, 0, in.height - 1);
    const int64_t x = clamp_to(static_cast<int>(i % p.width) - shift_x, 0, in.width - 1);
    p.plane[i] = in.data[(y * in.width + x) * in.channels + c];
}

__global__ void haar(const int16_t* source, int width, int height, int16_t* ll, int16_t* lh, int16_t* hl, int16_t* hh) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= static_cast<int64_t>(width) * height) return;  // of a band
    const int16_t* a = source + i / width * 4 * width + 2 * (i % width);
    const Haar h = haar_of(a[0], a[1], a[2 * width], a[2 * width + 1]);
    ll[i] = h.ll;
    lh[i] = h.lh;
    hl[i] = h.hl;
    hh[i] = h.hh;
}

struct StatisticsTile {
    uint32_t histogram[kDiagonals];
    unsigned long long squares[kThreads];
};

/// Sum of the squares of a band; with `histogram`, how often each magnitude occurs. Whole numbers: order does not matter.
__global__ void wavelet_statistics(const int16_t* band, int64_t n, unsigned long long* squares, uint32_t* histogram) {
    OG_SHARED(StatisticsTile, t);
    const int tid = static_cast<int>(threadIdx.x);
    if (histogram) {
        for (int i = tid; i < kDiagonals; i += kThreads) t.histogram[i] = 0;
        __syncthreads();
    }
    unsigned long long sum = 0;
    for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + tid; i < n;
         i += static_cast<int64_t>(gridDim.x) * kThreads) {
        const int v = band[i];
        sum += static_cast<unsigned long long>(v * v);
        if (histogram) atomicAdd(&t.histogram[v < 0 ? -v : v], uint32_t{1});
    }
    t.squares[tid] = sum;
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
        if (tid < half) t.squares[tid] += t.squares[tid + half];
        __syncthreads();
    }
    if (tid == 0) atomicAdd(squares, t.squares[0]);
    if (!histogram) return;
    for (int i = tid; i < kDiagonals; i += kThreads) {
        if (t.histogram[i]) atomicAdd(&histogram[i], t.histogram[i]);
    }
}

/// One thread: nine thresholds from nine sums.
__global__ void wavelet_thresholds(WaveletPlan p, double sigma) {
    if (threadIdx.x > 0) return;
    if (sigma < 0.0) sigma = sigma_of_diagonals(p.histogram, static_cast<int64_t>(p.width / 2) * (p.height / 2));
    for (int l = 0; l < kHaarLevels; ++l) {
        const double count = static_cast<double>(static_cast<int64_t>(p.width >> (l + 1)) * (p.height >> (l + 1)));
        for (int i = 0; i < 3; ++i) {
            p.thresholds[3 * l + i] = bayes_threshold(static_cast<double>(p.squares[3 * l + i]), count,
                                                      static_cast<double>(1 << (l + 1)), sigma);
        }
    }
}

__global__ void to_float(const int16_t* from, float* to, int64_t n) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i < n) to[i] = from[i];
}

__global__ void unhaar(const float* ll, const int16_t* lh, const int16_t* hl, const int16_t* hh,
                       const float* thresholds, int width, int height, float* to) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= static_cast<int64_t>(width) * height) return;
    const Square o = unhaar_of(ll[i], lh[i], hl[i], hh[i], thresholds[0], thresholds[1], thresholds[2]);
    float* a = to + i / width * 4 * width + 2 * (i % width);
    a[0] = o.p;
    a[1] = o.q;
    a[2 * width] = o.r;
    a[2 * width + 1] = o.s;
}

/// Adds one position of the grid; the last one writes the mean.
__global__ void wavelet_add(Plane in, int c, int shift_x, int shift_y, WaveletPlan p, bool first, bool last,
                            float share, uint8_t* out) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i >= static_cast<int64_t>(in.width) * in.height) return;
    const int64_t y = i / in.width + shift_y, x = i % in.width + shift_x;
    const float sum = (first ? 0.0f : p.sum[i]) + p.image[0][y * p.width + x];
    p.sum[i] = sum;
    if (last) out[i * in.channels + c] = to_sample(sum * share + 0.5f);
}

int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

int padded_side(int n) {
    constexpr int unit = 1 << kHaarLevels;
    return (n + 2 * unit - 1) / unit * unit;
}

}  // namespace

void launch_total_variation(const Plane& in, uint8_t* out, float* dual, float weight, int updates,
                            cudaStream_t stream) {
    const int64_t n = static_cast<int64_t>(in.height) * in.width * in.channels;
    float* now = dual;
    float* next = dual + 2 * n;
    for (int i = 0; i < updates; ++i) {
        const TvJob job{in, now, now + n, next, next + n, weight};
        OG_LAUNCH(tv_iterate, tiles_for(in.height, in.width), kThreads, stream, job);
        float* const swapped = now;
        now = next;
        next = swapped;
    }
    OG_LAUNCH(tv_finish, blocks_for(n), kThreads, stream, in, now, now + n, out, n);
}

void launch_nlm(const Plane& in, uint8_t* out, int search, float scale, cudaStream_t stream) {
    const NlmJob job{in, out, search, scale};
    if (in.channels == 1) {
        OG_LAUNCH(nlm<1>, tiles_for(in.height, in.width), kThreads, stream, job);
    } else {
        OG_LAUNCH(nlm<3>, tiles_for(in.height, in.width), kThreads, stream, job);
    }
}

namespace {

/// Hands out parts of a block of memory; with no block, only counts.
struct Carver {
    uint8_t* base;
    int64_t used = 0;
    template <class T>
    T* take(int64_t n) {
        T* at = base ? reinterpret_cast<T*>(base + used) : nullptr;
        used = round_up(used + n * static_cast<int64_t>(sizeof(T)), 256);
        return at;
    }
};

WaveletPlan wavelet_plan(int height, int width, Carver& carver) {
    WaveletPlan p{};
    p.width = padded_side(width);
    p.height = padded_side(height);
    const int64_t n = static_cast<int64_t>(p.width) * p.height;
    // What is set to zero for every position of the grid comes first.
    p.squares = carver.take<unsigned long long>(3 * kHaarLevels);
    p.histogram = carver.take<uint32_t>(kDiagonals);
    p.thresholds = carver.take<float>(3 * kHaarLevels);
    p.plane = carver.take<int16_t>(n);
    for (int l = 0; l < kHaarLevels; ++l) {
        for (int16_t*& band : p.band[l]) band = carver.take<int16_t>(n >> (2 * (l + 1)));
    }
    for (float*& image : p.image) image = carver.take<float>(n);
    p.sum = carver.take<float>(static_cast<int64_t>(width) * height);
    return p;
}

}  // namespace

int64_t wavelet_scratch(int height, int width) {
    Carver carver{nullptr};
    wavelet_plan(height, width, carver);
    return carver.used;
}

void launch_wavelet(const Plane& in, uint8_t* out, uint8_t* scratch, double sigma, int shifts, cudaStream_t stream) {
    static const int kShifts[4][2] = {{0, 0}, {4, 4}, {2, 6}, {7, 1}};
    Carver carver{scratch};
    const WaveletPlan p = wavelet_plan(in.height, in.width, carver);
    const size_t zeroed = static_cast<size_t>(reinterpret_cast<uint8_t*>(p.thresholds) - scratch);
    for (int c = 0; c < in.channels; ++c) {
        for (int s = 0; s < shifts; ++s) {
            const int sx = kShifts[s][0], sy = kShifts[s][1];
            cudaMemsetAsync(scratch, 0, zeroed, stream);
            OG_LAUNCH(wavelet_plane, blocks_for(static_cast<int64_t>(p.width) * p.height), kThreads, stream, in, c, sx,
                      sy, p);
            const int16_t* source = p.plane;
            for (int l = 0; l < kHaarLevels; ++l) {
                const int w = p.width >> (l + 1), h = p.height >> (l + 1);
                const int64_t n = static_cast<int64_t>(w) * h;
                OG_LAUNCH(haar, blocks_for(n), kThreads, stream, source, w, h, p.band[l][0], p.band[l][1], p.band[l][2],
                          p.band[l][3]);
                for (int i = 0; i < 3; ++i) {
                    uint32_t* histogram = l == 0 && i == 2 ? p.histogram : nullptr;
                    const dim3 grid(min_of(blocks_for(n).x, 1024u));
                    OG_LAUNCH(wavelet_statistics, grid, kThreads, stream, p.band[l][i + 1], n, p.squares + 3 * l + i,
                              histogram);
                }
                source = p.band[l][0];
            }
            OG_LAUNCH(wavelet_thresholds, dim3(1), kThreads, stream, p, sigma);
            const int64_t coarsest = static_cast<int64_t>(p.width >> kHaarLevels) * (p.height >> kHaarLevels);
            OG_LAUNCH(to_float, blocks_for(coarsest), kThreads, stream, source, p.image[kHaarLevels % 2], coarsest);
            const float* from = p.image[kHaarLevels % 2];
            for (int l = kHaarLevels - 1; l >= 0; --l) {
                const int w = p.width >> (l + 1), h = p.height >> (l + 1);
                OG_LAUNCH(unhaar, blocks_for(static_cast<int64_t>(w) * h), kThreads, stream, from, p.band[l][1],
                          p.band[l][2], p.band[l][3], p.thresholds + 3 * l, w, h, p.image[l % 2]);
                from = p.image[l % 2];
            }
            const float share = 1.0f / static_cast<float>(shifts);
            OG_LAUNCH(wavelet_add, blocks_for(static_cast<int64_t>(in.width) * in.height), kThreads, stream, in, c, sx,
                      sy, p, s == 0, s == shifts - 1, share, out);
        }
    }
}

}  // namespace cuda
}  // namespace og
