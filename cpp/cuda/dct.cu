#include "cuda/launch.hpp"
#include "kernels/dct_math.hpp"

namespace og {
namespace cuda {
namespace {

constexpr int kStripX = 64, kStripY = 16;  // pixels of one thread block: 16 blocks of 8 x 8 for each plane

struct DctTile {
    int16_t plane[3][kStripY][kStripX];
    int16_t tables[2][3][64];  // luma, chroma: recip, step, keep at [8 * k + v]
};

struct DctJob {
    Plane in;
    uint8_t* out;
    uint16_t* sum;
    const int16_t* tables;
    bool quantise, subsample;
    int shift_x, shift_y;
};

/// Rows and columns of plane p that hold samples: chroma averaged 2 x 2 takes a quarter.
OG_FN int rows_of(const DctJob& job, int p) {
    return p > 0 && job.subsample ? kStripY / 2 : kStripY;
}
OG_FN int columns_of(const DctJob& job, int p) {
    return p > 0 && job.subsample ? kStripX / 2 : kStripX;
}

__global__ void dct(DctJob job) {
    OG_SHARED(DctTile, t);
    const Plane& in = job.in;
    const int across = (in.width + job.shift_x + kStripX - 1) / kStripX, tid = static_cast<int>(threadIdx.x);
    const int x0 = static_cast<int>(blockIdx.x) % across * kStripX - job.shift_x;
    const int y0 = static_cast<int>(blockIdx.x) / across * kStripY - job.shift_y;
    const int planes = in.channels == 1 ? 1 : 3;

    for (int i = tid; i < 2 * 3 * 64; i += kThreads) t.tables[i / 192][i / 64 % 3][i % 64] = job.tables[i];
    if (job.subsample && planes == 3) {
        // A thread takes squares of 2 x 2 pixels, so that it can average their chroma itself.
        for (int i = tid; i < kStripX * kStripY / 4; i += kThreads) {
            const int r = i / (kStripX / 2) * 2, c = i % (kStripX / 2) * 2;
            Ycc p[4];
            for (int k = 0; k < 4; ++k) {
                const int64_t y = clamp_to(y0 + r + k / 2, 0, in.height - 1),
                              x = clamp_to(x0 + c + k % 2, 0, in.width - 1);
                const uint8_t* s = in.data + (y * in.width + x) * in.channels;
                p[k] = ycc_of(s[0], s[1], s[2]);
                t.plane[0][r + k / 2][c + k % 2] = p[k].y;
            }
            t.plane[1][r / 2][c / 2] = mean4(p[0].cb, p[1].cb, p[2].cb, p[3].cb);
            t.plane[2][r / 2][c / 2] = mean4(p[0].cr, p[1].cr, p[2].cr, p[3].cr);
        }
    } else {
        for (int i = tid; i < kStripX * kStripY; i += kThreads) {
            const int r = i / kStripX, c = i % kStripX;
            const int64_t y = clamp_to(y0 + r, 0, in.height - 1), x = clamp_to(x0 + c, 0, in.width - 1);
            const uint8_t* s = in.data + (y * in.width + x) * in.channels;
            if (planes == 1) {
                t.plane[0][r][c] = static_cast<int16_t>(s[0] - 128);
                continue;
            }
            const Ycc p = ycc_of(s[0], s[1], s[2]);
            t.plane[0][r][c] = p.y;
            t.plane[1][r][c] = p.cb;
            t.plane[2][r][c] = p.cr;
        }
    }
    __syncthreads();
    for (int pass = 0; pass < 3; ++pass) {  // forward along x; along y, quantise and back; back along x
        for (int p = 0; p < planes; ++p) {
            const int rows = rows_of(job, p), columns = columns_of(job, p), lines = rows * columns / 8;
            for (int i = tid; i < lines; i += kThreads) {
                int16_t d[8];
                if (pass == 1) {
                    const int top = i / columns * 8, c = i % columns;
                    const int16_t (&table)[3][64] = t.tables[p > 0];
                    const int at = 8 * (c & 7);
                    for (int v = 0; v < 8; ++v) d[v] = t.plane[p][top + v][c];
                    forward(d, DctFactors());
                    for (int v = 0; v < 8; ++v) {
                        d[v] = job.quantise ? quantised(d[v], table[0][at + v], table[1][at + v])
                                            : shrunk(d[v], table[2][at + v], table[1][at + v]);
                    }
                    inverse(d, DctFactors());
                    for (int v = 0; v < 8; ++v) t.plane[p][top + v][c] = d[v];
                } else {
                    int16_t* line = &t.plane[p][i % rows][i / rows * 8];
                    for (int k = 0; k < 8; ++k) d[k] = line[k];
                    if (pass == 0) {
                        forward(d, DctFactors());
                    } else {
                        inverse(d, DctFactors());
                    }
                    for (int k = 0; k < 8; ++k) line[k] = pass == 0 ? d[k] : descaled(d[k]);
                }
            }
        }
        __syncthreads();
    }
    const int shrink = job.subsample ? 1 : 0;
    for (int i = tid; i < kStripX * kStripY; i += kThreads) {
        const int r = i / kStripX, c = i % kStripX, y = y0 + r, x = x0 + c;
        if (y < 0 || y >= in.height || x < 0 || x >= in.width) continue;
        const int64_t at = (static_cast<int64_t>(y) * in.width + x) * in.channels;
        uint8_t sample[4];
        if (planes == 1) {
            sample[0] = sample_of(static_cast<int16_t>(t.plane[0][r][c] + 128));
        } else {
            const Rgb p = rgb_of(t.plane[0][r][c], t.plane[1][r >> shrink][c >> shrink],
                                 t.plane[2][r >> shrink][c >> shrink], RgbFactors());
            sample[0] = static_cast<uint8_t>(p.r);
            sample[1] = static_cast<uint8_t>(p.g);
            sample[2] = static_cast<uint8_t>(p.b);
            if (in.channels == 4) sample[3] = in.data[at + 3];
        }
        for (int k = 0; k < in.channels; ++k) {
            if (job.sum) {
                job.sum[at + k] = static_cast<uint16_t>(job.sum[at + k] + sample[k]);
            } else {
                job.out[at + k] = sample[k];
            }
        }
    }
}

__global__ void average(const uint16_t* sum, uint8_t* out, int64_t n, int count, int shift) {
    const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
    if (i < n) out[i] = share_of(sum[i], count, shift);
}

}  // namespace

void launch_dct(const Plane& in, uint8_t* out, uint16_t* sum, const int16_t* tables, bool quantise, bool subsample,
                int shift_x, int shift_y, cudaStream_t stream) {
    const DctJob job{in, out, sum, tables, quantise, subsample, shift_x, shift_y};
    const unsigned across = static_cast<unsigned>((in.width + shift_x + kStripX - 1) / kStripX);
    const unsigned down = static_cast<unsigned>((in.height + shift_y + kStripY - 1) / kStripY);
    OG_LAUNCH(dct, dim3(across * down), kThreads, stream, job);
}

void launch_average(const uint16_t* sum, uint8_t* out, int64_t samples, int count, cudaStream_t stream) {
    int shift = 0;  // counts are powers of two
    while ((1 << shift) < count) ++shift;
    OG_LAUNCH(average, blocks_for(samples), kThreads, stream, sum, out, samples, count, shift);
}

}  // namespace cuda
}  // namespace og
