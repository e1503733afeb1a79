// Prompts: python/ondevice_guard/detectors/text.py. The linear model reads everything; where it is not sure that all is well the
// encoder reads too, in windows:
//
//   p_k = sigmoid(a_k encoder_k + b_k linear_k + c_k),   or sigmoid(b_k linear_k + c_k) where the encoder did not run
//
// with other coefficients where more than a share of the pieces continue a word: the encoder's vocabulary breaks the text up.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "capi/detectors.hpp"

namespace og {
namespace capi {
namespace {

constexpr size_t kClasses = text::kClasses;
constexpr const char* kNames[kClasses] = {"injection", "jailbreak", "harmful"};
constexpr const char* kWhy[kClasses] = {"The text tries to override the model's instructions or to read them out",
                                        "The text tries to talk the model out of its safety rules",
                                        "The text asks for something dangerous, illegal or hateful"};
constexpr size_t kWindows = 64;  // that the encoder reads of one text at most
constexpr size_t kBatch = 16;

void require_labels(const Folder& folder) {
    const std::vector<Value>& labels = folder.config().at("labels").items();
    bool good = labels.size() == kClasses;
    for (size_t k = 0; good && k < kClasses; ++k) good = labels[k].string() == kNames[k];
    if (!good)
        throw Error(Code::model, folder.name() + ": must have the labels injection, jailbreak, harmful, in this order");
}

void take(const Value& from, const char* name, double* to, size_t count) {
    const std::vector<Value>& values = from.at(name).items();
    if (values.size() != count) throw Error(Code::model, "config.json: lacks the calibration");
    for (size_t i = 0; i < count; ++i) to[i] = values[i].real();
}

}  // namespace

/// One text that is scored: the visible one, or a payload.
struct Prompt::Reading {
    const std::u32string* text;
    const text::Found* found;  // null for the visible text
    text::LinearScore linear;
};

struct Prompt::Encoded {
    bool ran = false;
    double logits[kClasses] = {-std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity()};
    uint32_t places[kClasses][2] = {};
    double fragments = 0;  // share of the pieces that continue a word
};

Prompt::Prompt(const std::string& models, const Runtime& runtime, int threads)
    : folder_(models, "text_encoder"),
      first_(models, "text_linear"),
      network_(folder_.network(runtime, threads)),
      linear_(first_.file("weights.bin")),
      pieces_(folder_.file("vocab.txt")) {
    require_labels(folder_);
    require_labels(first_);
    const Value& config = folder_.config();
    const Value& fit = config.at("calibration");
    for (size_t k = 0; k < kClasses; ++k) {
        take(fit.at("ensemble"), kNames[k], both_[k], 3);
        take(fit.at("fragmented").find(kNames[k]) ? fit.at("fragmented") : fit.at("ensemble"), kNames[k],
             fragmented_[k], 3);
        take(fit.at("linear"), kNames[k], alone_[k], 2);
        sure_[k] = fit.at("cascade").at(kNames[k]).real();
    }
    share_ = fit.at("fragmented").at("share").real();
    const std::string_view vocabulary = folder_.file("vocab.txt");
    for (size_t at = 0; at < vocabulary.size();) {
        continues_.push_back(vocabulary.substr(at, 2) == "##");
        const size_t end = vocabulary.find('\n', at);
        at = end == vocabulary.npos ? vocabulary.size() : end + 1;
    }
    for (const auto& [trick, score] : config.at("tricks").table) tricks_[trick] = score.real();
    window_ = static_cast<int64_t>(config.at("window").at("tokens").real());
    step_ = static_cast<int64_t>(config.at("window").at("step").real());
    if (!(step_ > 0 && step_ <= window_ - 2 && window_ <= 4096))
        throw Error(Code::model, folder_.name() + ": window cannot be used");
}

void Prompt::points(double rate, Points& points) const {
    for (int kind = OG_INJECTION; kind <= OG_OBFUSCATION; ++kind)
        folder_.nearest_point(kind_name(kind), rate, points[static_cast<size_t>(kind)]);
}

Prompt::Encoded Prompt::encode(const Reading& reading) const {
    const text::WordPiece::Tokens tokens = pieces_.encode(*reading.text);
    const auto n = static_cast<int64_t>(tokens.ids.size()), size = window_ - 2;
    const auto length = static_cast<uint32_t>(reading.text->size());
    const auto origin = [&](int64_t i) { return i < n ? tokens.origin[static_cast<size_t>(i)] : length; };
    std::vector<int64_t> starts;
    for (int64_t at = 0; at < std::max<int64_t>(1, n - size + step_); at += step_) starts.push_back(at);
    if (starts.size() > kWindows) {  // the first, the last, and those that the linear model scores highest
        std::vector<std::pair<float, int64_t>> inner;
        for (size_t i = 1; i + 1 < starts.size(); ++i) {
            const uint32_t begin = origin(starts[i]), end = origin(starts[i] + size);
            const auto logits = linear_.score(std::u32string_view(*reading.text).substr(begin, end - begin)).logits;
            inner.emplace_back(*std::max_element(logits.begin(), logits.end()), starts[i]);
        }
        std::stable_sort(inner.begin(), inner.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
        inner.resize(kWindows - 2);
        std::vector<int64_t> kept{starts.front(), starts.back()};
        for (const auto& [score, start] : inner) kept.push_back(start);
        std::sort(kept.begin(), kept.end());
        starts = kept;
    }
    std::vector<std::pair<int64_t, int64_t>> windows;
    for (const int64_t start : starts) windows.emplace_back(start, std::min(start + size, n));
    std::stable_sort(windows.begin(), windows.end(),
                     [](const auto& a, const auto& b) { return a.second - a.first < b.second - b.first; });
    Encoded out;
    out.ran = true;
    for (const int32_t id : tokens.ids) out.fragments += continues_[static_cast<size_t>(id)];
    if (n > 0) out.fragments /= static_cast<double>(n);
    for (size_t k = 0; k < kClasses; ++k) out.places[k][1] = length;
    std::vector<int64_t> ids;
    for (size_t at = 0; at < windows.size();) {  // windows of one length together: no padding, so no mask
        const int64_t tokens_in = windows[at].second - windows[at].first;
        size_t rows = 0;
        ids.clear();
        for (; rows < kBatch && at + rows < windows.size(); ++rows) {
            const auto& [begin, end] = windows[at + rows];
            if (end - begin != tokens_in) break;
            ids.push_back(2);  // [CLS]
            ids.insert(ids.end(), tokens.ids.begin() + begin, tokens.ids.begin() + end);
            ids.push_back(3);  // [SEP]
        }
        const Model::Answer answer = network_.run(OG_INT64, {static_cast<int64_t>(rows), tokens_in + 2}, ids.data(),
                                                  ids.size() * sizeof(int64_t));
        const float* logits = answer.floats();
        if (answer.count() != rows * kClasses)
            throw Error(Code::model, folder_.name() + ": the network gave another shape");
        for (size_t row = 0; row < rows; ++row, ++at) {
            for (size_t k = 0; k < kClasses; ++k) {
                const double z = static_cast<double>(logits[row * kClasses + k]);
                if (!std::isfinite(z))
                    throw Error(Code::model, folder_.name() + ": the network gave numbers that are not finite");
                if (z <= out.logits[k]) continue;
                out.logits[k] = z;
                out.places[k][0] = n > 0 ? origin(windows[at].first) : 0;
                out.places[k][1] = origin(windows[at].second);
            }
        }
    }
    return out;
}

void Prompt::read(const std::u32string& source, std::vector<Finding>& findings) const {
    const text::Normal normal = text::normalize(source);
    std::vector<Reading> readings{{&normal.text, nullptr, linear_.score(normal.text)}};
    for (const text::Found& f : normal.found) {
        if (!f.payload.empty()) readings.push_back({&f.payload, &f, linear_.score(f.payload)});
    }
    std::vector<Encoded> encoded(readings.size());
    std::vector<std::array<double, kClasses>> probable(readings.size());
    for (size_t i = 0; i < readings.size(); ++i) {
        const auto& z = readings[i].linear.logits;
        bool unsure = false;
        for (size_t k = 0; k < kClasses; ++k) unsure |= static_cast<double>(z[k]) >= sure_[k];
        if (unsure) encoded[i] = encode(readings[i]);
        for (size_t k = 0; k < kClasses; ++k) {
            const double linear = static_cast<double>(z[k]);
            const double* fit = encoded[i].fragments > share_ ? fragmented_[k] : both_[k];
            probable[i][k] = unsure ? sigmoid(fit[0] * encoded[i].logits[k] + fit[1] * linear + fit[2])
                                    : sigmoid(alone_[k][0] * linear + alone_[k][1]);
        }
    }
    for (size_t k = 0; k < kClasses; ++k) {
        size_t best = 0;
        for (size_t i = 1; i < readings.size(); ++i) {
            if (probable[i][k] > probable[best][k]) best = i;
        }
        const Reading& r = readings[best];
        Finding f;
        f.kind = OG_INJECTION + static_cast<int>(k);
        f.score = probable[best][k];
        f.detector = "text";
        f.why = std::string(kWhy[k]) + (r.found ? ", hidden by " + std::string(text::name(r.found->trick)) : "") + ".";
        if (r.found) {
            f.begin = r.found->begin, f.end = r.found->end;
        } else {
            const uint32_t* place = encoded[best].ran ? encoded[best].places[k] : r.linear.spans[k].data();
            f.begin = normal.origin[place[0]], f.end = normal.origin[place[1]];
        }
        findings.push_back(std::move(f));
    }
    for (const text::Found& hidden : normal.found) {
        double payload = 0.0;
        // Of several payloads with one span the last counts, and one without a payload counts for nothing.
        for (size_t i = 1; i < readings.size() && !hidden.payload.empty(); ++i) {
            if (readings[i].found->begin == hidden.begin && readings[i].found->end == hidden.end)
                payload = *std::max_element(probable[i].begin(), probable[i].end());
        }
        const auto trick = tricks_.find(text::name(hidden.trick));
        Finding f;
        f.kind = OG_OBFUSCATION;
        f.score = std::max(trick == tricks_.end() ? 0.5 : trick->second, payload);  // hiding an attack is one
        f.detector = "text";
        f.why = format("%u character%s hide text by %s.", hidden.count, hidden.count == 1 ? "" : "s",
                       text::name(hidden.trick));
        f.begin = hidden.begin, f.end = hidden.end;
        findings.push_back(std::move(f));
    }
}

}  // namespace capi
}  // namespace og
