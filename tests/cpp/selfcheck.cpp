// Runs every kernel family on awkward shapes, on every backend of this machine and with one to four threads, and prints one
// hash per call. Exits 1 when two backends or thread counts disagree. The output is the same text on every machine:
//
//     og_selfcheck > here.txt;  diff tests/golden/selfcheck.txt here.txt
//
// It is what runs under emulation for arm64 and under the sanitizers (see CONTRIBUTING.md).
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"
#include "ondevice_guard/hash.hpp"
#include "ondevice_guard/png.hpp"
#include "ondevice_guard/purify.hpp"
#include "ondevice_guard/random.hpp"
#include "ondevice_guard/residual.hpp"
#include "ondevice_guard/typographic.hpp"
#include "ondevice_guard/views.hpp"

namespace {

using og::Context;
using og::ImageView;
using og::MutableImageView;

struct Picture {
    int64_t height, width;
    int channels;
    std::vector<uint8_t> samples;

    Picture(int64_t h, int64_t w, int c) : height(h), width(w), channels(c), samples(static_cast<size_t>(h * w * c)) {}
    ImageView view() const { return ImageView(samples.data(), height, width, channels); }
    MutableImageView target() { return MutableImageView(samples.data(), height, width, channels); }
};

Picture noise(int64_t h, int64_t w, int c) {
    Picture p(h, w, c);
    for (size_t i = 0; i < p.samples.size(); ++i) p.samples[i] = static_cast<uint8_t>(og::random_bits(42, i) >> 56);
    return p;
}

Picture ramps(int64_t h, int64_t w, int c) {
    Picture p(h, w, c);
    size_t i = 0;
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            for (int k = 0; k < c; ++k)
                p.samples[i++] = static_cast<uint8_t>(((k + 1) * x + y + (x / 24 + y / 16) % 2 * 90) & 255);
        }
    }
    return p;
}

/// Numbers as a picture of their bytes (little-endian, like every target we build for).
Picture bytes_of(const void* data, size_t n) {
    Picture p(1, static_cast<int64_t>(n), 1);
    std::memcpy(p.samples.data(), data, n);
    return p;
}

/// What the families that look at no transparency see of a picture.
Picture opaque(const Picture& in) {
    if (in.channels != 4) return in;
    Picture out(in.height, in.width, 3);
    for (size_t i = 0; i < out.samples.size(); ++i) out.samples[i] = in.samples[i / 3 * 4 + i % 3];
    return out;
}

/// Every row kernel of the sampling-grid and low-bit statistics: their verdicts hang on logarithms, which differ between
/// C libraries, but what is summed does not.
Picture signal_rows(const Picture& in) {
    const og::SignalKernels& k = *og::kernels().signal;
    const Picture image = opaque(in);
    const int64_t h = in.height, w = in.width;
    std::vector<uint8_t> luma(static_cast<size_t>(h * w)), row(static_cast<size_t>(w)), all(image.samples.size() / 8);
    std::vector<uint32_t> sums(static_cast<size_t>(w));
    std::vector<uint16_t> part(static_cast<size_t>(w));
    const auto keep = [&all](const void* data, size_t n) {
        const auto* bytes = static_cast<const uint8_t*>(data);
        all.insert(all.end(), bytes, bytes + n);
    };
    k.pack_low_bits(image.samples.data(), all.data(), static_cast<int64_t>(all.size()));
    for (int64_t y = 0; y < h; ++y) {
        const uint8_t* from = image.samples.data() + y * w * image.channels;
        if (image.channels == 3)
            k.luma_row(from, luma.data() + y * w, w);
        else
            std::memcpy(luma.data() + y * w, from, static_cast<size_t>(w));
    }
    for (const int64_t d : {1, 2}) {
        const int64_t n = w - 2 * d;
        for (int64_t y = d; y + d < h && n > 0; ++y) {
            const uint8_t* here = luma.data() + y * w + d;
            const uint8_t *above = here - d * w, *below = here + d * w;
            for (int kind = 0; kind < (d == 1 ? 3 : 1); ++kind) {
                uint64_t sum_and_squares[2] = {0, 0};
                uint64_t* squares = sum_and_squares + 1;
                sum_and_squares[0] = kind == 0   ? k.residual_row(above, here, below, d, row.data(), n, squares)
                                     : kind == 1 ? k.signed_row(above, here, below, row.data(), n, squares)
                                                 : k.linear_row(above, here, below, row.data(), n, squares);
                k.add_row(part.data(), row.data(), n);
                k.add_part(sums.data(), part.data(), n);
                keep(row.data(), static_cast<size_t>(n));
                keep(sum_and_squares, sizeof sum_and_squares);
            }
        }
    }
    keep(sums.data(), sums.size() * sizeof(uint32_t));
    return bytes_of(all.data(), all.size());
}

uint64_t hash_of(const Picture& p) {
    uint64_t h = 1469598103934665603ull;  // FNV-1a
    for (const uint8_t byte : p.samples) h = (h ^ byte) * 1099511628211ull;
    return h;
}

using Call = std::function<Picture(const Picture&, const Context&)>;

template <class F>
Call same_shape(F f) {
    return [f](const Picture& in, const Context& context) {
        Picture out(in.height, in.width, in.channels);
        f(in.view(), out.target(), context);
        return out;
    };
}

std::vector<std::pair<std::string, Call>> calls() {
    using In = const ImageView&;
    using Out = const MutableImageView&;
    using Ctx = const Context&;
    std::vector<std::pair<std::string, Call>> all = {
        {"median3", same_shape([](In in, Out out, Ctx c) { og::median(in, out, 3, c); })},
        {"median5", same_shape([](In in, Out out, Ctx c) { og::median(in, out, 5, c); })},
        {"bit_depth", same_shape([](In in, Out out, Ctx c) { og::bit_depth(in, out, 3, c); })},
        {"low_bits", same_shape([](In in, Out out, Ctx c) { og::reset_low_bits(in, out, 2, c); })},
        {"dct_420", same_shape([](In in, Out out, Ctx c) { og::dct_quantise(in, out, 25, true, 1, c); })},
        {"dct_444", same_shape([](In in, Out out, Ctx c) { og::dct_quantise(in, out, 60, false, 2, c); })},
        {"dct_shrink", same_shape([](In in, Out out, Ctx c) { og::dct_shrink(in, out, 30.0, 2, c); })},
        {"bilateral", same_shape([](In in, Out out, Ctx c) { og::bilateral(in, out, 4, 50.0, 75.0, c); })},
        {"guided", same_shape([](In in, Out out, Ctx c) { og::guided(in, out, 4, 400.0, c); })},
        {"total_variation", same_shape([](In in, Out out, Ctx c) { og::total_variation(in, out, 0.1, 8, c); })},
        {"nlm", same_shape([](In in, Out out, Ctx c) { og::nlm(in, out, 20.0, 2, c); })},
        {"wavelet", same_shape([](In in, Out out, Ctx c) { og::wavelet_shrink(in, out, -1.0, 2, c); })},
        {"resize_pad", same_shape([](In in, Out out, Ctx c) { og::resize_pad(in, out, 0.8, 5, c); })},
        {"rotate", same_shape([](In in, Out out, Ctx c) { og::rotate(in, out, 5.0, 4, c); })},
        {"rotate_linear", same_shape([](In in, Out out, Ctx c) { og::rotate(in, out, 5.0, 2, c); })},
        {"fill", same_shape([](In in, Out out, Ctx) {
             og::fill(in, out, {{5, 4, 20.5, 6, 19, 15, 4, 13}, {-3, 20, 8, 20, 8, 90, -3, 90}},
                      og::FillMethod::inpaint);
         })},
        {"residual",
         [](const Picture& in, Ctx c) {
             const int64_t every = in.width > 60 ? 2 : 1;
             const int64_t down = og::residual::tiles_along(in.height, every);
             std::vector<int64_t> sums(static_cast<size_t>(down * og::residual::tiles_along(in.width, every)) *
                                       og::residual::kSums);
             og::residual::tile_sums(in.view(), every, sums.data(), c);
             return bytes_of(sums.data(), sums.size() * sizeof(int64_t));
         }},
        {"noise_level",
         [](const Picture& in, Ctx c) {
             const double level = og::residual::noise_level(in.view(), c);
             return bytes_of(&level, sizeof level);
         }},
        {"contrast",
         [](const Picture& in, Ctx c) {
             Picture out(in.height, in.width, 3);
             og::local_contrast(in.view(), out.target(), c);
             return out;
         }},
        {"signal", [](const Picture& in, Ctx) { return signal_rows(in); }},
        {"patches",
         [](const Picture& in, Ctx c) {
             Picture out(og::patch_cells(in.height), og::patch_cells(in.width), 64);
             og::patches(opaque(in).view(), out.samples.data(), c);
             return out;
         }},
        {"strips",
         [](const Picture& in, Ctx c) {
             const std::vector<og::QuadF> quads = {{{{2, 3}, {60, 5}, {59, 18}, {1, 16}}},
                                                   {{{-4, -2}, {20, 1}, {20, 40}, {-4, 33}}},
                                                   {{{9, 9}, {9.5F, 9}, {9.5F, 9.4F}, {9, 9.4F}}}};
             const std::vector<int64_t> widths = og::strip_widths(quads, 16, 128);
             std::vector<int64_t> offsets;
             int64_t bytes = 0;
             for (const int64_t width : widths) offsets.push_back(bytes), bytes += 16 * width;
             Picture out(1, bytes, 1);
             og::rectify(opaque(in).view(), quads, 16, widths, offsets, out.samples.data(), c);
             return out;
         }},
        {"fingerprint",
         [](const Picture& in, Ctx c) {
             const og::Fingerprint f = og::fingerprint(in.view(), c);
             std::vector<uint64_t> all = {f.dhash, f.phash, f.sketched, 0, 0, 0, 0};
             std::memcpy(all.data() + 3, f.sketch, sizeof f.sketch);
             return bytes_of(all.data(), all.size() * sizeof(uint64_t));
         }},
        {"png",
         [](const Picture& in, Ctx) {
             const std::vector<uint8_t> file = og::encode_png(in.view());
             return bytes_of(file.data(), file.size());
         }},
    };
    const std::pair<const char*, bool> kernels[] = {
        {"nearest", true}, {"box", true},      {"bilinear", true},  {"bicubic", true},  {"lanczos", true},
        {"area", true},    {"nearest", false}, {"bilinear", false}, {"bicubic", false}, {"corner_bilinear", false}};
    for (const auto& [name, antialias] : kernels) {
        const og::Resampler kernel = og::resampler_of(name, antialias);
        for (const auto& [height, width] : {std::pair<int64_t, int64_t>{13, 50}, {90, 31}}) {
            all.emplace_back("resize " + std::string(name) + (antialias ? " " : " plain ") + std::to_string(height),
                             [kernel, height = height, width = width](const Picture& in, Ctx c) {
                                 Picture out(height, width, in.channels);
                                 og::resize(in.view(), out.target(), kernel, c);
                                 return out;
                             });
        }
    }
    return all;
}

}  // namespace

int main() {
    const std::pair<int64_t, int64_t> shapes[] = {{1, 1}, {1, 7}, {7, 1}, {2, 3}, {9, 65}, {37, 33}, {70, 301}};
    bool agree = true;
    for (const auto& [name, call] : calls()) {
        for (const auto& [height, width] : shapes) {
            for (const int channels : {1, 3, 4}) {
                uint64_t combined = 0;
                for (const Picture& picture : {noise(height, width, channels), ramps(height, width, channels)}) {
                    bool first = true;
                    uint64_t expected = 0;
                    for (const og::backend::Info& info : og::backend::list()) {
                        if (!info.compiled || !info.supported) continue;
                        og::backend::force(info.name);
                        for (const int threads : {1, 2, 4}) {
                            Context context;
                            context.threads = threads;
                            const uint64_t got = hash_of(call(picture, context));
                            if (first) expected = got;
                            first = false;
                            if (got == expected) continue;
                            agree = false;
                            std::fprintf(stderr, "%s %" PRId64 "x%" PRId64 "x%d differs on %s with %d threads\n",
                                         name.c_str(), height, width, channels, info.name, threads);
                        }
                    }
                    combined = combined * 31 + expected;
                }
                std::printf("%-28s %3" PRId64 " x %3" PRId64 " x %d  %016" PRIx64 "\n", name.c_str(), height, width,
                            channels, combined);
            }
        }
    }
    return agree ? 0 : 1;
}
