// What lines of writing mean, without ever spelling them: python/ondevice_guard/linereader.py.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "capi/detectors.hpp"

namespace og {
namespace capi {
namespace {

constexpr int64_t kHeight = 32, kStep = 64, kColumns = 32768;
constexpr size_t kSizes[] = {1, 2, 4, 8};  // of windows of lines
constexpr size_t kMeanings = 5;            // order, harm, role, request, list
constexpr float kClip = 12.0F;

float clipped(float v, float limit = kClip) {
    return std::min(std::max(v, -limit), limit);
}

float logistic(float v) {
    return 1 / (1 + std::exp(-v));
}

/// Centres a strip on 128 and stretches its contrast to a standard deviation of 48, at most 24-fold.
std::vector<uint8_t> normalised(const ImageView& strip) {
    float mean = 0, deviation = 0;
    mean_and_deviation(strip, mean, deviation);
    const auto stretch = static_cast<float>(48 / std::max(static_cast<double>(deviation), 2.0));
    std::vector<uint8_t> out(static_cast<size_t>(strip.height * strip.width));
    for (size_t i = 0; i < out.size(); ++i) {
        const float v = std::nearbyint(128 + (static_cast<float>(strip.data[i]) - mean) * stretch);
        out[i] = static_cast<uint8_t>(std::min(std::max(v, 0.0F), 255.0F));
    }
    return out;
}

/// Lines by rows across their common direction, then along it.
std::vector<size_t> reading_order(const std::vector<QuadF>& quads) {
    const size_t n = quads.size();
    float ux = 0, uy = 0;
    for (const QuadF& q : quads) ux += q[1].x - q[0].x, uy += q[1].y - q[0].y;
    const double length = std::max(static_cast<double>(std::hypot(ux, uy)), 1e-6);
    const auto dx = static_cast<double>(static_cast<float>(static_cast<double>(ux) / length));
    const auto dy = static_cast<double>(static_cast<float>(static_cast<double>(uy) / length));
    std::vector<double> down(n), right(n), heights(n);
    for (size_t i = 0; i < n; ++i) {
        const QuadF& q = quads[i];
        const auto cx = static_cast<double>((q[0].x + q[1].x + q[2].x + q[3].x) / 4),
                   cy = static_cast<double>((q[0].y + q[1].y + q[2].y + q[3].y) / 4);
        down[i] = -cx * dy + cy * dx;
        right[i] = cx * dx + cy * dy;
        heights[i] = static_cast<double>(std::hypot(q[3].x - q[0].x, q[3].y - q[0].y));
    }
    std::sort(heights.begin(), heights.end());
    const double height = n % 2 ? heights[n / 2] : (heights[n / 2 - 1] + heights[n / 2]) / 2;
    std::vector<size_t> order(n), row(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return down[a] < down[b]; });
    size_t rows = 0;
    for (size_t i = 0; i < n; ++i) {
        if (i > 0 && down[order[i]] - down[order[i - 1]] > 0.5 * height) ++rows;
        row[order[i]] = rows;
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return row[a] != row[b] ? row[a] < row[b] : right[a] < right[b]; });
    return order;
}

/// What is to be seen of each line without reading it.
struct Place {
    float put, overlay, height, area, contrast;
};

/// Share of the picture's 8 x 8 blocks that are flat; the picture is sampled to at most 256 pixels a side.
float flat_share(const ImageView& v) {
    const int64_t step = std::max<int64_t>(1, (std::max(v.height, v.width) + 255) / 256);
    const int64_t h = (v.height + step - 1) / step / 8, w = (v.width + step - 1) / step / 8;
    if (h * w == 0) return 1.0F;
    int64_t flat = 0;
    for (int64_t by = 0; by < h; ++by) {
        for (int64_t bx = 0; bx < w; ++bx) {
            float block[64], sum = 0, squares = 0;
            for (int64_t i = 0; i < 64; ++i) {
                const uint8_t* p = v.row((by * 8 + i / 8) * step) + 3 * (bx * 8 + i % 8) * step;
                block[i] = static_cast<float>(p[0] + p[1] + p[2]) / 3;
                sum += block[i];
            }
            const float mean = sum / 64;
            for (const float x : block) squares += (x - mean) * (x - mean);
            flat += std::sqrt(squares / 64) < 3;
        }
    }
    return static_cast<float>(static_cast<double>(flat) / static_cast<double>(h * w));
}

}  // namespace

/// The numbers of heads.npz.
struct LineReader::Heads {
    Array w1, b1, w2, b2;
    Array feature, threshold, left, right, value;
    double base = 0;

    /// Logits of the meaning from concepts and the presence of trigger groups.
    void meaning(const float* x, float* out) const {
        const auto inputs = static_cast<size_t>(w1.shape[0]), hidden = static_cast<size_t>(w1.shape[1]);
        float h[256];
        std::copy(b1.data.begin(), b1.data.end(), h);
        std::vector<float> acc(hidden, 0.0F);
        for (size_t j = 0; j < inputs; ++j) {
            for (size_t k = 0; k < hidden; ++k) acc[k] += x[j] * w1.data[j * hidden + k];
        }
        for (size_t k = 0; k < hidden; ++k) h[k] = std::max(acc[k] + h[k], 0.0F);
        for (size_t m = 0; m < kMeanings; ++m) {
            float sum = 0;
            for (size_t k = 0; k < hidden; ++k) sum += h[k] * w2.data[k * kMeanings + m];
            out[m] = sum + b2.data[m];
        }
    }

    double tree(const std::vector<float>& x) const {
        const auto trees = static_cast<size_t>(feature.shape[0]), nodes = static_cast<size_t>(feature.shape[1]);
        double logit = base;
        for (size_t t = 0; t < trees; ++t) {
            size_t at = 0;
            for (size_t step = 0; step < nodes; ++step) {  // no path is longer than its tree has nodes
                const size_t i = t * nodes + at;
                const size_t to = static_cast<size_t>(
                    x[static_cast<size_t>(feature.data[i])] <= threshold.data[i] ? left.data[i] : right.data[i]);
                if (to == at) break;
                at = to;
            }
            logit += static_cast<double>(value.data[t * nodes + at]);
        }
        return logit;
    }
};

LineReader::LineReader(const std::string& models, const Runtime& runtime, int threads)
    : folder_(models, "linesense_v1"), network_(folder_.network(runtime, threads)) {
    const Value& evidence = folder_.config().at("evidence");
    const auto block = [&](const char* name, size_t to[2]) {
        const std::vector<Value>& ends = evidence.at("blocks").at(name).items();
        if (ends.size() != 2 || !(ends[0].real() >= 0 && ends[0].real() < ends[1].real() && ends[1].real() <= 4096))
            throw Error(Code::model, folder_.name() + ": evidence.blocks cannot be used");
        for (size_t i = 0; i < 2; ++i) to[i] = static_cast<size_t>(ends[i].real());
        width_ = std::max(width_, to[1] + 1);
    };
    block("concepts", concepts_);
    block("triggers", triggers_);
    block("facts", facts_);
    const auto heads = std::make_shared<Heads>();
    const auto arrays = read_npz(folder_.file("heads.npz"));
    const auto array = [&](const char* name) -> const Array& {
        for (const auto& [key, a] : arrays) {
            if (key == name) return a;
        }
        throw Error(Code::model, folder_.name() + ": heads.npz lacks " + name);
    };
    heads->w1 = array("meaning_w1"), heads->b1 = array("meaning_b1"), heads->w2 = array("meaning_w2"),
    heads->b2 = array("meaning_b2");
    heads->feature = array("tree_feature"), heads->threshold = array("tree_threshold"),
    heads->value = array("tree_value");
    heads->left = array("tree_left"), heads->right = array("tree_right");
    const Array& base = array("tree_base");
    const size_t inputs = concepts_[1] - concepts_[0] + triggers_[1] - triggers_[0], hidden = heads->b1.data.size();
    bool good = heads->w1.data.size() == inputs * hidden && heads->w1.shape.size() == 2 &&
                heads->w1.shape[0] == static_cast<int64_t>(inputs) && hidden > 0 && hidden <= 256 &&
                heads->w2.data.size() == hidden * kMeanings && heads->b2.data.size() == kMeanings &&
                base.data.size() == 1 && facts_[1] - facts_[0] >= 2;
    const size_t features = 2 * 4 + 4 + 2 + 2 * (triggers_[1] - triggers_[0]) + 2 + 3 + 4 + 11 + 2;
    for (const Array* a : {&heads->feature, &heads->threshold, &heads->left, &heads->right, &heads->value}) {
        good = good && a->shape.size() == 2 && a->shape == heads->feature.shape && !a->data.empty();
    }
    const auto below = [](const Array& a, size_t limit) {
        return std::all_of(a.data.begin(), a.data.end(),
                           [&](float v) { return v >= 0 && v < static_cast<float>(limit); });
    };
    good = good && below(heads->feature, features) &&
           below(heads->left, static_cast<size_t>(heads->feature.shape[1])) &&
           below(heads->right, static_cast<size_t>(heads->feature.shape[1]));
    const std::vector<Value>& names = evidence.at("names").at("meaning").items();
    good = good && names.size() == kMeanings && names[0].string() == "order" && names[1].string() == "harm";
    if (!good) throw Error(Code::model, folder_.name() + ": config.json or heads.npz is not of this version");
    heads->base = static_cast<double>(base.data[0]);
    heads_ = heads;
}

void LineReader::run(const std::vector<std::vector<uint8_t>>& strips, const std::vector<size_t>& rows,
                     std::vector<float>& out) const {
    std::map<int64_t, std::vector<size_t>> by_width;
    for (const size_t i : rows)
        by_width[(static_cast<int64_t>(strips[i].size()) / kHeight + kStep - 1) / kStep * kStep].push_back(i);
    for (const auto& [width, members] : by_width) {
        const auto per = static_cast<size_t>(std::max<int64_t>(1, kColumns / width));
        for (size_t start = 0; start < members.size(); start += per) {
            const size_t count = std::min(per, members.size() - start);
            std::vector<uint8_t> x(count * static_cast<size_t>(kHeight * width), 128);
            for (size_t k = 0; k < count; ++k) {
                const std::vector<uint8_t>& s = strips[members[start + k]];
                const size_t w = s.size() / kHeight;
                for (size_t y = 0; y < kHeight; ++y)
                    std::copy_n(s.begin() + static_cast<int64_t>(y * w), w,
                                x.begin() + static_cast<int64_t>((k * kHeight + y) * static_cast<size_t>(width)));
            }
            const Model::Answer answer =
                network_.run(OG_UINT8, {static_cast<int64_t>(count), 1, kHeight, width}, x.data(), x.size());
            const float* values = answer.floats();
            if (answer.count() != count * (width_ - 1))
                throw Error(Code::model, folder_.name() + ": the network gave another shape");
            for (size_t k = 0; k < count; ++k)
                std::copy_n(values + k * (width_ - 1), width_ - 1,
                            out.begin() + static_cast<int64_t>(members[start + k] * width_));
        }
    }
}

std::vector<float> LineReader::read(const std::vector<ImageView>& strips) const {
    std::vector<float> out(strips.size() * width_);
    std::vector<std::vector<uint8_t>> ready;
    std::vector<size_t> rows(strips.size()), flipped;
    std::iota(rows.begin(), rows.end(), size_t{0});
    for (const ImageView& s : strips) ready.push_back(normalised(s));
    run(ready, rows, out);
    const size_t turned = facts_[1] - 1;
    for (const size_t i : rows) {
        if (out[i * width_ + turned] > 0) flipped.push_back(i);
    }
    if (!flipped.empty()) {  // read again the right way up; what looked less upside down is kept
        for (const size_t i : flipped) std::reverse(ready[i].begin(), ready[i].end());
        std::vector<float> again(out.size());
        run(ready, flipped, again);
        for (const size_t i : flipped) {
            const auto row = again.begin() + static_cast<int64_t>(i * width_);
            if (again[i * width_ + turned] < out[i * width_ + turned])
                std::copy_n(row, width_, out.begin() + static_cast<int64_t>(i * width_));
        }
    }
    for (const size_t i : rows)
        out[(i + 1) * width_ - 1] = static_cast<float>(strips[i].width) / static_cast<float>(kHeight);
    return out;
}

std::vector<float> LineReader::meaning(const float* evidence, size_t n) const {
    std::vector<float> out(n * kMeanings), x;
    for (size_t i = 0; i < n; ++i, evidence += width_) {
        x.assign(evidence + concepts_[0], evidence + concepts_[1]);
        for (size_t t = triggers_[0]; t < triggers_[1]; ++t) x.push_back(logistic(clipped(evidence[t], 30.0F)));
        heads_->meaning(x.data(), &out[i * kMeanings]);
    }
    return out;
}

double LineReader::orders(const std::vector<float>& unordered, const Lines& lines, std::vector<float>& part) const {
    const size_t n = lines.size();
    part.assign(n, 0.0F);
    if (n == 0) return 0.0;
    const std::vector<size_t> order = reading_order(lines.quads);
    const ImageView& pixels = lines.view.pixels;
    const auto area = static_cast<double>(pixels.height * pixels.width);
    std::vector<float> evidence;
    std::vector<Place> each;
    for (const size_t i : order) {
        evidence.insert(evidence.end(), unordered.begin() + static_cast<int64_t>(i * width_),
                        unordered.begin() + static_cast<int64_t>((i + 1) * width_));
        const QuadF& q = lines.quads[i];
        const float along = std::hypot(q[1].x - q[0].x, q[1].y - q[0].y),
                    down = std::hypot(q[3].x - q[0].x, q[3].y - q[0].y);
        each.push_back({lines.put[i], lines.overlay[i], static_cast<float>(static_cast<double>(down) / std::sqrt(area)),
                        along * down / static_cast<float>(area), std::log(lines.contrast[i] + 1)});
    }
    /// The largest evidence of each kind over lines [from, to), one of them left out.
    const auto join = [&](size_t from, size_t to, size_t without) {
        std::vector<float> u(width_, -3e38F);
        for (size_t i = from; i < to; ++i) {
            for (size_t k = 0; i != without && k < width_; ++k) u[k] = std::max(u[k], evidence[i * width_ + k]);
        }
        return u;
    };
    const auto risk = [](const float* m) { return std::max(m[0], m[1]); };

    // What the image head weighs.
    std::vector<std::vector<float>> meanings;
    float crowds[4];
    for (size_t s = 0; s < 4; ++s) {
        std::vector<float> m;
        crowds[s] = -1;
        for (size_t i = 0; i < (n + 1 > kSizes[s] ? n - kSizes[s] + 1 : 1); ++i) {
            const std::vector<float> u = join(i, std::min(n, i + kSizes[s]), n);
            const std::vector<float> one = meaning(u.data(), 1);
            for (const float v : one) m.push_back(clipped(v));
            float crowd = 0;
            for (size_t t = triggers_[0]; t < triggers_[1]; ++t) crowd += logistic(u[t]);
            crowds[s] = std::max(crowds[s], crowd);
        }
        meanings.push_back(std::move(m));
    }
    const auto largest = [&](size_t s, size_t meaning) {
        float best = -kClip;
        for (size_t i = meaning; i < meanings[s].size(); i += kMeanings) best = std::max(best, meanings[s][i]);
        return best;
    };
    std::vector<float> x;
    for (size_t s = 0; s < 4; ++s) x.push_back(largest(s, 0)), x.push_back(largest(s, 1));
    for (const auto& [s, m] : {std::pair<size_t, size_t>{2, 4}, {3, 4}, {1, 2}, {3, 2}}) x.push_back(largest(s, m));
    float wide = 0;
    std::vector<float> alone(n), share(n);
    std::vector<float> widths(n);
    for (size_t i = 0; i < n; ++i) widths[i] = evidence[(i + 1) * width_ - 1];
    wide = pairwise_sum(widths.data(), n);
    for (size_t i = 0; i < n; ++i) alone[i] = risk(&meanings[0][i * kMeanings]), share[i] = widths[i] / wide;
    std::vector<float> sorted = alone;
    std::sort(sorted.begin(), sorted.end());
    /// Sum over lines [from, to) of f(i) times the line's share.
    const auto weighed = [&](size_t from, size_t to, auto&& f) {
        std::vector<float> v;
        for (size_t i = from; i < to; ++i) v.push_back(f(i) * share[i]);
        return pairwise_sum(v.data(), v.size());
    };
    x.push_back(n > 1 ? sorted[n - 2] : -kClip);
    x.push_back(weighed(0, n, [&](size_t i) { return alone[i]; }));
    const std::vector<float>& four = meanings[2];
    size_t best = 0;
    for (size_t i = 1; i < four.size() / kMeanings; ++i) {
        if (risk(&four[i * kMeanings]) > risk(&four[best * kMeanings])) best = i;
    }
    const size_t end = std::min(n, best + 4);
    for (const auto& u : {join(0, n, n), join(best, end, n)}) {
        for (size_t t = triggers_[0]; t < triggers_[1]; ++t) x.push_back(clipped(u[t]));
    }
    x.push_back(crowds[0]);
    x.push_back(crowds[2]);
    for (size_t m = 2; m < kMeanings; ++m) x.push_back(four[best * kMeanings + m]);
    const auto latin = [&](size_t i) {
        const float* f = &evidence[i * width_ + facts_[0]];
        return std::max_element(f, f + (facts_[1] - facts_[0] - 1)) - f == 1 ? 1.0F : 0.0F;
    };
    x.push_back(static_cast<float>(std::log1p(static_cast<double>(n))));
    x.push_back(std::log1p(wide));
    x.push_back(weighed(0, n, latin));
    x.push_back(std::log1p(pairwise_sum(&widths[best], end - best)));
    const float inside = weighed(best, end, [](size_t) { return 1.0F; });
    const auto over = [&](float Place::* what) {
        return weighed(best, end, [&](size_t i) { return each[i].*what; }) / inside;
    };
    const auto everywhere = [&](float Place::* what) { return weighed(0, n, [&](size_t i) { return each[i].*what; }); };
    const auto most = [&](float Place::* what) {
        float v = each[0].*what;
        for (const Place& p : each) v = std::max(v, p.*what);
        return v;
    };
    std::vector<float> areas, heights;
    for (const Place& p : each) areas.push_back(p.area), heights.push_back(p.height);
    std::sort(heights.begin(), heights.end());
    const float median = n % 2 ? heights[n / 2] : (heights[n / 2 - 1] + heights[n / 2]) / 2;
    x.push_back(inside);
    x.push_back(everywhere(&Place::overlay));
    x.push_back(over(&Place::overlay));
    x.push_back(most(&Place::overlay));
    x.push_back(everywhere(&Place::put));
    x.push_back(over(&Place::put));
    x.push_back(over(&Place::contrast));
    x.push_back(std::log(pairwise_sum(areas.data(), n) + 1e-3F));
    x.push_back(most(&Place::height));
    x.push_back(over(&Place::height));
    x.push_back(static_cast<float>(
        std::log(static_cast<double>(over(&Place::height)) / std::max(static_cast<double>(median), 1e-6))));
    x.push_back(flat_share(pixels));
    x.push_back(std::max(pixels.height, pixels.width) < 400 ? 1.0F : 0.0F);

    // A line takes part by what it says alone, or by what the best passage around it loses without it.
    std::vector<float> takes(n);
    const std::vector<float> single = meaning(evidence.data(), n);
    for (size_t i = 0; i < n; ++i) takes[i] = risk(&single[i * kMeanings]);
    for (size_t start = 0; start < (n > 3 ? n - 3 : 1); ++start) {
        const size_t stop = std::min(n, start + 4);
        const float whole = risk(meaning(join(start, stop, n).data(), 1).data());
        if (whole <= 0 || stop - start == 1) continue;
        for (size_t i = start; i < stop; ++i) {
            const float loss = whole - risk(meaning(join(start, stop, i).data(), 1).data());
            takes[i] = std::max(takes[i], std::min(whole, 2 * loss - 1));
        }
    }
    for (size_t i = 0; i < n; ++i) part[order[i]] = logistic(clipped(takes[i]));
    return 1 / (1 + std::exp(-std::min(std::max(heads_->tree(x), -30.0), 30.0)));
}

}  // namespace capi
}  // namespace og
