#include "capi/detectors.hpp"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "ondevice_guard/residual.hpp"
#include "ondevice_guard/views.hpp"

namespace og {
namespace capi {

double sigmoid(double z) {
    return z >= 0 ? 1 / (1 + std::exp(-z)) : std::exp(z) / (1 + std::exp(z));
}

std::string format(const char* pattern, ...) {
    char text[256];
    va_list more;
    va_start(more, pattern);
    std::vsnprintf(text, sizeof text, pattern, more);
    va_end(more);
    return text;
}

std::u32string decoded(const char* text, size_t bytes) {
    std::u32string out;
    const auto* p = reinterpret_cast<const unsigned char*>(text);
    for (size_t i = 0; i < bytes;) {
        const unsigned char lead = p[i];
        const int more = lead < 0x80                   ? 0
                         : lead >= 0xc2 && lead < 0xe0 ? 1
                         : (lead & 0xf0) == 0xe0       ? 2
                         : lead >= 0xf0 && lead < 0xf5 ? 3
                                                       : -1;
        char32_t value = more <= 0 ? lead : lead & (0x3f >> more);
        bool good = more >= 0 && i + static_cast<size_t>(more) < bytes;
        for (int k = 1; good && k <= more; ++k) {
            good = (p[i + static_cast<size_t>(k)] & 0xc0) == 0x80;
            value = value << 6 | (p[i + static_cast<size_t>(k)] & 0x3f);
        }
        // overlong forms, surrogates and values beyond Unicode
        if (more == 2 && (value < 0x800 || (value >= 0xd800 && value < 0xe000))) good = false;
        if (more == 3 && (value < 0x10000 || value > 0x10ffff)) good = false;
        out.push_back(good ? value : char32_t{0xfffd});
        i += good ? static_cast<size_t>(more) + 1 : 1;
    }
    return out;
}

// ---- structural ------------------------------------------------------------------------------------------------------

namespace {

double bell(double value, double scale) {
    return std::min(std::max(1 - std::exp(-(value / scale) * (value / scale)), 0.0), 1.0);
}

Finding found(int kind, double score, std::string why, const char* detector) {
    Finding f;
    f.kind = kind;
    f.score = score;
    f.why = std::move(why);
    f.detector = detector;
    return f;
}

Finding scaling(const SamplingGrid& g, const ImageView& rgb) {
    const double score = std::min(std::max(1 - std::exp2(-g.evidence * g.evidence), 0.0), 1.0);
    if (g.evidence <= 0) return found(OG_SCALING, score, "No pixels stand out on a regular grid.", "structural");
    std::string why =
        format("The pixels that a resize to about %.0fx%.0f singles out ",
               g.frequency_x * static_cast<double>(rgb.width), g.frequency_y * static_cast<double>(rgb.height));
    why += g.log_ratio > 0
               ? format("stick out of their surroundings %.1f times as far as the others.", std::exp(g.log_ratio))
               : format("are %.1f grey levels %s than the others.", std::fabs(g.shift),
                        g.shift > 0 ? "brighter" : "darker");
    Finding f = found(OG_SCALING, score, std::move(why), "structural");
    f.period = 1 / std::max({g.frequency_x, g.frequency_y, 1e-9});
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
    const double by_hidden = hidden / 0.12, by_alpha = std::max(inside / 0.12, strokes / 19.2);
    Finding f = found(OG_ALPHA_DIVERGENCE, bell(std::max(by_hidden, by_alpha), 1),
                      format("%.0f%% of the edges lie under transparent pixels, %.0f%% are drawn in the transparency "
                             "alone, as are %.0f strokes in a line.",
                             100 * hidden, 100 * inside, strokes),
                      "structural");
    if (by_alpha <= by_hidden) return f;
    // The colour over which least of what alpha draws shows: the median of the colours it is drawn in.
    for (int c = 0, packed = 0; c < 3; ++c) {
        std::array<int64_t, 256> histogram{};
        int64_t count = 0, below = 0;
        for (int64_t y = 0; y < h; ++y) {
            for (int64_t x = 0; x < w; ++x) {
                if (!in_cover(y, x) || in_colour(y, x)) continue;
                ++histogram[rgb.row(y * step)[3 * x * step + c]], ++count;
            }
        }
        if (count == 0) break;
        int level = 0;
        while ((below += histogram[static_cast<size_t>(level)]) <= (count - 1) / 2) ++level;
        packed = packed << 8 | level;
        if (c == 2) f.background = packed;
    }
    return f;
}

}  // namespace

void structural(const Views& views, const Context&, std::vector<Finding>& findings) {
    findings.push_back(scaling(views.grid, views.colours));
    if (views.opacity.data) findings.push_back(alpha_divergence(views.colours, views.opacity));
}

// ---- adversarial -----------------------------------------------------------------------------------------------------

namespace {

constexpr int64_t kSmallest = 48;  // pixels: below, tiles are too few for statistics
constexpr int64_t kWindow = 4, kSampled = 24;
constexpr double kSure = 4.0;

std::vector<double> numbers(const Value& list) {
    std::vector<double> out;
    for (const Value& v : list.items()) out.push_back(v.real());
    return out;
}

/// Window size in tiles and first tile rows and columns.
struct Windows {
    int64_t size;
    std::vector<int64_t> tops, lefts;
    Windows(int64_t down, int64_t across) {
        size = std::min({std::max(kWindow, (std::min(down, across) + 5) / 6), down, across});
        const int64_t step = std::max<int64_t>(1, size / 2);
        const auto starts = [&](int64_t n) {
            std::vector<int64_t> at;
            for (int64_t i = 0; i < n - size + 1; i += step) at.push_back(i);
            if (at.back() != n - size) at.push_back(n - size);
            return at;
        };
        tops = starts(down);
        lefts = starts(across);
    }
};

/// Boxes of the 4-connected components of a small mask, in reading order; the mask is used up.
std::vector<Quad> boxes(std::vector<uint8_t>& hot, int64_t down, int64_t across, double step, double width,
                        double height) {
    std::vector<Quad> out;
    std::vector<int64_t> stack;
    for (int64_t start = 0; start < down * across; ++start) {
        if (!hot[static_cast<size_t>(start)]) continue;
        hot[static_cast<size_t>(start)] = 0;
        stack.assign(1, start);
        int64_t x0 = across, y0 = down, x1 = 0, y1 = 0;
        while (!stack.empty()) {
            const int64_t y = stack.back() / across, x = stack.back() % across;
            stack.pop_back();
            x0 = std::min(x0, x), x1 = std::max(x1, x + 1), y0 = std::min(y0, y), y1 = std::max(y1, y + 1);
            const int64_t near[4][2] = {{y - 1, x}, {y + 1, x}, {y, x - 1}, {y, x + 1}};
            for (const auto& [ny, nx] : near) {
                if (ny < 0 || ny >= down || nx < 0 || nx >= across || !hot[static_cast<size_t>(ny * across + nx)])
                    continue;
                hot[static_cast<size_t>(ny * across + nx)] = 0;
                stack.push_back(ny * across + nx);
            }
        }
        const double left = static_cast<double>(x0) * step, top = static_cast<double>(y0) * step;
        const double right = x1 == across ? width : static_cast<double>(x1) * step;
        const double bottom = y1 == down ? height : static_cast<double>(y1) * step;
        out.push_back({left, top, right, top, right, bottom, left, bottom});
    }
    return out;
}

}  // namespace

Adversarial::Adversarial(const std::string& models) : folder_(models, "adversarial") {
    const Value weights = parse_json(folder_.file("weights.json"));
    perceptron_.mean = numbers(weights.at("mean"));
    perceptron_.scale = numbers(weights.at("scale"));
    perceptron_.slope = weights.at("slope").real();
    perceptron_.offset = weights.at("offset").real();
    window_offset_ = weights.at("window_offset").real();
    bool fits = true;
    for (const Value& pair : weights.at("layers").items()) {
        fits = fits && pair.items().size() == 2;
        if (!fits) break;
        residual::Perceptron::Layer layer;
        layer.bias = numbers(pair.list[1]);
        const std::vector<Value>& rows = pair.list[0].items();  // output by output
        const size_t outputs = layer.bias.size(), inputs = rows.empty() ? 0 : rows[0].items().size();
        layer.weights.resize(inputs * outputs);
        fits = rows.size() == outputs;
        for (size_t o = 0; fits && o < outputs; ++o) {
            const std::vector<double> row = numbers(rows[o]);
            fits = row.size() == inputs;
            for (size_t i = 0; fits && i < inputs; ++i) layer.weights[i * outputs + o] = row[i];
        }
        perceptron_.layers.push_back(std::move(layer));
    }
    if (!fits || !perceptron_.fits())
        throw Error(Code::model, folder_.name() + ": weights.json is not of this version");
    const Value* table = folder_.config().find("thresholds");
    table = table ? table->find("adversarial") : nullptr;
    if (table) {
        for (const auto& [rate, value] : table->table) least_ = std::min(least_, value.real());
    }
}

void Adversarial::points(double rate, Points& points) const {
    folder_.point("adversarial", rate, points[OG_ADVERSARIAL]);
}

std::vector<double> Adversarial::logits(const std::vector<int64_t>& sums, int64_t down, int64_t across,
                                        const std::vector<residual::Region>& regions) const {
    std::vector<double> out(regions.size());
    residual::logits(sums.data(), down, across, regions.data(), static_cast<int64_t>(regions.size()), perceptron_,
                     out.data());
    return out;
}

void Adversarial::look(const Views& views, const Context& run, std::vector<Finding>& findings) const {
    const ImageView& pixels = views.items[0].pixels;
    const int64_t side = std::min(pixels.height, pixels.width);
    if (side < kSmallest) return;
    const int64_t every = std::max<int64_t>(1, (side + residual::kTile - 1) / residual::kTile / kSampled);
    const int64_t down = residual::tiles_along(pixels.height, every),
                  across = residual::tiles_along(pixels.width, every);
    std::vector<int64_t> sums(static_cast<size_t>(down * across * residual::kSums));
    residual::tile_sums(pixels, every, sums.data(), run);
    const Windows w(down, across);
    std::vector<residual::Region> regions{{0, 0, down, across}};
    for (const int64_t top : w.tops) {
        for (const int64_t left : w.lefts) regions.push_back({top, left, w.size, w.size});
    }
    std::vector<double> local = logits(sums, down, across, regions);
    const double whole = local[0];
    local.erase(local.begin());
    // One window may err: a part counts by its third-strongest window, which a perturbed patch always has.
    double strongest = whole;
    if (local.size() >= 3) {
        std::vector<double> sorted = local;
        std::nth_element(sorted.begin(), sorted.end() - 3, sorted.end());
        strongest = *(sorted.end() - 3) - window_offset_;
    }
    const double logit = std::min(std::max(std::max(whole, strongest), -40.0), 40.0);
    Finding f = found(OG_ADVERSARIAL, std::nearbyint(1e6 / (1 + std::exp(-logit))) / 1e6, "", folder_.name().c_str());
    const bool suspicious = least_ <= 1 ? f.score >= least_ : logit > 0;
    f.why =
        std::string(whole >= strongest ? "The finest-scale noise" : "The finest-scale noise of a part of the picture") +
        (suspicious ? " looks made to mislead a model." : " looks like that of an ordinary picture.");
    if (suspicious) {
        std::vector<double> total(static_cast<size_t>(down * across));
        for (size_t i = 0; i < local.size(); ++i) {
            const int64_t top = w.tops[i / w.lefts.size()], left = w.lefts[i % w.lefts.size()];
            for (int64_t y = top; y < top + w.size; ++y) {
                for (int64_t x = left; x < left + w.size; ++x)
                    total[static_cast<size_t>(y * across + x)] += std::min(std::max(local[i], -kSure), kSure);
            }
        }
        std::vector<uint8_t> hot(total.size());
        bool any = false;
        for (size_t i = 0; i < hot.size(); ++i) any |= (hot[i] = total[i] > 0) != 0;
        if (!any) std::fill(hot.begin(), hot.end(), uint8_t{1});
        f.regions = boxes(hot, down, across, static_cast<double>(residual::kTile * every),
                          static_cast<double>(pixels.width), static_cast<double>(pixels.height));
    }
    findings.push_back(std::move(f));
}

// ---- content ---------------------------------------------------------------------------------------------------------

namespace {

void edges_of_pair(const Value& v, int64_t to[2]) {
    if (v.items().size() != 2) throw Error(Code::model, "config.json: expected [height, width]");
    for (size_t i = 0; i < 2; ++i) {
        if (!v.list[i].whole || v.list[i].real() < 1 || v.list[i].real() > 4096)
            throw Error(Code::model, "config.json: expected [height, width] of at most 4096");
        to[i] = static_cast<int64_t>(v.list[i].number);
    }
}

const Value& only_input(const Value& config) {
    const Value& inputs = config.at("inputs");
    if (inputs.table.size() != 1) throw Error(Code::model, "config.json: describes no picture classifier");
    return inputs.table[0].second;
}

}  // namespace

Content::Content(const std::string& models, const Runtime& runtime, int threads)
    : folder_(models, "open_nsfw_int8"), network_(folder_.network(runtime, threads)) {
    const Value& config = folder_.config();
    const Value& spec = only_input(config);
    const std::string layout = spec.at("layout").string(), order = spec.at("order").string();
    channels_last_ = layout == "NHWC", bgr_ = order == "BGR";
    edges_of_pair(spec.at("resize"), resize_);
    edges_of_pair(spec.find("crop") ? spec.at("crop") : spec.at("resize"), crop_);
    const std::vector<double> mean = numbers(spec.at("mean")), scale = numbers(spec.at("scale"));
    bool good = mean.size() == 3 && scale.size() == 3 && (channels_last_ || layout == "NCHW") &&
                (bgr_ || order == "RGB") && crop_[0] <= resize_[0] && crop_[1] <= resize_[1];
    for (size_t c = 0; good && c < 3; ++c)
        mean_[c] = static_cast<float>(mean[c]), scale_[c] = static_cast<float>(scale[c]);
    const Value* output = config.find("output");
    if (output && output->find("name")) output_ = output->at("name").string();
    activation_ = output && output->find("activation") ? output->at("activation").string() : "none";
    good = good && (activation_ == "none" || activation_ == "sigmoid" || activation_ == "softmax");
    for (const Value& label : config.at("labels").items()) labels_.push_back(label.string());
    unsafe_.resize(labels_.size());
    size_t marked = 0;
    for (const Value& label : config.at("unsafe").items()) {
        const auto at = std::find(labels_.begin(), labels_.end(), label.string());
        good = good && at != labels_.end();
        if (good) unsafe_[static_cast<size_t>(at - labels_.begin())] = true, ++marked;
    }
    if (!good || marked == 0)
        throw Error(Code::model, folder_.name() + ": config.json describes no picture classifier");
}

void Content::points(double rate, Points& points) const {
    folder_.nearest_point("unsafe_content", rate, points[OG_UNSAFE_CONTENT]);
}

void Content::look(const Views& views, const Context& run, std::vector<Finding>& findings) const {
    double best = -1;
    size_t worst = 0;
    std::string in;
    // the original, then over_white before over_black, as the first of equals wins
    std::vector<const View*> seen{&views.items[0]};
    for (const char* name : {"over_white", "over_black"}) {
        for (const View& v : views.items) {
            if (views.opacity.data && v.name == name) seen.push_back(&v);
        }
    }
    const Pixels small(resize_[0], resize_[1], 3);
    std::vector<float> input(static_cast<size_t>(3 * crop_[0] * crop_[1]));
    const std::vector<int64_t> shape = channels_last_ ? std::vector<int64_t>{1, crop_[0], crop_[1], 3}
                                                      : std::vector<int64_t>{1, 3, crop_[0], crop_[1]};
    for (const View* view : seen) {
        resize(view->pixels, small.view, Resampler::bilinear, run);
        const int64_t top = (resize_[0] - crop_[0]) / 2, left = (resize_[1] - crop_[1]) / 2;
        for (int64_t y = 0; y < crop_[0]; ++y) {
            for (int64_t x = 0; x < crop_[1]; ++x) {
                const uint8_t* p = small.view.row(top + y) + 3 * (left + x);
                for (int64_t c = 0; c < 3; ++c) {
                    const int64_t at = channels_last_ ? (y * crop_[1] + x) * 3 + c : (c * crop_[0] + y) * crop_[1] + x;
                    input[static_cast<size_t>(at)] = (static_cast<float>(p[bgr_ ? 2 - c : c]) - mean_[c]) * scale_[c];
                }
            }
        }
        const Model::Answer answer =
            network_.run(OG_FLOAT32, shape, input.data(), input.size() * sizeof(float), output_);
        const float* raw = answer.floats();
        std::vector<double> p(raw, raw + answer.count());
        const auto finite = [](double v) { return std::isfinite(v); };
        if (p.size() != labels_.size() || !std::all_of(p.begin(), p.end(), finite))
            throw Error(Code::model, folder_.name() + ": the network gave other numbers than labels");
        const double top_value = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& v : p) {
            if (activation_ == "sigmoid") v = 1 / (1 + std::exp(-std::min(std::max(v, -60.0), 60.0)));
            if (activation_ == "softmax") sum += v = std::exp(v - top_value);
            if (activation_ == "none" && (v < -1e-3 || v > 1 + 1e-3))
                throw Error(Code::model, folder_.name() + ": the network's outputs are not probabilities");
        }
        for (size_t i = 0; i < p.size(); ++i) {
            const double v = std::min(std::max(activation_ == "softmax" ? p[i] / sum : p[i], 0.0), 1.0);
            if (unsafe_[i] && v > best) best = v, worst = i, in = view->name;
        }
    }
    Finding f = found(OG_UNSAFE_CONTENT, best,
                      format("The picture looks %.0f%% like %s content.", 100 * best, labels_[worst].c_str()),
                      folder_.name().c_str());
    f.view = in;
    findings.push_back(std::move(f));
}

}  // namespace capi
}  // namespace og
