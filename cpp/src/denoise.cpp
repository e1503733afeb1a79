#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "door.hpp"
#include "kernels/denoise_math.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"
#include "ondevice_guard/purify.hpp"
#include "plans.hpp"

namespace og {
namespace {

// ---- total variation -------------------------------------------------------------------------------------------------

/// All iterations in one sweep: while iteration k works on row r, iteration k + 1 follows on row r - 1, so a dual row stays
/// in the cache from its first update to its last. `top` and `bottom` are taken for the picture's border: the caller asks
/// for `updates` rows more than it keeps where they are not, and what is wrong there moves inwards one row an iteration.
void tv_rows(const ImageView& v, const MutableImageView& out, int64_t top, int64_t bottom, int64_t keep_from,
             int64_t keep_to, int updates, float weight, const DenoiseKernels& k) {
    const int64_t n = v.samples_per_row(), step = v.channels, line = (n + 2 * step + 15) & ~static_cast<int64_t>(15);
    const int64_t rows = bottom - top, ring = updates + 3;
    const Scratch scratch(static_cast<size_t>((2 * ring + 2 * updates + 2) * line) * sizeof(float));
    float* dual0 = scratch.as<float>();
    float* dual1 = dual0 + ring * line;
    float* images = dual1 + ring * line;  // of each iteration: its row r, and r + 1
    float* zeros = images + 2 * updates * line;
    float* last = zeros + line;
    std::memset(zeros, 0, static_cast<size_t>(line) * sizeof(float));
    const auto p0 = [&](int64_t r) { return r < 0 ? zeros : dual0 + r % ring * line; };
    const auto p1 = [&](int64_t r) { return dual1 + r % ring * line + step; };  // one pixel of zeros on its left
    const auto clear = [&](int64_t r) {
        std::memset(p0(r), 0, static_cast<size_t>(n) * sizeof(float));
        std::memset(p1(r) - step, 0, static_cast<size_t>(n + step) * sizeof(float));
    };
    constexpr float tau = 0.25f;
    for (int64_t t = 0; t < rows + updates; ++t) {
        if (t == 0) clear(0);
        if (t + 1 < rows) clear(t + 1);
        for (int64_t i = 0; i < updates; ++i) {
            const int64_t r = t - i;
            if (r < 0 || r >= rows) continue;
            float* now = images + (2 * i + (r & 1)) * line;
            float* next = images + (2 * i + ((r + 1) & 1)) * line;
            if (r == 0) k.tv_image(v.row(top), p0(0), zeros, p1(0), n, step, now);
            if (r + 1 < rows) k.tv_image(v.row(top + r + 1), p0(r + 1), p0(r), p1(r + 1), n, step, next);
            k.tv_dual(now, r + 1 < rows ? next : now, n, step, tau, tau / weight, p0(r), p1(r));
        }
        const int64_t r = t - updates;
        if (r < 0 || top + r < keep_from || top + r >= keep_to) continue;
        k.tv_image(v.row(top + r), p0(r), p0(r - 1), p1(r), n, step, last);
        k.to_samples(last, n, out.row(top + r));
    }
}

// ---- wavelet shrinkage -----------------------------------------------------------------------------------------------

constexpr int64_t kStrip = 1 << kHaarLevels;  // rows that the transform never mixes with others

/// Details of one channel in one position of the Haar grid, and what decides how they are shrunk.
struct Bands {
    int64_t width = 0, height = 0;       // of the plane, multiples of kStrip
    int16_t* band[kHaarLevels][4] = {};  // sums (kept of the coarsest level), vertical, horizontal, diagonal details
    int64_t squares[kHaarLevels][3] = {};
    std::vector<int64_t> diagonals;  // histogram of the finest
    float thresholds[kHaarLevels][3] = {};

    /// Takes width * height numbers from `memory`: there are as many coefficients as pixels.
    void lay(int64_t w, int64_t h, int16_t* memory) {
        width = w, height = h;
        for (int l = 0; l < kHaarLevels; ++l) {
            for (int i = l + 1 < kHaarLevels ? 1 : 0; i < 4; ++i, memory += size(l)) band[l][i] = memory;
        }
    }
    size_t size(int level) const { return static_cast<size_t>((width >> (level + 1)) * (height >> (level + 1))); }
    int16_t* row(int level, int i, int64_t y) const { return band[level][i] + y * (width >> (level + 1)); }

    void forget() {
        std::memset(squares, 0, sizeof squares);
        diagonals.assign(kDiagonals, 0);
    }

    void decide(double sigma) {
        if (sigma < 0.0) sigma = sigma_of_diagonals(diagonals.data(), static_cast<int64_t>(size(0)));
        for (int l = 0; l < kHaarLevels; ++l) {
            const double unit = static_cast<double>(1 << (l + 1));  // these coefficients / unit = orthonormal ones
            for (int i = 0; i < 3; ++i)
                thresholds[l][i] =
                    bayes_threshold(static_cast<double>(squares[l][i]), static_cast<double>(size(l)), unit, sigma);
        }
    }
};

/// Transforms strip `s` of channel `c`, whose grid begins (sx, sy) pixels before the picture, into `b`; what it finds of
/// the statistics is added to `squares` and `diagonals`. `scratch`: 2 * kStrip * b.width numbers.
void transform_strip(const ImageView& v, int64_t c, int64_t sx, int64_t sy, int64_t s, Bands& b,
                     const DenoiseKernels& k, int16_t* scratch, int64_t (&squares)[kHaarLevels][3],
                     int64_t* diagonals) {
    int16_t *from = scratch, *sums = scratch + kStrip * b.width;
    for (int64_t y = 0; y < kStrip; ++y) {
        int16_t* to = from + y * b.width;
        k.channel(v.row(std::min(std::max<int64_t>(s * kStrip + y - sy, 0), v.height - 1)) + c, v.channels, v.width,
                  to + sx);
        std::fill(to, to + sx, to[sx]);
        std::fill(to + sx + v.width, to + b.width, to[sx + v.width - 1]);
    }
    for (int l = 0; l < kHaarLevels; ++l) {
        const int64_t w = b.width >> (l + 1), rows = kStrip >> (l + 1);
        for (int64_t y = 0; y < rows; ++y) {
            const int16_t* pair = from + 2 * y * 2 * w;
            const int64_t at = s * rows + y;
            int16_t* sum = l + 1 < kHaarLevels ? sums + y * w : b.row(l, 0, at);
            k.haar(pair, pair + 2 * w, w, sum, b.row(l, 1, at), b.row(l, 2, at), b.row(l, 3, at));
            for (int i = 0; i < 3; ++i) squares[l][i] += k.sum_of_squares(b.row(l, i + 1, at), w);
            if (l > 0) continue;
            const int16_t* diagonal = b.row(0, 3, at);
            for (int64_t x = 0; x < w; ++x) ++diagonals[std::abs(static_cast<int>(diagonal[x]))];
        }
        std::swap(from, sums);
    }
}

/// Shrinks strip `s` of `b` and transforms it back; returns its kStrip rows, which lie in `scratch` (2 * kStrip * b.width).
const float* restore_strip(const Bands& b, int64_t s, const DenoiseKernels& k, float* scratch) {
    float *from = scratch, *to = scratch + kStrip * b.width;
    const int16_t* coarsest = b.row(kHaarLevels - 1, 0, s);
    std::copy(coarsest, coarsest + (b.width >> kHaarLevels), from);
    for (int l = kHaarLevels - 1; l >= 0; --l) {
        const int64_t w = b.width >> (l + 1), rows = kStrip >> (l + 1);
        for (int64_t y = 0; y < rows; ++y) {
            const int64_t at = s * rows + y;
            float* pair = to + 2 * y * 2 * w;
            k.unhaar(from + y * w, b.row(l, 1, at), b.row(l, 2, at), b.row(l, 3, at), b.thresholds[l], w, pair,
                     pair + 2 * w);
        }
        std::swap(from, to);
    }
    return from;
}

}  // namespace

namespace plans {

void check_total_variation(double weight, int iterations) {
    require_range(weight >= 1e-3 && weight <= 10.0, "weight", "from 0.001 to 10", weight);
    require_range(iterations >= 1 && iterations <= 200, "iterations", "from 1 to 200", iterations);
}

float nlm_scale(double h, int search, int channels) {
    require_range(h >= 0.1 && h <= 255.0, "h", "from 0.1 to 255", h);
    require_range(search >= 1 && search <= 20, "search", "from 1 to 20", search);
    constexpr int side = 2 * kNlmPatch + 1;
    return static_cast<float>(1.0 / (side * side * h * h * (channels == 1 ? 1 : 3) * 16.0));
}

void check_wavelet(double sigma, int shifts) {
    require_range(sigma == -1.0 || (sigma >= 0.0 && sigma <= 255.0), "sigma", "from 0 to 255, or -1 to estimate it",
                  sigma);
    require_range(shifts == 1 || shifts == 2 || shifts == 4, "shifts", "1, 2 or 4", shifts);
}

}  // namespace plans

void total_variation(const ImageView& in, const MutableImageView& out, double weight, int iterations,
                     const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    plans::check_total_variation(weight, iterations);
    const DenoiseKernels& k = *kernels().denoise;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    const int updates = iterations - 1;
    // One strip a thread: each computes `updates` rows of each neighbour once more, and has four times as many of its own.
    const int64_t threads = thread_count(context);
    const int64_t strip = std::max((v.height + threads - 1) / threads, grain_rows(v, 1 << 14));
    parallel_for(context, v.height, std::max<int64_t>(4 * updates, strip), [&](int64_t begin, int64_t end) {
        tv_rows(v, out, std::max<int64_t>(0, begin - updates), std::min(v.height, end + updates), begin, end, updates,
                static_cast<float>(weight * 255.0), k);
    });
}

void nlm(const ImageView& in, const MutableImageView& out, double h, int search, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    const float scale = plans::nlm_scale(h, search, in.channels);
    const DenoiseKernels& k = *kernels().denoise;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    const int planes = v.channels == 1 ? 1 : 3;
    const int64_t pad = search + kNlmPatch, stride = v.width + 2 * pad, rows = v.height + 2 * pad;
    const std::unique_ptr<int16_t[]> memory(new int16_t[static_cast<size_t>(planes * rows * stride)]);
    const EdgeKernels& edge = *kernels().edge;
    parallel_for(context, rows, grain_rows(v), [&](int64_t begin, int64_t end) {
        const Scratch scratch(static_cast<size_t>(v.width) * sizeof(uint32_t));
        for (int64_t y = begin; y < end; ++y) {
            int16_t* to[3];
            for (int c = 0; c < planes; ++c) to[c] = memory.get() + (c * rows + y) * stride + pad;
            edge.planes(v.row(mirror(y - pad, v.height)), v.channels, v.width, static_cast<int>(pad),
                        scratch.as<uint32_t>(), to);
        }
    });
    const int side = 2 * kNlmPatch + 1;
    const int64_t across = (v.width + kNlmColumns - 1) / kNlmColumns, down = (v.height + kNlmRows - 1) / kNlmRows;
    parallel_for(context, across * down, 1, [&](int64_t begin, int64_t end) {
        constexpr int64_t area = kNlmRows * kNlmColumns, wide = kNlmColumns + 2 * kNlmPatch;
        const Scratch scratch(static_cast<size_t>(4 * area + (side + 1) * wide) * sizeof(float));
        for (int64_t i = begin; i < end; ++i) {
            const int64_t y0 = i / across * kNlmRows, x0 = i % across * kNlmColumns;
            NlmTile tile{};
            for (int c = 0; c < planes; ++c) {
                tile.plane[c] = memory.get() + (c * rows + y0 + pad) * stride + x0 + pad;
                tile.sums[c] = scratch.as<float>() + (c + 1) * area;
            }
            tile.planes = planes;
            tile.stride = stride;
            tile.rows = std::min<int64_t>(kNlmRows, v.height - y0);
            tile.columns = std::min<int64_t>(kNlmColumns, v.width - x0);
            tile.scale = scale;
            tile.weights = scratch.as<float>();
            tile.column = scratch.as<int32_t>() + 4 * area;
            tile.ring = tile.column + wide;
            std::memset(scratch.data(), 0, static_cast<size_t>(4 * area) * sizeof(float));
            for (int dy = -search; dy <= search; ++dy) {
                for (int dx = -search; dx <= search; ++dx) {
                    tile.moved = dy * stride + dx;
                    k.nlm_displacement(tile);
                }
            }
            for (int64_t y = 0; y < tile.rows; ++y) {
                const int64_t at = y * tile.columns, pixel = x0 * v.channels;
                const float* sums[3] = {tile.sums[0] + at, planes == 3 ? tile.sums[1] + at : nullptr,
                                        planes == 3 ? tile.sums[2] + at : nullptr};
                k.nlm_row(sums, tile.weights + at, v.channels, tile.columns, v.row(y0 + y) + pixel,
                          out.row(y0 + y) + pixel);
            }
        }
    });
}

void wavelet_shrink(const ImageView& in, const MutableImageView& out, double sigma, int shifts,
                    const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    plans::check_wavelet(sigma, shifts);
    static const int kShifts[4][2] = {{0, 0}, {4, 4}, {2, 6}, {7, 1}};
    const DenoiseKernels& k = *kernels().denoise;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    const auto up = [](int64_t n) { return (n + 2 * kStrip - 1) / kStrip * kStrip; };  // room for every shift
    const int64_t wide = up(v.width), high = up(v.height), n = v.samples_per_row();
    const std::unique_ptr<int16_t[]> memory(new int16_t[static_cast<size_t>(v.channels * wide * high)]);
    std::vector<Bands> channels(static_cast<size_t>(v.channels));
    for (size_t c = 0; c < channels.size(); ++c)
        channels[c].lay(wide, high, memory.get() + static_cast<int64_t>(c) * wide * high);
    std::vector<float> sum(shifts > 1 ? static_cast<size_t>(v.height * n) : 0);
    const int64_t strips = high / kStrip, grain = (grain_rows(v, 1 << 14) + kStrip - 1) / kStrip;
    std::mutex mutex;
    for (int shift = 0; shift < shifts; ++shift) {
        const int64_t sx = kShifts[shift][0], sy = kShifts[shift][1];
        for (Bands& b : channels) b.forget();
        parallel_for(context, strips, grain, [&](int64_t begin, int64_t end) {
            const Scratch scratch(static_cast<size_t>(2 * kStrip * wide) * sizeof(int16_t));
            std::vector<int64_t> diagonals(kDiagonals);
            for (int64_t c = 0; c < v.channels; ++c) {
                Bands& b = channels[static_cast<size_t>(c)];
                int64_t squares[kHaarLevels][3] = {};
                std::fill(diagonals.begin(), diagonals.end(), 0);
                for (int64_t s = begin; s < end; ++s)
                    transform_strip(v, c, sx, sy, s, b, k, scratch.as<int16_t>(), squares, diagonals.data());
                const std::lock_guard<std::mutex> lock(mutex);
                for (int i = 0; i < kHaarLevels * 3; ++i) b.squares[i / 3][i % 3] += squares[i / 3][i % 3];
                for (size_t i = 0; i < kDiagonals; ++i) b.diagonals[i] += diagonals[i];
            }
        });
        for (Bands& b : channels) b.decide(sigma);
        const bool last = shift + 1 == shifts;
        parallel_for(context, strips, grain, [&](int64_t begin, int64_t end) {
            const Scratch scratch(static_cast<size_t>(2 * kStrip * wide) * sizeof(float));
            for (int64_t s = begin; s < end; ++s) {
                for (int64_t c = 0; c < v.channels; ++c) {
                    const float* rows = restore_strip(channels[static_cast<size_t>(c)], s, k, scratch.as<float>());
                    for (int64_t i = 0; i < kStrip; ++i) {
                        const int64_t y = s * kStrip + i - sy;
                        if (y < 0 || y >= v.height) continue;
                        const float* from = rows + i * wide + sx;
                        float* so_far = shifts > 1 ? &sum[static_cast<size_t>(y * n + c * v.width)] : nullptr;
                        if (so_far) k.add(from, v.width, so_far);
                        if (last)
                            k.to_channel(so_far ? so_far : from, 1.0f / static_cast<float>(shifts), v.width, v.channels,
                                         out.row(y) + c);
                    }
                }
            }
        });
    }
}

}  // namespace og
