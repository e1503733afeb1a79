// What the model will see: python/ondevice_guard/views.py, profile by profile.
#include "ondevice_guard/views.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "capi/detectors.hpp"

namespace og {
namespace capi {
namespace {

enum class Geometry { crop, pad, stretch, fit, smart };
struct Profile {
    const char* name;
    Geometry geometry;
    int64_t size;
    const char* kernel;
    bool antialias;
    uint8_t pad[3];
};
// The colour of CLIP's mean pads what LLaVA-1.5 makes square.
constexpr Profile kProfiles[] = {
    {"clip-224", Geometry::crop, 224, "bicubic", true, {}},
    {"clip-336", Geometry::crop, 336, "bicubic", true, {}},
    {"llava-pad-336", Geometry::pad, 336, "bicubic", true, {122, 116, 104}},
    {"siglip-384", Geometry::stretch, 384, "bicubic", true, {}},
    {"gemma3-896", Geometry::stretch, 896, "bilinear", true, {}},
    {"internvl-448", Geometry::stretch, 448, "bicubic", true, {}},
    {"smolvlm-512", Geometry::stretch, 512, "lanczos", true, {}},
    {"qwen2-vl", Geometry::smart, 0, "bicubic", true, {}},
    {"llama.cpp", Geometry::pad, 336, "bilinear", false, {122, 116, 104}},
    {"opencv-224", Geometry::stretch, 224, "bilinear", false, {}},
    {"opencv-336", Geometry::stretch, 336, "bilinear", false, {}},
    {"nearest-336", Geometry::stretch, 336, "nearest", false, {}},
    {"generic", Geometry::fit, 512, "bilinear", false, {}},
};
constexpr int64_t kLongest = 8;  // of a picture longer than this many times its short side, `crop` resizes the middle
constexpr int64_t kSquare = 4096 * 4096;  // pixels of `pad`'s square, or twice the picture's if that is more

int64_t half_even(double x) {
    return static_cast<int64_t>(std::nearbyint(x));
}

/// Floor of an integer division by 2.
int64_t half(int64_t n) {
    return n >= 0 ? n / 2 : -((1 - n) / 2);
}

/// The window [top, top + h) x [left, left + w) of a picture, `pad` where it reaches over the edge.
Pixels window_of(const ImageView& in, int64_t top, int64_t left, int64_t h, int64_t w, const uint8_t pad[3]) {
    Pixels out(h, w, 3);
    for (int64_t y = 0; y < h; ++y) {
        uint8_t* row = out.view.row(y);
        for (int64_t x = 0; x < w; ++x) std::memcpy(row + 3 * x, pad, 3);
        if (top + y < 0 || top + y >= in.height) continue;
        const int64_t x0 = std::max<int64_t>(left, 0), x1 = std::min(left + w, in.width);
        if (x1 > x0) std::memcpy(row + 3 * (x0 - left), in.row(top + y) + 3 * x0, static_cast<size_t>(3 * (x1 - x0)));
    }
    return out;
}

void smart_size(int64_t height, int64_t width, int64_t& h, int64_t& w) {
    constexpr int64_t kFactor = 28, kLeast = 56 * 56, kMost = 28 * 28 * 1280;
    const auto dh = static_cast<double>(height), dw = static_cast<double>(width);
    h = std::max(kFactor, half_even(dh / kFactor) * kFactor);
    w = std::max(kFactor, half_even(dw / kFactor) * kFactor);
    if (h * w > kMost) {
        const double beta = std::sqrt(dh * dw / kMost);
        h = std::max(kFactor, static_cast<int64_t>(std::floor(dh / beta / kFactor)) * kFactor);
        w = std::max(kFactor, static_cast<int64_t>(std::floor(dw / beta / kFactor)) * kFactor);
    } else if (h * w < kLeast) {
        const double beta = std::sqrt(kLeast / (dh * dw));
        h = static_cast<int64_t>(std::ceil(dh * beta / kFactor)) * kFactor;
        w = static_cast<int64_t>(std::ceil(dw * beta / kFactor)) * kFactor;
    }
}

View scaled(const std::string& name, const ImageView& from, int64_t h, int64_t w, const Profile& p,
            const Context& run) {
    const Pixels made(h, w, 3);
    resize(from, made.view, resampler_of(p.kernel, p.antialias), run);
    View v{name, made.memory, made.view};
    v.sx = static_cast<double>(from.width) / static_cast<double>(w);
    v.sy = static_cast<double>(from.height) / static_cast<double>(h);
    return v;
}

View look(const Profile& p, const ImageView& original, const Context& run) {
    const int64_t height = original.height, width = original.width;
    if (p.geometry == Geometry::crop) {
        // transformers truncates the longer edge
        const int64_t side = std::min(height, width), h = std::min(height, kLongest * side),
                      w = std::min(width, kLongest * side);
        const int64_t top0 = (height - h) / 2, left0 = (width - w) / 2;
        ImageView part = original;
        part.data = original.row(top0) + 3 * left0;
        part.height = h, part.width = w;
        const int64_t new_h = p.size * h / side, new_w = p.size * w / side, top = (new_h - p.size) / 2,
                      left = (new_w - p.size) / 2;
        const View all = scaled(p.name, part, new_h, new_w, p, run);
        const Pixels middle = window_of(all.pixels, top, left, p.size, p.size, p.pad);
        View v{p.name, middle.memory, middle.view, all.sx, all.sy};
        v.ox = static_cast<double>(left0) + static_cast<double>(left) * v.sx;
        v.oy = static_cast<double>(top0) + static_cast<double>(top) * v.sy;
        return v;
    }
    if (p.geometry == Geometry::pad) {
        const auto most =
            static_cast<int64_t>(std::floor(std::sqrt(static_cast<double>(std::max(kSquare, 2 * height * width)))));
        const int64_t side = std::min(std::max(height, width), most), top = -half(side - height),
                      left = -half(side - width);
        const Pixels square = window_of(original, top, left, side, side, p.pad);
        View v = scaled(p.name, square.view, p.size, p.size, p, run);
        v.ox = static_cast<double>(left), v.oy = static_cast<double>(top);
        return v;
    }
    int64_t h = p.size, w = p.size;
    if (p.geometry == Geometry::fit) {
        const double ratio = std::min(1.0, static_cast<double>(p.size) / static_cast<double>(std::max(height, width)));
        h = std::max<int64_t>(1, half_even(static_cast<double>(height) * ratio));
        w = std::max<int64_t>(1, half_even(static_cast<double>(width) * ratio));
    } else if (p.geometry == Geometry::smart) {
        smart_size(height, width, h, w);
    }
    return scaled(p.name, original, h, w, p, run);
}

const Profile& profile(const std::string& name) {
    for (const Profile& p : kProfiles) {
        if (name == p.name) return p;
    }
    throw Error(Code::unsupported, "profiles: there is no profile " + name);
}

bool extra(const std::string& name) {
    return name == "original" || name == "contrast";
}

}  // namespace

void require_profile(const std::string& name) {
    if (!extra(name)) profile(name);
}

Views build_views(const ImageView& image, const std::vector<std::string>& profiles, const uint8_t background[3],
                  const Context& run) {
    const int64_t height = image.height, width = image.width;
    const Pixels rgb(height, width, 3);
    std::shared_ptr<uint8_t> alpha;
    if (image.channels == 4) alpha = Pixels(height, width, 1).memory;
    constexpr int64_t kGrain = 64;  // rows: splitting costs less than waking a thread for fewer
    parallel_for(run, height, kGrain, [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) {
            uint8_t* to = rgb.view.row(y);
            const uint8_t* from = image.row(y);
            if (image.channels == 3) {
                std::memcpy(to, from, static_cast<size_t>(3 * width));
                continue;
            }
            for (int64_t x = 0; x < width; ++x) {
                const uint8_t* p = from + x * image.channels;
                for (int c = 0; c < 3; ++c) to[3 * x + c] = image.channels == 1 ? p[0] : p[c];
                if (alpha) alpha.get()[y * width + x] = p[3];
            }
        }
    });
    Views views;
    views.colours = rgb.view;
    views.memory[0] = rgb.memory;
    const auto opaque = [](uint8_t a) { return a == 255; };
    if (alpha && !std::all_of(alpha.get(), alpha.get() + height * width, opaque)) {
        views.opacity = ImageView(alpha.get(), height, width, 1);
        views.memory[1] = alpha;
    }
    const auto over = [&](const char* name, const uint8_t colour[3]) {
        const Pixels made(height, width, 3);
        composite(views.colours, views.opacity, colour, made.view, run);
        views.items.push_back({name, made.memory, made.view});
    };
    if (views.opacity.data) {
        constexpr uint8_t black[3] = {0, 0, 0}, white[3] = {255, 255, 255};
        over("original", background);
        over("over_black", black);
        over("over_white", white);
    } else {
        views.items.push_back({"original", rgb.memory, rgb.view});
    }
    const View original = views.items[0];
    for (size_t i = 0; i < profiles.size(); ++i) {
        const bool twice = std::find(profiles.begin(), profiles.begin() + static_cast<int64_t>(i), profiles[i]) !=
                           profiles.begin() + static_cast<int64_t>(i);
        if (!twice && !extra(profiles[i])) views.items.push_back(look(profile(profiles[i]), original.pixels, run));
    }
    if (std::find(profiles.begin(), profiles.end(), "contrast") != profiles.end()) {
        const Pixels made(height, width, 3);
        local_contrast(original.pixels, made.view, run);
        views.items.push_back({"contrast", made.memory, made.view});
    }
    return views;
}

}  // namespace capi
}  // namespace og
