// What lines of writing mean, without ever spelling them: python/ondevice_guard/linereader.py.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "capi/detectors.hpp"

namespace og {
namespace capi {
namespace {

constexpr int64_t kHeight = 32, kStep = 64, kColumns = 32768;
constexpr size_t kMeanings = 5;  // order, harm, role, request, list
constexpr size_t kLineFacts = 5, kPictureFacts = 5;
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
    /// Of the judge (`_Judge` in linereader.py has the formula): inputs x outputs, row by row.
    struct Matrix {
        size_t rows = 0, columns = 0;
        std::vector<double> values, bias;
    };
    Matrix line, near[2], query, last, out;
    std::vector<double> line_mean, line_deviation, picture_mean, picture_deviation;

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

    /// to += x times the rows of a matrix from `first` on.
    static void add(const double* x, size_t n, const Matrix& m, size_t first, double* to) {
        for (size_t j = 0; j < n; ++j) {
            const double* row = &m.values[(first + j) * m.columns];
            for (size_t k = 0; k < m.columns; ++k) to[k] += x[j] * row[k];
        }
    }

    /// The logit of lines, each of line.rows numbers, and of what is to be seen of their picture.
    double judge(const std::vector<const float*>& lines, const double (&picture)[kPictureFacts]) const {
        const size_t n = lines.size(), hidden = line.columns;
        std::vector<double> h(n * hidden), x(line.rows), more(n * hidden), weights(n * query.columns);
        for (size_t i = 0; i < n; ++i) {
            for (size_t j = 0; j < x.size(); ++j)
                x[j] = std::min(std::max((static_cast<double>(lines[i][j]) - line_mean[j]) / line_deviation[j], -4.0),
                                4.0);
            std::copy(line.bias.begin(), line.bias.end(), &h[i * hidden]);
            add(x.data(), x.size(), line, 0, &h[i * hidden]);
            for (size_t k = 0; k < hidden; ++k) h[i * hidden + k] = std::max(h[i * hidden + k], 0.0);
        }
        for (const Matrix& m : near) {
            for (size_t i = 0; i < n; ++i) {
                std::copy(m.bias.begin(), m.bias.end(), &more[i * hidden]);
                for (size_t tap = 0; tap < 3; ++tap) {
                    if (i + tap >= 1 && i + tap < n + 1)
                        add(&h[(i + tap - 1) * hidden], hidden, m, tap * hidden, &more[i * hidden]);
                }
            }
            for (size_t k = 0; k < h.size(); ++k) h[k] += std::max(more[k], 0.0);
        }
        const size_t queries = query.columns;
        for (size_t i = 0; i < n; ++i) {
            std::copy(query.bias.begin(), query.bias.end(), &weights[i * queries]);
            add(&h[i * hidden], hidden, query, 0, &weights[i * queries]);
        }
        std::vector<double> pooled((queries + 1) * hidden), v(last.bias), answer(out.bias);
        for (size_t q = 0; q < queries; ++q) {
            double most = weights[q], sum = 0;
            for (size_t i = 0; i < n; ++i) most = std::max(most, weights[i * queries + q]);
            for (size_t i = 0; i < n; ++i) sum += weights[i * queries + q] = std::exp(weights[i * queries + q] - most);
            for (size_t i = 0; i < n; ++i) {
                for (size_t k = 0; k < hidden; ++k)
                    pooled[q * hidden + k] += weights[i * queries + q] / sum * h[i * hidden + k];
            }
        }
        for (size_t k = 0; k < hidden; ++k) {
            double& most = pooled[queries * hidden + k] = h[k];
            for (size_t i = 1; i < n; ++i) most = std::max(most, h[i * hidden + k]);
        }
        for (size_t j = 0; j < kPictureFacts; ++j)
            pooled.push_back(std::min(std::max((picture[j] - picture_mean[j]) / picture_deviation[j], -5.0), 5.0));
        add(pooled.data(), pooled.size(), last, 0, v.data());
        for (double& k : v) k = std::max(k, 0.0);
        add(v.data(), v.size(), out, 0, answer.data());
        return answer[0];
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
    bool good = true;
    const auto stored = [&](const std::string& name) -> const Array* {
        for (const auto& [key, a] : arrays) {
            if (key == name) return &a;
        }
        return nullptr;
    };
    /// An array, or NAME_int8 times NAME_scale, one factor a column.
    const auto array = [&](const std::string& name) {
        if (const Array* whole = stored(name)) return *whole;
        const Array *codes = stored(name + "_int8"), *scale = stored(name + "_scale");
        if (!codes || !scale) throw Error(Code::model, folder_.name() + ": heads.npz lacks " + name);
        Array a = *codes;
        good = good && a.shape.size() == 2 && static_cast<int64_t>(scale->data.size()) == a.shape[1];
        for (size_t i = 0; good && i < a.data.size(); ++i) a.data[i] *= scale->data[i % scale->data.size()];
        return a;
    };
    heads->w1 = array("meaning_w1"), heads->b1 = array("meaning_b1"), heads->w2 = array("meaning_w2"),
    heads->b2 = array("meaning_b2");
    const size_t inputs = concepts_[1] - concepts_[0] + triggers_[1] - triggers_[0], hidden = heads->b1.data.size();
    good = good && heads->w1.data.size() == inputs * hidden && heads->w1.shape.size() == 2 &&
           heads->w1.shape[0] == static_cast<int64_t>(inputs) && hidden > 0 && hidden <= 256 &&
           heads->w2.data.size() == hidden * kMeanings && heads->b2.data.size() == kMeanings &&
           facts_[1] - facts_[0] >= 2;
    const auto numbers = [&](const char* name, size_t count, std::vector<double>& to) {
        const Array a = array(name);
        to.assign(a.data.begin(), a.data.end());
        good = good && to.size() == count;
    };
    const auto matrix = [&](const std::string& name, size_t rows, Heads::Matrix& m) {
        const Array values = array("judge_" + name), bias = array("judge_" + name + "_b");
        m.rows = rows, m.columns = bias.data.size();
        m.values.assign(values.data.begin(), values.data.end());
        m.bias.assign(bias.data.begin(), bias.data.end());
        good = good && m.columns > 0 && m.values.size() == m.rows * m.columns;
    };
    const size_t own = width_ + kLineFacts;
    matrix("line", own, heads->line);
    const size_t units = heads->line.columns;
    matrix("near1", 3 * units, heads->near[0]);
    matrix("near2", 3 * units, heads->near[1]);
    matrix("query", units, heads->query);
    matrix("last", (heads->query.columns + 1) * units + kPictureFacts, heads->last);
    matrix("out", heads->last.columns, heads->out);
    good = good && heads->near[0].columns == units && heads->near[1].columns == units && heads->out.columns == 1;
    numbers("judge_line_mean", own, heads->line_mean);
    numbers("judge_line_deviation", own, heads->line_deviation);
    numbers("judge_picture_mean", kPictureFacts, heads->picture_mean);
    numbers("judge_picture_deviation", kPictureFacts, heads->picture_deviation);
    const std::vector<Value>& names = evidence.at("names").at("meaning").items();
    good = good && names.size() == kMeanings && names[0].string() == "order" && names[1].string() == "harm";
    if (!good) throw Error(Code::model, folder_.name() + ": config.json or heads.npz is not of this version");
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

std::vector<float> LineReader::meaning(const float* evidence) const {
    std::vector<float> out(kMeanings), x(evidence + concepts_[0], evidence + concepts_[1]);
    for (size_t t = triggers_[0]; t < triggers_[1]; ++t) x.push_back(logistic(clipped(evidence[t], 30.0F)));
    heads_->meaning(x.data(), out.data());
    return out;
}

double LineReader::orders(const std::vector<float>& unordered, const Lines& lines, std::vector<float>& part) const {
    const size_t n = lines.size();
    part.assign(n, 0.0F);
    if (n == 0) return 0.0;
    const std::vector<size_t> order = reading_order(lines.quads);
    const ImageView& pixels = lines.view.pixels;
    const auto area = static_cast<double>(pixels.height * pixels.width);
    // Of every line its evidence and what is to be seen without reading it.
    const size_t own = width_ + kLineFacts;
    std::vector<float> evidence;
    for (const size_t i : order) {
        evidence.insert(evidence.end(), unordered.begin() + static_cast<int64_t>(i * width_),
                        unordered.begin() + static_cast<int64_t>((i + 1) * width_));
        const QuadF& q = lines.quads[i];
        const float along = std::hypot(q[1].x - q[0].x, q[1].y - q[0].y),
                    down = std::hypot(q[3].x - q[0].x, q[3].y - q[0].y);
        const float facts[kLineFacts] = {lines.put[i], lines.overlay[i],
                                         static_cast<float>(static_cast<double>(down) / std::sqrt(area)),
                                         along * down / static_cast<float>(area), std::log(lines.contrast[i] + 1)};
        evidence.insert(evidence.end(), facts, facts + kLineFacts);
    }
    /// The largest evidence of each kind over lines [from, to), one of them left out.
    const auto join = [&](size_t from, size_t to, size_t without) {
        std::vector<float> u(width_, -3e38F);
        for (size_t i = from; i < to; ++i) {
            for (size_t k = 0; i != without && k < width_; ++k) u[k] = std::max(u[k], evidence[i * own + k]);
        }
        return u;
    };
    const auto risk = [](const float* m) { return std::max(m[0], m[1]); };

    // A line takes part by what it says alone, or by what the best passage around it loses without it.
    std::vector<float> takes(n);
    for (size_t i = 0; i < n; ++i) takes[i] = risk(meaning(&evidence[i * own]).data());
    for (size_t start = 0; start < (n > 3 ? n - 3 : 1); ++start) {
        const size_t stop = std::min(n, start + 4);
        const float whole = risk(meaning(join(start, stop, n).data()).data());
        if (whole <= 0 || stop - start == 1) continue;
        for (size_t i = start; i < stop; ++i) {
            const float loss = whole - risk(meaning(join(start, stop, i).data()).data());
            takes[i] = std::max(takes[i], std::min(whole, 2 * loss - 1));
        }
    }
    for (float& t : takes) t = logistic(clipped(t));

    const double flat = static_cast<double>(flat_share(pixels)), small = std::max(pixels.height, pixels.width) < 400;
    /// The judge's logit without some of the lines.
    const auto without = [&](const std::vector<bool>& gone) {
        std::vector<const float*> left;
        double length = 0, covered = 0;
        for (size_t i = 0; i < n; ++i) {
            if (gone[i]) continue;
            left.push_back(&evidence[i * own]);
            length += static_cast<double>(left.back()[width_ - 1]);
            covered += static_cast<double>(left.back()[width_ + 3]);
        }
        if (left.empty()) return -std::numeric_limits<double>::infinity();
        const double picture[kPictureFacts] = {std::log1p(static_cast<double>(left.size())), std::log1p(length),
                                               std::log(covered + 1e-3), flat, small};
        return heads_->judge(left, picture);
    };
    std::vector<bool> gone(n, false);
    const double logit = without(gone);
    const double score = 1 / (1 + std::exp(-std::min(std::max(logit, -30.0), 30.0)));
    if (logit > 0) {  // what is left without the lines that take part must be below even odds
        for (size_t i = 0; i < n; ++i) gone[i] = takes[i] > 0.5F;
        if (without(gone) > 0) {
            std::vector<double> alone(n);
            std::vector<size_t> by(n);
            for (size_t i = 0; i < n; ++i) {
                std::vector<bool> one(n, false);
                one[i] = true;
                alone[i] = without(one), by[i] = i;
            }
            std::stable_sort(by.begin(), by.end(), [&](size_t a, size_t b) { return alone[a] < alone[b]; });
            for (const size_t i : by) {
                gone[i] = true;
                if (without(gone) <= 0) break;
            }
        }
        for (size_t i = 0; i < n; ++i) {
            if (gone[i]) takes[i] = std::max(takes[i], static_cast<float>(score));
        }
    }
    for (size_t i = 0; i < n; ++i) part[order[i]] = takes[i];
    return score;
}

}  // namespace capi
}  // namespace og
