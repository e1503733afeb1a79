// Writing in the picture: python/ondevice_guard/detectors/typographic.py. Where NumPy computes in float32, so does this.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "capi/detectors.hpp"
#include "ondevice_guard/views.hpp"

namespace og {
namespace capi {
namespace {

constexpr const char* kTraits[] = {"text",       "overlay",       "core",         "direction", "fill",  "log_aspect",
                                   "log_height", "share_of_side", "log_contrast", "along",     "across"};
constexpr int64_t kWholePixels = 2'100'000, kMaxPixels = 4'000'000, kSmallPixels = 409'600;
constexpr double kEnlarge = 4.0 / 3;
constexpr float kFineHeight = 64.0F, kFineCore = 0.75F;
constexpr int64_t kFineLines = 1024;
constexpr int64_t kTargets[] = {224, 256, 299, 336, 384, 448, 512};
constexpr double kGridRatio = 0.4, kGridZ = 18.0;
constexpr float kCoreLogit = -0.5F;
constexpr int64_t kMaxLines = 256;
constexpr float kReadFloor = 0.25F;
constexpr size_t kMaxRead = 64;
constexpr size_t kTraceCells = 1024;
constexpr double kTraceWeight = 0.1;
constexpr float kKeep = 0.25F;

float longer_side(const View& v) {
    return static_cast<float>(std::max(v.pixels.height, v.pixels.width));
}

float distance(const PointF& a, const PointF& b) {
    const float dx = b.x - a.x, dy = b.y - a.y;
    return std::sqrt(dx * dx + dy * dy);
}

float sum(const std::vector<float>& values) {
    return pairwise_sum(values.data(), values.size());
}

bool same(const ImageView& a, const ImageView& b) {
    return a.height == b.height && a.width == b.width &&
           (a.data == b.data || std::memcmp(a.data, b.data, static_cast<size_t>(3 * a.height * a.width)) == 0);
}

/// A view at no more than kWholePixels.
View reduced(const View& v, const Context& run) {
    const int64_t h = v.pixels.height, w = v.pixels.width;
    if (h * w <= kWholePixels) return v;
    const double ratio = std::sqrt(static_cast<double>(h * w) / kWholePixels);
    const auto edge = [&](int64_t n) {
        return std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(n) / ratio));
    };
    const Pixels small(edge(h), edge(w), 3);
    resize(v.pixels, small.view, Resampler::area, run);
    View out = v;
    out.memory = small.memory;
    out.pixels = small.view;
    out.sx = v.sx * static_cast<double>(w) / static_cast<double>(small.view.width);
    out.sy = v.sy * static_cast<double>(h) / static_cast<double>(small.view.height);
    return out;
}

/// A view as the map is shown it: a small picture at its own size enlarged, others as they are.
View enlarged(const View& v, const Context& run) {
    const int64_t h = v.pixels.height, w = v.pixels.width;
    const double ratio = std::min(kEnlarge, std::sqrt(static_cast<double>(kSmallPixels) / static_cast<double>(h * w)));
    if (v.sx != 1 || v.sy != 1 || ratio < 1.05) return v;
    const auto edge = [&](int64_t n) { return static_cast<int64_t>(static_cast<double>(n) * ratio); };
    const Pixels shown(edge(h), edge(w), 3);
    resize(v.pixels, shown.view, Resampler::bicubic, run);
    View out = v;
    out.memory = shown.memory;
    out.pixels = shown.view;
    return out;
}

/// Mean logit's probability of the strongest overlay cells of a map of `cells` x 14 bytes.
double trace_of(const uint8_t* map, size_t cells, double scale, int zero) {
    std::vector<uint8_t> overlay;
    for (size_t i = 0; i < cells; ++i, map += 14) overlay.insert(overlay.end(), map + 4, map + 8);
    const size_t n = std::min(kTraceCells, overlay.size());
    std::nth_element(overlay.begin(), overlay.end() - static_cast<int64_t>(n), overlay.end());
    double sum = 0;
    for (size_t i = overlay.size() - n; i < overlay.size(); ++i) sum += overlay[i];
    return 1 / (1 + std::exp(-(sum / static_cast<double>(n) - zero) * scale));
}

/// For each line, 1 where no line of `others` lies over its centre, falling to 0 where a sure one does.
std::vector<float> unmatched(const Lines& lines, const std::vector<const Lines*>& others) {
    std::vector<float> out(lines.size(), 1.0F);
    for (size_t i = 0; i < lines.size(); ++i) {
        const Quad q = lines.in_original(i);
        const double cx = (q[0] + q[2] + q[4] + q[6]) / 4, cy = (q[1] + q[3] + q[5] + q[7]) / 4;
        for (const Lines* other : others) {
            for (size_t j = 0; j < other->size(); ++j) {
                const Quad o = other->in_original(j);
                const double ax = o[2] - o[0], ay = o[3] - o[1], dx = o[6] - o[0], dy = o[7] - o[1], x = cx - o[0],
                             y = cy - o[1];
                const double s = (x * ax + y * ay) / std::max(ax * ax + ay * ay, 1e-6);
                const double t = (x * dx + y * dy) / std::max(dx * dx + dy * dy, 1e-6);
                if (s > -0.25 && s < 1.25 && t > -0.5 && t < 1.5)
                    out[i] = static_cast<float>(std::min(static_cast<double>(out[i]),
                                                         1 - static_cast<double>(other->core[j] * other->text[j])));
            }
        }
    }
    return out;
}

/// Lines of one view, and how far each takes part in a finding.
struct Part {
    const Lines* lines;
    std::vector<float> part;
};

void keep_larger(Part& best, Part other) {
    if (sum(other.part) > sum(best.part)) best = std::move(other);
}

/// The edge of kTargets within 5 % of an estimated one, else itself.
int64_t snapped(double size) {
    int64_t near = kTargets[0];
    for (const int64_t t : kTargets) {
        if (std::fabs(static_cast<double>(t) - size) < std::fabs(static_cast<double>(near) - size)) near = t;
    }
    if (std::fabs(static_cast<double>(near) - size) <= 0.05 * static_cast<double>(near)) return near;
    return std::max<int64_t>(16, static_cast<int64_t>(std::nearbyint(size)));
}

/// The picture reduced to the size that its sampling grid was made for: with antialiasing, then in the naive ways that scaling
/// attacks aim at; empty for pictures without such a grid.
std::vector<View> reductions(const View& original, const SamplingGrid& grid, const Context& run) {
    if (grid.evidence < 1 && (grid.log_ratio < kGridRatio || grid.z < kGridZ)) return {};
    const int64_t h = original.pixels.height, w = original.pixels.width;
    const int64_t th = snapped(static_cast<double>(h) * grid.frequency_y),
                  tw = snapped(static_cast<double>(w) * grid.frequency_x);
    constexpr struct {
        const char* name;
        Resampler kernel;
    } ways[] = {{"area", Resampler::area},
                {"nearest (Pillow)", Resampler::nearest},
                {"nearest (OpenCV)", Resampler::point_nearest},
                {"bilinear (OpenCV)", Resampler::point_bilinear}};
    std::vector<View> out;
    for (const auto& way : ways) {
        const Pixels small(th, tw, 3);
        resize(original.pixels, small.view, way.kernel, run);
        View v{format("%s %lldx%lld", way.name, static_cast<long long>(th), static_cast<long long>(tw)), small.memory,
               small.view};
        v.sx = static_cast<double>(w) / static_cast<double>(tw) * original.sx;
        v.sy = static_cast<double>(h) / static_cast<double>(th) * original.sy;
        out.push_back(std::move(v));
    }
    return out;
}

}  // namespace

float pairwise_sum(const float* v, size_t n) {
    if (n < 8) {
        float s = -0.0F;
        for (size_t i = 0; i < n; ++i) s += v[i];
        return n == 0 ? 0.0F : s;
    }
    if (n <= 128) {
        float r[8];
        std::copy(v, v + 8, r);
        size_t i = 8;
        for (; i < n - n % 8; i += 8) {
            for (size_t k = 0; k < 8; ++k) r[k] += v[i + k];
        }
        float s = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
        for (; i < n; ++i) s += v[i];
        return s;
    }
    size_t half = n / 2;
    half -= half % 8;
    return pairwise_sum(v, half) + pairwise_sum(v + half, n - half);
}

void mean_and_deviation(const ImageView& strip, float& mean, float& deviation) {
    const auto n = static_cast<size_t>(strip.height * strip.width);
    std::vector<float> v(strip.data, strip.data + n);
    mean = pairwise_sum(v.data(), n) / static_cast<float>(n);
    for (float& x : v) {
        x -= mean;
        x *= x;
    }
    deviation = std::sqrt(pairwise_sum(v.data(), n) / static_cast<float>(n));
}

Strips::Strips(const ImageView& pixels, const std::vector<QuadF>& quads, int64_t height, int64_t max_width,
               const Context& run) {
    const std::vector<int64_t> widths = strip_widths(quads, height, max_width);
    std::vector<int64_t> offsets;
    int64_t total = 0;
    for (const int64_t width : widths) {
        offsets.push_back(total);
        total += width * height;
    }
    memory.resize(static_cast<size_t>(total));
    rectify(pixels, quads, height, widths, offsets, memory.data(), run);
    for (size_t i = 0; i < quads.size(); ++i) views.emplace_back(memory.data() + offsets[i], height, widths[i], 1);
}

float Lines::length(size_t i) const {
    return distance(quads[i][0], quads[i][1]);
}

float Lines::height(size_t i) const {
    return distance(quads[i][0], quads[i][3]);
}

float Lines::line_like(size_t i) const {
    const float h = height(i), aspect = std::min(length(i) / std::max(h, 1.0F), 12.0F);
    const bool tall = h > static_cast<float>(0.4 * static_cast<double>(longer_side(view)));
    return tall ? 0.0F : std::max(aspect - 0.8F, 0.0F);
}

float Lines::ink(size_t i) const {
    return std::min(std::max((contrast[i] - 1.2F) / 1.2F, 0.0F), 1.0F);
}

std::vector<float> Lines::laid() const {
    std::vector<float> out(size());
    for (size_t i = 0; i < size(); ++i) out[i] = put[i] * put[i] * put[i] * line_like(i) * ink(i);
    return out;
}

float Lines::faint(size_t i) const {
    return std::min(std::max((9.6F - contrast[i]) / 7.2F, 0.0F), 1.0F);
}

Lines Lines::take(const std::vector<size_t>& keep) const {
    Lines out;
    out.view = view;
    out.trace = trace;
    for (const size_t i : keep) out.quads.push_back(quads[i]);
    for (const auto column : {&Lines::text, &Lines::overlay, &Lines::core, &Lines::direction, &Lines::fill,
                              &Lines::contrast, &Lines::along, &Lines::across, &Lines::put}) {
        for (const size_t i : keep) (out.*column).push_back((this->*column)[i]);
    }
    return out;
}

Quad Lines::in_original(size_t i) const {
    Quad q;
    for (size_t c = 0; c < 4; ++c) {
        q[2 * c] = static_cast<double>(quads[i][c].x) * view.sx + view.ox;
        q[2 * c + 1] = static_cast<double>(quads[i][c].y) * view.sy + view.oy;
    }
    return q;
}

Typographic::Typographic(const std::string& models, const Runtime& runtime, int threads)
    : folder_(models, "textmap_v1"), network_(folder_.network(runtime, threads)), reader_(models, runtime, threads) {
    const Value& config = folder_.config();
    const Value &map = config.at("output").at("map"), &evidence = config.at("evidence");
    code_.scale = static_cast<float>(map.at("scale").real());
    code_.zero = static_cast<int>(map.at("zero").real());
    code_.threshold = kCoreLogit;
    curve_[0] = evidence.at("curve").at("bias").real();
    curve_[1] = evidence.at("curve").at("slope").real();
    bias_ = static_cast<float>(evidence.at("line").at("bias").real());
    for (size_t i = 0; i < 11; ++i)
        weights_[i] = static_cast<float>(evidence.at("line").at("weights").at(kTraits[i]).real());
}

void Typographic::points(double rate, Points& points) const {
    for (const int kind : {OG_OVERLAY_TEXT, OG_HIDDEN_TEXT, OG_SCALING, OG_QR_CODE})
        folder_.point(kind_name(kind), rate, points[static_cast<size_t>(kind)]);
    reader_.point(rate, points[OG_TYPOGRAPHIC]);
}

std::vector<std::vector<uint8_t>> Typographic::maps(const std::vector<View>& views, const Context& run) const {
    struct Tile {
        size_t view;
        Span y, x;
    };
    std::vector<std::vector<uint8_t>> maps;
    std::map<std::pair<int64_t, int64_t>, std::vector<Tile>> tiles;  // by cells down and across
    for (size_t i = 0; i < views.size(); ++i) {
        const ImageView& p = views[i].pixels;
        maps.emplace_back(static_cast<size_t>(patch_cells(p.height) / 2 * (patch_cells(p.width) / 2) * 14));
        const Tiling grid = tiling(p.height, p.width, kMaxPixels);
        for (const Span& y : grid.down) {
            for (const Span& x : grid.across)
                tiles[{patch_cells(y.end - y.begin), patch_cells(x.end - x.begin)}].push_back({i, y, x});
        }
    }
    for (const auto& [shape, alike] : tiles) {
        const auto [h, w] = shape;
        const size_t each = static_cast<size_t>(h * w * 64),
                     per = std::max<size_t>(1, static_cast<size_t>(4 * kMaxPixels) / each),
                     answers = static_cast<size_t>(h / 2 * (w / 2) * 14);
        for (size_t start = 0; start < alike.size(); start += per) {
            const size_t count = std::min(per, alike.size() - start);
            std::vector<uint8_t> inputs(count * each);
            for (size_t k = 0; k < count; ++k) {
                const Tile& t = alike[start + k];
                const ImageView& p = views[t.view].pixels;
                const ImageView part(p.row(t.y.begin) + 3 * t.x.begin, t.y.end - t.y.begin, t.x.end - t.x.begin, 3,
                                     p.row_stride);
                patches(part, inputs.data() + k * each, run);
            }
            const Model::Answer answer =
                network_.run(OG_UINT8, {static_cast<int64_t>(count), h, w, 64}, inputs.data(), inputs.size());
            if (answer.type != OG_UINT8 || answer.bytes.size() != answers * count)
                throw Error(Code::model, folder_.name() + ": the network gave another shape");
            for (size_t k = 0; k < count; ++k) {
                const Tile& t = alike[start + k];
                const int64_t wide = patch_cells(views[t.view].pixels.width) / 2;
                const int64_t rows = patch_cells(t.y.last - t.y.first) / 2,
                              bytes = patch_cells(t.x.last - t.x.first) / 2 * 14;
                for (int64_t y = 0; y < rows; ++y)
                    std::memcpy(maps[t.view].data() + ((t.y.first / 8 + y) * wide + t.x.first / 8) * 14,
                                answer.bytes.data() + k * answers +
                                    (((t.y.first - t.y.begin) / 8 + y) * (w / 2) + (t.x.first - t.x.begin) / 8) * 14,
                                static_cast<size_t>(bytes));
            }
        }
    }
    return maps;
}

std::vector<Lines> Typographic::lines(const std::vector<View>& views, bool fine, const Context& run) const {
    std::vector<View> shown;
    for (const View& v : views) shown.push_back(fine ? v : enlarged(v, run));
    const std::vector<std::vector<uint8_t>> answers = maps(shown, run);
    std::vector<Lines> out;
    for (size_t i = 0; i < views.size(); ++i) {
        Lines l;
        l.view = views[i];
        const ImageView &p = l.view.pixels, &seen = shown[i].pixels;
        const int64_t h = patch_cells(seen.height) / 2, w = patch_cells(seen.width) / 2;
        const auto sx = static_cast<float>(static_cast<double>(p.width) / static_cast<double>(seen.width)),
                   sy = static_cast<float>(static_cast<double>(p.height) / static_cast<double>(seen.height));
        if (!fine)
            l.trace = trace_of(answers[i].data(), static_cast<size_t>(h * w),
                               folder_.config().at("output").at("map").at("scale").real(), code_.zero);
        int64_t counted = 0;
        for (const Line& line : find_lines(answers[i].data(), h, w, code_, fine ? kFineLines : kMaxLines)) {
            QuadF q = line.quad;
            if (fine && !(line.core >= kFineCore && distance(q[0], q[3]) <= kFineHeight)) continue;
            if (++counted > kMaxLines) break;
            for (PointF& corner : q) corner.x *= sx, corner.y *= sy;
            // the padding may repeat a line of the edge
            const float x = (q[0].x + q[1].x + q[2].x + q[3].x) / 4, y = (q[0].y + q[1].y + q[2].y + q[3].y) / 4;
            if (!(x < static_cast<float>(p.width) && y < static_cast<float>(p.height))) continue;
            l.quads.push_back(q);
            l.text.push_back(line.text), l.overlay.push_back(line.overlay), l.core.push_back(line.core);
            l.direction.push_back(line.direction), l.fill.push_back(line.fill);
        }
        const Strips strips(p, l.quads, 32, 512, run);
        for (size_t k = 0; k < l.size(); ++k) {
            const ImageView& s = strips.views[k];
            float mean = 0, deviation = 0;
            mean_and_deviation(s, mean, deviation);
            int64_t along = 0, across = 0;
            for (int64_t y = 0; y < s.height; ++y) {
                const uint8_t* row = s.row(y);
                for (int64_t x = 0; x + 1 < s.width; ++x) along += std::abs(row[x + 1] - row[x]);
                for (int64_t x = 0; y + 1 < s.height && x < s.width; ++x)
                    across += std::abs(row[s.row_stride + x] - row[x]);
            }
            l.contrast.push_back(deviation);
            l.along.push_back(static_cast<float>(along) / static_cast<float>(s.height * (s.width - 1)));
            l.across.push_back(static_cast<float>(across) / static_cast<float>((s.height - 1) * s.width));
            const float length = std::max(l.length(k), 1.0F), high = std::max(l.height(k), 1.0F), level = deviation + 1;
            const auto logit = [](float value) {
                const float c = std::min(std::max(value, 1e-3F), static_cast<float>(1 - 1e-3));
                return std::log(c / (1 - c));
            };
            const float traits[11] = {logit(l.text[k]),   logit(l.overlay[k]),
                                      logit(l.core[k]),   l.direction[k],
                                      l.fill[k],          std::log(std::min(length / high, 14.0F)),
                                      std::log(high),     high / longer_side(l.view),
                                      std::log(level),    l.along[k] / level,
                                      l.across[k] / level};
            float z = 0;
            for (size_t t = 0; t < 11; ++t) z += traits[t] * weights_[t];
            l.put.push_back(1 / (1 + std::exp(-std::min(std::max(bias_ + z, -30.0F), 30.0F))));
        }
        std::vector<size_t> order(l.size());
        for (size_t k = 0; k < order.size(); ++k) order[k] = k;
        std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return l.weight(a) > l.weight(b); });
        out.push_back(l.take(order));
    }
    return out;
}

Finding Typographic::finding(int kind, const Lines& lines, const std::vector<float>& part, const std::string& some,
                             const char* none, double trace) const {
    Finding f;
    f.kind = kind;
    f.score = 1.0 / (1.0 + std::exp(-(curve_[0] + curve_[1] * std::log(static_cast<double>(sum(part)) +
                                                                       kTraceWeight * trace + 1e-4))));
    f.detector = folder_.name();
    f.view = lines.view.name;
    const std::vector<float> laid = lines.laid();
    for (size_t i = 0; i < lines.size(); ++i) {
        if (lines.put[i] > kKeep && part[i] > 0.1F * laid[i] && part[i] > 0) f.regions.push_back(lines.in_original(i));
    }
    f.why = none;
    if (!f.regions.empty()) {
        const size_t hole = some.find("{}");
        f.why = some.substr(0, hole) +
                format("%zu line%s of writing", f.regions.size(), f.regions.size() == 1 ? "" : "s") +
                some.substr(hole + 2);
    }
    return f;
}

void Typographic::look(const Views& views, const Context& run, std::vector<Finding>& findings) const {
    std::vector<View> distinct;
    for (const View& v : views.items) {
        const bool known =
            std::any_of(distinct.begin(), distinct.end(), [&](const View& k) { return same(k.pixels, v.pixels); });
        if (!known) distinct.push_back(v);
    }
    const View& original = views.items[0];
    const SamplingGrid grid = views.opacity.data ? sampling_grid(original.pixels, run) : views.grid;
    std::vector<View> large, looked;
    for (const View& v : distinct) {
        if (v.pixels.height * v.pixels.width > kWholePixels) large.push_back(v);
        looked.push_back(reduced(v, run));
    }
    std::vector<Lines> seen = lines(looked, false, run);
    for (Lines& l : lines(large, true, run)) seen.push_back(std::move(l));
    std::vector<Lines> naive = lines(reductions(original, grid, run), false, run);
    const Lines& first = seen[0];
    std::vector<const Lines*> originals;
    for (const Lines& s : seen) {
        if (s.view.name == first.view.name) originals.push_back(&s);
    }

    Part overlay{&first, first.laid()};
    double trace = first.trace;
    for (size_t i = 1; i < seen.size(); ++i) {
        keep_larger(overlay, {&seen[i], seen[i].laid()});
        trace = std::max(trace, seen[i].trace);
    }
    findings.push_back(finding(OG_OVERLAY_TEXT, *overlay.lines, overlay.part, "{} laid over the picture",
                               "no writing laid over the picture", trace));

    Part scaling{&first, std::vector<float>(first.size(), 0.0F)};
    std::vector<const Lines*> expected = originals;
    if (!naive.empty()) expected.push_back(&naive[0]);  // the honest one
    for (size_t i = 1; i < naive.size(); ++i) {
        Part p{&naive[i], naive[i].laid()};
        const std::vector<float> only = unmatched(naive[i], expected);
        for (size_t k = 0; k < p.part.size(); ++k) p.part[k] *= only[k];
        keep_larger(scaling, std::move(p));
    }
    Part hidden{&first, {}};
    for (const Lines* s : originals) {
        Part p{s, s->laid()};
        for (size_t k = 0; k < s->size(); ++k) p.part[k] *= s->faint(k);
        if (s == &first)
            hidden = std::move(p);
        else
            keep_larger(hidden, std::move(p));
    }
    for (size_t i = 1; i < seen.size(); ++i) {
        const std::string& name = seen[i].view.name;
        if (name != "over_white" && name != "over_black" && name != "contrast") continue;
        Part p{&seen[i], seen[i].laid()};
        const std::vector<float> only = unmatched(seen[i], originals);
        for (size_t k = 0; k < p.part.size(); ++k) p.part[k] *= only[k];
        keep_larger(hidden, std::move(p));
    }
    keep_larger(hidden, scaling);
    const std::string place = hidden.lines->view.name == first.view.name
                                  ? "{} hardly to be told from what lies around it"
                                  : "{} seen as " + hidden.lines->view.name + " and not in the picture itself";
    findings.push_back(finding(OG_HIDDEN_TEXT, *hidden.lines, hidden.part, place, "no hidden writing"));
    findings.push_back(finding(OG_SCALING, *scaling.lines, scaling.part,
                               "a reduction brings out {} (" + scaling.lines->view.name + ")",
                               "no reduction brings out writing"));

    Finding qr;
    qr.kind = OG_QR_CODE;
    qr.detector = "finder patterns";
    for (const QrCode& code : find_qr(original.pixels)) {
        Quad q;
        for (size_t c = 0; c < 4; ++c)
            q[2 * c] = static_cast<double>(code.quad[c].x), q[2 * c + 1] = static_cast<double>(code.quad[c].y);
        qr.regions.push_back(q);
        qr.score = std::max(qr.score, static_cast<double>(code.score));
    }
    qr.why = qr.regions.empty() ? "no QR code"
                                : format("%zu QR code%s", qr.regions.size(), qr.regions.size() == 1 ? "" : "s");
    findings.push_back(std::move(qr));

    Finding orders;
    orders.kind = OG_TYPOGRAPHIC;
    orders.detector = folder_.name();
    orders.why = "no writing that gives orders";
    orders.score = -1;
    const auto read = [&](const Lines& s) {
        std::vector<size_t> keep;
        for (size_t i = 0; i < s.size() && keep.size() < kMaxRead; ++i) {
            if (s.weight(i) > kReadFloor) keep.push_back(i);
        }
        const Lines l = s.take(keep);
        double score = 0;
        std::vector<float> part;
        if (l.size() > 0)
            score = reader_.orders(reader_.read(Strips(l.view.pixels, l.quads, 32, 1024, run).views), l, part);
        if (score <= orders.score) return;
        orders.score = score;
        orders.view = l.view.name;
        orders.regions.clear();
        for (size_t i = 0; i < l.size(); ++i) {
            if (part[i] > 0.5F) orders.regions.push_back(l.in_original(i));
        }
        orders.why = orders.regions.empty()
                         ? "no writing that gives orders"
                         : format("%zu of %zu lines of writing read like orders", orders.regions.size(), l.size());
    };
    for (const Lines& s : seen) read(s);
    for (size_t i = 1; i < naive.size(); ++i) read(naive[i]);
    findings.push_back(std::move(orders));
}

}  // namespace capi
}  // namespace og
