#include <cmath>
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

constexpr int kLevels = 3;

/// One channel in one position of the Haar grid, and room for its bands.
struct Bands {
    int64_t width, height;  // of the plane, multiples of 2^kLevels
    std::vector<int16_t> plane;
    std::vector<int16_t> band[kLevels][4];  // sums, vertical, horizontal, diagonal details
    std::vector<float> image[2];

    Bands(int64_t w, int64_t h) : width(w), height(h), plane(static_cast<size_t>(w * h)) {
        for (int l = 0; l < kLevels; ++l) {
            for (auto& b : band[l]) b.resize(static_cast<size_t>((w >> (l + 1)) * (h >> (l + 1))));
        }
        for (auto& i : image) i.resize(static_cast<size_t>(w * h));
    }
};

/// Median of |diagonal details| of the finest level / 0.6745, in sample values (those details are twice the orthonormal).
double noise_of(const std::vector<int16_t>& diagonal) {
    std::vector<int64_t> histogram(1021, 0);
    for (const int16_t d : diagonal) ++histogram[static_cast<size_t>(std::abs(static_cast<int>(d)))];
    const int64_t half = (static_cast<int64_t>(diagonal.size()) + 1) / 2;
    int64_t seen = 0;
    size_t value = 0;
    while ((seen += histogram[value]) < half) ++value;
    return sigma_of_median(static_cast<int>(value));
}

/// Shrinks b.plane into b.image[0].
void shrink_bands(Bands& b, double sigma, const DenoiseKernels& k) {
    const int16_t* source = b.plane.data();
    for (int l = 0; l < kLevels; ++l) {
        const int64_t w = b.width >> (l + 1), h = b.height >> (l + 1);
        for (int64_t y = 0; y < h; ++y) {
            const int16_t* a = source + 2 * y * 2 * w;
            const size_t at = static_cast<size_t>(y * w);
            k.haar(a, a + 2 * w, w, &b.band[l][0][at], &b.band[l][1][at], &b.band[l][2][at], &b.band[l][3][at]);
        }
        source = b.band[l][0].data();
    }
    if (sigma < 0.0) sigma = noise_of(b.band[0][3]);
    const std::vector<int16_t>& coarsest = b.band[kLevels - 1][0];
    std::vector<float>* from = &b.image[kLevels % 2];
    for (size_t i = 0; i < coarsest.size(); ++i) (*from)[i] = coarsest[i];
    for (int l = kLevels - 1; l >= 0; --l) {
        const int64_t w = b.width >> (l + 1), h = b.height >> (l + 1);
        const double unit = static_cast<double>(1 << (l + 1));  // these coefficients / unit = orthonormal ones
        float thresholds[3];
        for (int i = 0; i < 3; ++i) {
            const std::vector<int16_t>& band = b.band[l][i + 1];
            const int64_t squares = k.sum_of_squares(band.data(), static_cast<int64_t>(band.size()));
            thresholds[i] =
                bayes_threshold(static_cast<double>(squares), static_cast<double>(band.size()), unit, sigma);
        }
        std::vector<float>& to = b.image[l % 2];
        for (int64_t y = 0; y < h; ++y) {
            const size_t at = static_cast<size_t>(y * w);
            float* a = &to[static_cast<size_t>(2 * y * 2 * w)];
            k.unhaar(&(*from)[at], &b.band[l][1][at], &b.band[l][2][at], &b.band[l][3][at], thresholds, w, a,
                     a + 2 * w);
        }
        from = &to;
    }
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
    // One strip a thread: each computes `updates` rows of its neighbours once more.
    const int64_t threads = context.threads > 0 ? context.threads : default_threads();
    const int64_t strip = std::max((v.height + threads - 1) / threads, grain_rows(v, 1 << 14));
    parallel_for(context, v.height, std::max<int64_t>(8 * updates, strip), [&](int64_t begin, int64_t end) {
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
    constexpr int64_t unit = 1 << kLevels;
    // A channel's statistics are global, so channels are the units of work.
    parallel_for(context, v.channels, 1, [&](int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) {
            const int64_t w = (v.width + 2 * unit - 1) / unit * unit, h = (v.height + 2 * unit - 1) / unit * unit;
            Bands bands(w, h);
            std::vector<float> sum(static_cast<size_t>(v.width * v.height), 0.0f);
            for (int s = 0; s < shifts; ++s) {
                const int64_t sx = kShifts[s][0], sy = kShifts[s][1];
                for (int64_t y = 0; y < h; ++y) {
                    const uint8_t* row = v.row(std::min(std::max<int64_t>(y - sy, 0), v.height - 1)) + c;
                    int16_t* to = &bands.plane[static_cast<size_t>(y * w)];
                    for (int64_t x = 0; x < w; ++x)
                        to[x] = row[std::min(std::max<int64_t>(x - sx, 0), v.width - 1) * v.channels];
                }
                shrink_bands(bands, sigma, k);
                for (int64_t y = 0; y < v.height; ++y) {
                    const float* from = &bands.image[0][static_cast<size_t>((y + sy) * w + sx)];
                    float* to = &sum[static_cast<size_t>(y * v.width)];
                    for (int64_t x = 0; x < v.width; ++x) to[x] += from[x];
                }
            }
            const float share = 1.0f / static_cast<float>(shifts);
            for (int64_t y = 0; y < v.height; ++y) {
                uint8_t* to = out.row(y) + c;
                for (int64_t x = 0; x < v.width; ++x) {
                    const float value = sum[static_cast<size_t>(y * v.width + x)] * share + 0.5f;
                    to[x * v.channels] = static_cast<uint8_t>(std::min(std::max(value, 0.0f), 255.0f));
                }
            }
        }
    });
}

}  // namespace og
