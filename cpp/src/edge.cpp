#include <cmath>
#include <vector>

#include "door.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"
#include "ondevice_guard/purify.hpp"
#include "plans.hpp"

namespace og {
namespace {

/// Rows handled with one set of scratch planes.
constexpr int64_t kStrip = 32;

}  // namespace

namespace plans {

Bilateral::Bilateral(int radius, double sigma_color, double sigma_space, int channels) {
    require_range(radius >= 1 && radius <= 8, "radius", "from 1 to 8", radius);
    require_range(sigma_color >= 1.0 && sigma_color <= 1000.0, "sigma_color", "from 1 to 1000", sigma_color);
    require_range(sigma_space >= 0.5 && sigma_space <= 1000.0, "sigma_space", "from 0.5 to 1000", sigma_space);
    for (int dy = -radius; dy <= radius; ++dy) {
        for (int dx = -radius; dx <= radius; ++dx) {
            const int squared = dx * dx + dy * dy;
            if (squared > radius * radius) continue;
            const double weight = std::exp(-squared / (2.0 * sigma_space * sigma_space));
            taps.push_back(
                {static_cast<int16_t>(dx), static_cast<int16_t>(dy), static_cast<int16_t>(64.0 * weight + 0.5)});
        }
    }
    while (taps.size() % kBilateralGroup) taps.push_back({0, 0, 0});
    const double reach = std::sqrt(32.0) * sigma_color;  // exp(-16): weighs nothing
    const int most = 255 * (channels == 1 ? 1 : 3);
    limit = static_cast<int16_t>(std::min<double>(most, std::floor(reach)));
    scale = 1;
    while (limit * scale * 2 <= 32767) scale = static_cast<int16_t>(scale * 2);
    double exact = 32768.0 * 32768.0 / (2.0 * reach * scale);
    exact = std::min(exact, 16383.0 * 32768.0 / (limit * scale));  // keeps the square below one
    factor = static_cast<int16_t>(std::min(32767.0, std::floor(exact)));
}

void check_guided(int radius, double eps) {
    require_range(radius >= 1 && radius <= 16, "radius", "from 1 to 16", radius);
    require_range(eps >= 1e-3 && eps <= 1e6, "eps", "from 0.001 to 1000000", eps);
}

}  // namespace plans

void bilateral(const ImageView& in, const MutableImageView& out, int radius, double sigma_color, double sigma_space,
               const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    const plans::Bilateral plan(radius, sigma_color, sigma_space, in.channels);
    const EdgeKernels& k = *kernels().edge;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    // Of two opposite taps the later one: its weights, of the row it looks down from, are the other's.
    const int64_t pad = 2 * radius, stride = (v.width + 2 * pad + 31) & ~static_cast<int64_t>(31);
    const int64_t rows = kStrip + 2 * radius, weighed = (v.width + 2 * radius + 31) & ~static_cast<int64_t>(31);
    const int colours = v.channels == 1 ? 1 : 3;
    std::vector<int64_t> offset, dx, dy;
    std::vector<int16_t> spatial;
    int16_t centre = 0;
    for (const auto& tap : plan.taps) {
        if (tap.dy == 0 && tap.dx == 0) centre = std::max(centre, tap.spatial);
        if (tap.dy < 0 || (tap.dy == 0 && tap.dx <= 0)) continue;
        offset.push_back(tap.dy * stride + tap.dx);
        dx.push_back(tap.dx);
        dy.push_back(tap.dy);
        spatial.push_back(tap.spatial);
    }
    const int64_t pairs = static_cast<int64_t>(offset.size()), kept = radius + 1;
    const BilateralTaps taps{offset.data(), spatial.data(), static_cast<int>(pairs), centre, plan.limit,
                             plan.scale,    plan.factor};

    // Each chunk weighs the pairs of the `radius` rows before it once more.
    const int64_t grain = std::max<int64_t>(12 * radius, grain_rows(v, 1 << 13));
    parallel_for(context, v.height, Grain(grain, grain, true), [&](int64_t begin, int64_t end) {
        const Scratch scratch(static_cast<size_t>((colours * rows + kept * pairs) * stride) * sizeof(int16_t) +
                              static_cast<size_t>(5 * v.width) * sizeof(uint32_t));
        int16_t* samples = scratch.as<int16_t>();  // a row begins with `pad` mirrored ones
        uint16_t* weights = reinterpret_cast<uint16_t*>(samples + colours * rows * stride);
        uint32_t* sums = reinterpret_cast<uint32_t*>(weights + kept * pairs * stride);
        uint32_t* pixels = sums + 4 * v.width;
        // What fills a row up to whole vectors is weighed too; it must only be defined.
        std::memset(samples, 0, static_cast<size_t>(colours * rows * stride) * sizeof(int16_t));
        // Of a row: the weights of sample 0 with tap 0, in a ring of as many rows as taps reach.
        const auto weights_at = [&](int64_t y) { return weights + (y % kept + kept) % kept * pairs * stride + radius; };
        std::vector<const uint16_t*> ahead(offset.size()), back(offset.size());
        int64_t made = begin - radius;  // the next row without weights
        for (int64_t top = begin; top < end; top += kStrip) {
            const int64_t bottom = std::min(top + kStrip, end);
            const auto at = [&](int64_t y, const int16_t* from[3]) {
                for (int c = 0; c < colours; ++c) from[c] = samples + (c * rows + (y - top + radius)) * stride + pad;
            };
            for (int64_t y = top - radius; y < bottom + radius; ++y) {
                const int16_t* from[3];
                at(y, from);
                int16_t* to[3];
                for (int c = 0; c < colours; ++c) to[c] = const_cast<int16_t*>(from[c]);
                k.planes(v.row(mirror(y, v.height)), v.channels, v.width, static_cast<int>(pad), pixels, to);
            }
            for (int64_t y = top; y < bottom; ++y) {
                const int16_t* from[3];
                for (; made <= y; ++made) {
                    at(made, from);
                    for (int c = 0; c < colours; ++c) from[c] -= radius;
                    k.bilateral_weights(from, v.channels, weighed, taps, weights_at(made) - radius, stride);
                }
                for (size_t t = 0; t < offset.size(); ++t) {
                    const int64_t line = static_cast<int64_t>(t) * stride;
                    ahead[t] = weights_at(y) + line;
                    back[t] = weights_at(y - dy[t]) + line - dx[t];
                }
                at(y, from);
                k.bilateral_row(from, v.channels, v.width, taps, ahead.data(), back.data(), sums, v.row(y), out.row(y));
            }
        }
    });
}

void guided(const ImageView& in, const MutableImageView& out, int radius, double eps, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    plans::check_guided(radius, eps);
    const EdgeKernels& k = *kernels().edge;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    const int64_t n = v.samples_per_row(), step = v.channels, pad = radius * step, wide = n + 2 * pad;
    const int taps = 2 * radius + 1, count = taps * taps;
    // Both box means run as exact integer column sums, so that the cut into chunks cannot show.
    // Each chunk makes the terms of the 2 * radius rows before it once more.
    const int64_t grain = std::max<int64_t>(8 * radius, grain_rows(v));
    parallel_for(context, v.height, Grain(grain, grain, true), [&](int64_t begin, int64_t end) {
        const Scratch scratch(static_cast<size_t>((4 + 2 * (taps + 1) + 2) * wide) * sizeof(int32_t));
        int32_t *s1 = scratch.as<int32_t>(), *s2 = s1 + wide, *ta = s2 + wide, *tb = ta + wide;
        int32_t* ring = tb + wide;  // rows of (a, b) for the lines of a window
        const auto terms = [&](int64_t y) { return ring + ((y % (taps + 1) + taps + 1) % (taps + 1)) * 2 * wide; };
        const auto extend = [&](int32_t* p) {  // p: `wide` words, the middle n filled
            for (int64_t i = 0; i < radius; ++i) {
                for (int64_t c = 0; c < step; ++c) {
                    p[i * step + c] = p[pad + mirror(i - radius, v.width) * step + c];
                    p[pad + n + i * step + c] = p[pad + mirror(v.width + i, v.width) * step + c];
                }
            }
        };
        int64_t held = INT64_MIN;           // window of s1, s2 is centred on this line
        const auto make = [&](int64_t y) {  // (a, b) of line y (mirrored), into the ring
            const int64_t line = mirror(y, v.height);
            if (line == held + 1) {
                k.sums_u8(v.row(mirror(line + radius, v.height)), v.row(mirror(line - radius - 1, v.height)), n,
                          s1 + pad, s2 + pad);
            } else if (line != held) {
                std::memset(s1, 0, static_cast<size_t>(2 * wide) * sizeof(int32_t));
                for (int64_t i = line - radius; i <= line + radius; ++i)
                    k.sums_u8(v.row(mirror(i, v.height)), nullptr, n, s1 + pad, s2 + pad);
            }
            held = line;
            extend(s1);
            extend(s2);
            k.window(s1, n, step, taps, ta);
            k.window(s2, n, step, taps, tb);
            k.guided_terms(ta, tb, n, count, static_cast<float>(eps), terms(y) + pad, terms(y) + wide + pad);
        };
        int32_t *sa = ring + 2 * (taps + 1) * wide, *sb = sa + wide;  // column sums of the second mean
        std::memset(sa, 0, static_cast<size_t>(2 * wide) * sizeof(int32_t));
        for (int64_t y = begin - radius; y < begin + radius; ++y) {
            make(y);
            k.sums_i32(terms(y) + pad, nullptr, n, sa + pad);
            k.sums_i32(terms(y) + wide + pad, nullptr, n, sb + pad);
        }
        for (int64_t y = begin; y < end; ++y) {
            make(y + radius);
            const int32_t* fresh = terms(y + radius);
            const int32_t* stale = y == begin ? nullptr : terms(y - radius - 1);
            k.sums_i32(fresh + pad, stale ? stale + pad : nullptr, n, sa + pad);
            k.sums_i32(fresh + wide + pad, stale ? stale + wide + pad : nullptr, n, sb + pad);
            extend(sa);
            extend(sb);
            k.window(sa, n, step, taps, ta);
            k.window(sb, n, step, taps, tb);
            k.guided_out(v.row(y), ta, tb, n, count, out.row(y));
        }
    });
}

}  // namespace og
