#include "ondevice_guard/structural.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>

#include "door.hpp"
#include "ondevice_guard/purify.hpp"
#include "ondevice_guard/signal.hpp"
#include "ondevice_guard/views.hpp"

namespace og {
namespace structural {
namespace {

/// Colours as packed HxWx3 and, where any pixel is not opaque, alpha as packed HxW.
struct Split {
    std::unique_ptr<uint8_t[]> rgb, alpha;
    ImageView colours;
    ImageView opacity;  // no data: opaque
};

Split split(const ImageView& v, const Context& context) {
    Split s;
    const size_t n = static_cast<size_t>(v.height * v.width);
    s.rgb.reset(new uint8_t[3 * n]);
    if (v.channels == 4) s.alpha.reset(new uint8_t[n]);
    parallel_for(context, v.height, grain_rows(v), [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) {
            uint8_t* rgb = s.rgb.get() + 3 * y * v.width;
            for (int64_t x = 0; x < v.width; ++x) {
                const uint8_t* p = v.row(y) + x * v.pixel_stride;
                for (int c = 0; c < 3; ++c) rgb[3 * x + c] = v.channels == 1 ? p[0] : p[c * v.channel_stride];
                if (s.alpha) s.alpha[static_cast<size_t>(y * v.width + x)] = p[3 * v.channel_stride];
            }
        }
    });
    s.colours = ImageView(s.rgb.get(), v.height, v.width, 3);
    if (s.alpha && !std::all_of(s.alpha.get(), s.alpha.get() + n, [](uint8_t a) { return a == 255; })) {
        s.opacity = ImageView(s.alpha.get(), v.height, v.width, 1);
    }
    return s;
}

double bell(double value, double scale) {
    return std::min(std::max(1 - std::exp(-(value / scale) * (value / scale)), 0.0), 1.0);
}

std::string format(const char* pattern, double a, double b = 0, double c = 0) {
    char text[256];
    std::snprintf(text, sizeof text, pattern, a, b, c);
    return text;
}

Finding scaling(const ImageView& rgb, const Context& context) {
    const SamplingGrid g = sampling_grid(rgb, context);
    Finding f{};
    f.kind = Kind::scaling;
    f.score = std::min(std::max(1 - std::exp2(-g.evidence * g.evidence), 0.0), 1.0);
    if (g.evidence <= 0) {
        f.why = "No pixels stand out on a regular grid.";
        return f;
    }
    f.why = format("The pixels that a resize to about %.0fx%.0f singles out ",
                   g.frequency_x * static_cast<double>(rgb.width), g.frequency_y * static_cast<double>(rgb.height));
    f.why += g.log_ratio > 0
                 ? format("stick out of their surroundings %.1f times as far as the others.", std::exp(g.log_ratio))
                 : format(g.shift > 0 ? "are %.1f grey levels brighter than the others."
                                      : "are %.1f grey levels darker than the others.",
                          std::fabs(g.shift));
    return f;
}

/// A plane of truth values.
struct Mask {
    int64_t height, width;
    std::vector<uint8_t> at;
    Mask(int64_t h, int64_t w) : height(h), width(w), at(static_cast<size_t>(h * w)) {}
    uint8_t& operator()(int64_t y, int64_t x) { return at[static_cast<size_t>(y * width + x)]; }
    uint8_t operator()(int64_t y, int64_t x) const { return at[static_cast<size_t>(y * width + x)]; }
};

/// Edges of a plane of quarters: differences above 24 (96 quarters) to the third neighbour to the right or below.
Mask edges_of(const std::vector<int>& plane, int64_t h, int64_t w) {
    Mask m(h, w);
    const auto value = [&](int64_t y, int64_t x) { return plane[static_cast<size_t>(y * w + x)]; };
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            const bool across = x + 3 < w && std::abs(value(y, x + 3) - value(y, x)) > 96;
            const bool down = y + 3 < h && std::abs(value(y + 3, x) - value(y, x)) > 96;
            m(y, x) = across || down;
        }
    }
    return m;
}

Finding alpha_divergence(const ImageView& rgb, const ImageView& alpha) {
    const int64_t step =
        std::max<int64_t>(1, std::llrint(std::sqrt(static_cast<double>(alpha.height * alpha.width) / (1 << 20))));
    const int64_t h = (rgb.height + step - 1) / step, w = (rgb.width + step - 1) / step, n = h * w;
    std::vector<int> colour(static_cast<size_t>(n)), cover(static_cast<size_t>(n));
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            const uint8_t* p = rgb.row(y * step) + 3 * x * step;
            colour[static_cast<size_t>(y * w + x)] = p[0] + 2 * p[1] + p[2];
            cover[static_cast<size_t>(y * w + x)] = 4 * alpha.row(y * step)[x * step];
        }
    }
    const Mask in_colour = edges_of(colour, h, w), in_cover = edges_of(cover, h, w);
    // Edges along the rim of the cut-out belong to the visible picture: four steps inwards are left out.
    Mask clear(h, w), deep(h, w);
    for (size_t i = 0; i < clear.at.size(); ++i) clear.at[i] = cover[i] < 4 * 16;
    for (int round = 0; round < 4; ++round) {
        for (int64_t y = 0; y < h; ++y) {
            for (int64_t x = 0; x < w; ++x) {
                deep(y, x) = clear(y, x) && (y == 0 || clear(y - 1, x)) && (y + 1 == h || clear(y + 1, x)) &&
                             (x == 0 || clear(y, x - 1)) && (x + 1 == w || clear(y, x + 1));
            }
        }
        clear.at = deep.at;
    }
    int64_t colour_edges = 0, under = 0, partial_pixels = 0, drawn = 0, all = 0;
    Mask partial(h, w);
    for (size_t i = 0; i < partial.at.size(); ++i) partial.at[i] = cover[i] > 4 * 8 && cover[i] < 4 * 247;
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            colour_edges += in_colour(y, x);
            under += in_colour(y, x) && clear(y, x);
            partial_pixels += partial(y, x);
            // an edge between two partial covers, not the rim of a translucent shape
            const bool both = partial(y, x) && (y + 3 >= h || partial(y + 3, x)) && (x + 3 >= w || partial(y, x + 3));
            drawn += in_cover(y, x) && !in_colour(y, x) && both;
            all += in_colour(y, x) || in_cover(y, x);
        }
    }
    const double total = static_cast<double>(n);
    const double hidden = static_cast<double>(under) > 0.0005 * total
                              ? static_cast<double>(under) / static_cast<double>(std::max<int64_t>(colour_edges, 1))
                              : 0.0;
    const double inside = static_cast<double>(partial_pixels) / total > 0.2
                              ? static_cast<double>(drawn) / static_cast<double>(std::max<int64_t>(all, 1))
                              : 0.0;
    // Writing leaves most of its page clear: strokes along a row or a column that alpha draws where the colours are flat.
    std::vector<int64_t> across(static_cast<size_t>(h), 0), down(static_cast<size_t>(w), 0);
    const auto ink = [&](int64_t y, int64_t x) { return cover[static_cast<size_t>(y * w + x)] >= 4 * 128; };
    for (int64_t y = 0; y < h; ++y) {
        for (int64_t x = 0; x < w; ++x) {
            if (in_colour(y, x)) continue;
            across[static_cast<size_t>(y)] += x + 1 < w && ink(y, x) != ink(y, x + 1);
            down[static_cast<size_t>(x)] += y + 1 < h && ink(y, x) != ink(y + 1, x);
        }
    }
    double strokes = 0;
    for (std::vector<int64_t>* lines : {&across, &down}) {
        constexpr std::ptrdiff_t kRows = 5;  // a line of small print
        if (static_cast<std::ptrdiff_t>(lines->size()) < kRows) continue;
        const auto fifth = lines->end() - kRows;
        std::nth_element(lines->begin(), fifth, lines->end());
        strokes = std::max(strokes, static_cast<double>(*fifth) / 2);
    }
    Finding f{};
    f.kind = Kind::alpha_divergence;
    f.score = bell(std::max(std::max(hidden, inside) / 0.12, strokes / 19.2), 1);
    f.why = format(
        "%.0f%% of the edges lie under transparent pixels, %.0f%% are drawn in the transparency alone, "
        "as are %.0f strokes in a line.",
        100 * hidden, 100 * inside, strokes);
    return f;
}

bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// Words of two letters and more in one passage.
int words_in(const char* begin, const char* end) {
    int words = 0;
    for (const char* p = begin; p < end;) {
        const char* q = p;
        while (q < end && is_letter(*q)) ++q;
        words += q - p >= 2;
        p = q == p ? p + 1 : q;
    }
    return words;
}

/// Words of the longest passage of printable ASCII. Attribute values and nodes of XML are passages of their own, and so are
/// lines.
int longest_passage(const std::string& text) {
    int most = 0;
    const char* const end = text.data() + text.size();
    const bool markup = text.find('<') != std::string::npos &&
                        (text.find("xmlns") != std::string::npos || text.find("xpacket") != std::string::npos);
    if (!markup) {
        for (const char* p = text.data(); p < end;) {
            const char* q = p;
            while (q < end && *q != '\n' && *q != '\r') ++q;
            most = std::max(most, words_in(p, q));
            p = q + 1;
        }
        return most;
    }
    const auto passage = [&](const char* p, const char* q) {
        if (std::string(p, q).find("://") == std::string::npos) most = std::max(most, words_in(p, q));
    };
    for (const char* p = text.data(); p < end;) {
        const bool attribute = p + 1 < end && p[0] == '=' && p[1] == '"';
        if (attribute) {
            const char* q = p + 2;
            while (q < end && *q != '"' && *q != '<' && *q != '>') ++q;
            if (q < end && *q == '"') {
                passage(p + 2, q);
                p = q + 1;
                continue;
            }
        } else if (*p == '>') {
            const char* q = p + 1;
            while (q < end && *q != '<' && *q != '>') ++q;
            if (q > p + 1 && q < end && *q == '<') {
                passage(p + 1, q);
                p = q + 1;
                continue;
            }
        }
        ++p;
    }
    return most;
}

/// A run of printable characters that looks like text and not like compressed data.
bool readable(const std::string& text) {
    const auto letters = static_cast<double>(
        std::count_if(text.begin(), text.end(), [](char c) { return is_letter(c) || is_digit(c) || c == ' '; }));
    const auto n = static_cast<double>(text.size());
    return text.size() >= 6 && (letters >= 0.6 * n || (text.size() > 40 && letters >= 0.4 * n));
}

}  // namespace

Result check(const ImageView& image, const Policy& policy, const Context& context) {
    require_image(image, "image");
    if (std::max(image.height, image.width) > policy.side || image.height * image.width > policy.pixels) {
        throw Error(Code::limit, "image: " + std::to_string(image.width) + " x " + std::to_string(image.height) +
                                     " pixels are more than the limits allow");
    }
    const Split s = split(image, context);
    Result result;
    int words = -1;
    for (const LowBitText& found : low_bit_text(s.colours)) {
        if (readable(found.text)) words = std::max(words, longest_passage(found.text));
    }
    if (words >= 0) {
        Finding f{};
        f.kind = Kind::metadata_text;
        f.score = bell(words, 14);
        f.why =
            format("Readable text lies beside the pixels (pixels:low_bits, up to %.0f words in one passage).", words);
        result.findings.push_back(f);
    }
    result.findings.push_back(scaling(s.colours, context));
    if (s.opacity.data) result.findings.push_back(alpha_divergence(s.colours, s.opacity));
    Action worst = Action::ignore;
    for (Finding& f : result.findings) {
        const size_t k = static_cast<size_t>(f.kind);
        f.threshold = policy.thresholds[k];
        f.action = policy.actions[k];
        f.counts = f.score >= f.threshold && f.action != Action::ignore;
        if (f.counts) worst = std::max(worst, f.action);
    }
    result.composite = s.opacity.data != nullptr;
    if (worst == Action::block) {
        result.decision = Decision::block;
        return result;
    }
    for (const Finding& f : result.findings) {
        if (!f.counts || f.action != Action::sanitize) continue;
        result.decision = Decision::sanitized;
        result.descale = result.descale || f.kind == Kind::scaling;
        result.low_bits = result.low_bits || f.kind == Kind::metadata_text;
    }
    return result;
}

void sanitize(const ImageView& image, const Result& result, const Policy& policy, const MutableImageView& out,
              const Context& context) {
    require_image(image, "image");
    require_out(out, image.height, image.width, 3);
    if (result.decision == Decision::block)
        throw Error(Code::unsupported, "image: is blocked; there are no safe pixels");
    const Split s = split(image, context);
    if (s.opacity.data) {
        composite(s.colours, s.opacity, policy.background.data(), out, context);
    } else {
        for (int64_t y = 0; y < out.height; ++y)
            std::memcpy(out.row(y), s.colours.row(y), static_cast<size_t>(3 * out.width));
    }
    const ImageView now = out;
    if (result.descale) reconstruct(now, out, context);
    if (result.low_bits) reset_low_bits(now, out, std::max(policy.low_bits, 1), context);
}

}  // namespace structural
}  // namespace og
