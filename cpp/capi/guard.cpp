#include "capi/guard.hpp"

#include <algorithm>
#include <cstring>

#include "ondevice_guard/purify.hpp"
#include "ondevice_guard/random.hpp"
#include "ondevice_guard/residual.hpp"
#include "ondevice_guard/signal.hpp"
#include "ondevice_guard/views.hpp"

namespace og {
namespace capi {
namespace {

constexpr double kNoisy = 3.0;  // noise level from which a preset's strong steps run; as purification.py

void copy(const ImageView& in, const MutableImageView& out) {
    if (in.data == out.data) return;
    for (int64_t y = 0; y < in.height; ++y)
        std::memcpy(out.row(y), in.row(y), static_cast<size_t>(in.samples_per_row()));
}

}  // namespace

void Purifier::run(const ImageView& in, const MutableImageView& out, double level, const Context& run) const {
    require_out(out, in.height, in.width, in.channels);
    const std::vector<Tile> parts = tiles(in.height, in.width);
    const auto part = [](const auto& v, int64_t top, int64_t bottom, int64_t left, int64_t right) {
        auto cut = v;
        cut.data = v.row(top) + left * v.pixel_stride;
        cut.height = bottom - top, cut.width = right - left;
        return cut;
    };
    // Tiles read what their neighbours write, so that several of them need a picture of their own.
    const bool several = parts.size() > 1;
    const Pixels own(several ? in.height : 0, in.width, in.channels);
    const MutableImageView target = several ? own.view : out;
    std::vector<uint8_t> x;
    for (const Tile& t : parts) {
        const ImageView seen = part(in, t.halo_top, t.halo_bottom, t.halo_left, t.halo_right);
        const std::vector<int64_t> shape = {1, blocks_along(seen.height), blocks_along(seen.width), 16};
        x.resize(static_cast<size_t>(shape[1] * shape[2] * 16));
        blocks(seen, level, x.data(), run);
        const Model::Answer answer = network_.run(OG_UINT8, shape, x.data(), x.size());
        const int side = !answer.shape.empty() && answer.shape.back() == 64 ? 4 : 2;
        const int64_t across = shape[2] * 2 / side, block = int64_t{4} * side * side;
        if (answer.type != OG_UINT8 || answer.shape != std::vector<int64_t>{1, shape[1] * 2 / side, across, block})
            throw Error(Code::model, folder_.name() + ": the network's answer does not fit its input");
        const uint8_t* first =
            answer.bytes.data() + ((t.top - t.halo_top) / side * across + (t.left - t.halo_left) / side) * block;
        subtract(part(in, t.top, t.bottom, t.left, t.right), first, across * block, side,
                 part(target, t.top, t.bottom, t.left, t.right), run);
    }
    if (several) copy(target, out);
}

const Purifier& Guard::network(std::unique_ptr<Purifier>& kept, const char* name) {
    if (!runtime_)
        throw Error(Code::unsupported, std::string(name) + " needs a runtime: load the context with one first");
    if (!kept) kept = std::make_unique<Purifier>(models_, name, *runtime_, thread_count(run));
    return *kept;
}

void Guard::learned(const ImageView& in, const MutableImageView& out, bool small, double gain) {
    if (!(gain >= 0.25 && gain <= 4)) throw Error(Code::unsupported, "gain: must be from 0.25 to 4");
    const Purifier& used = small ? network(purifier_small_, "purifier_small") : network(purifier_, "purifier");
    used.run(in, out, gain * residual::noise_level(in, run), run);
}

void Guard::denoise(const ImageView& in, const MutableImageView& out, double sigma) {
    if (!(sigma >= 0 && sigma <= 55)) throw Error(Code::unsupported, "sigma: must be from 0 to 55");
    network(denoiser_, "denoiser").run(in, out, sigma, run);
}

void Guard::purify(const ImageView& in, const MutableImageView& out, const std::string& preset, bool full) {
    const ImageView now = out;
    if (preset == "randomized") {
        const auto draw = [&](uint64_t counter, double low, double high) {
            return low + (high - low) * random_unit(seed, counter);
        };
        resize_pad(in, out, 0.88, random_bits(seed, 1000), run);
        switch (static_cast<int>(draw(0, 0, 3))) {
            case 0:
                bilateral(now, out, 4, draw(1, 35, 75), 75, run);
                break;
            case 1:
                median(now, out, 5, run);
                break;
            default:
                guided(now, out, 3, draw(2, 200, 800), run);
        }
        dct_quantise(now, out, static_cast<int>(draw(3, 25, 60)), true, 2, run);
        return;
    }
    if (preset != "fast" && preset != "balanced" && preset != "strong")
        throw Error(Code::unsupported, "preset: must be fast, balanced, strong or randomized");
    if (preset == "strong") {
        learned(in, out, false, 1);
        rotate(now, out, 5, 4, run);
        return;
    }
    const bool noisy = full || residual::noise_level(in, run) >= kNoisy;
    if (!noisy) {
        dct_quantise(in, out, 50, true, 1, run);
    } else if (preset == "fast") {
        dct_quantise(in, out, 15, true, 1, run);
    } else {
        learned(in, out, true, 1);
        rotate(now, out, 5, 2, run);
    }
}

void Guard::load(const std::string& models, const Runtime* runtime) {
    for (const std::string& name : policy.profiles) require_profile(name);
    if ((policy.detectors & (Policy::typographic | Policy::content | Policy::text)) && !runtime)
        throw Error(Code::unsupported, "runtime: is null, and the policy names detectors that need it");
    const bool purifies = policy.detectors & Policy::adversarial;
    const bool strong = purifies && policy.purify == "strong", balanced = purifies && policy.purify == "balanced";
    if ((strong || balanced) && !runtime)
        throw Error(Code::unsupported, "runtime: is null, and the policy's preset " + policy.purify + " needs it");
    const int threads = thread_count(run);
    std::unique_ptr<Purifier> purifier, purifier_small;
    std::unique_ptr<Adversarial> adversarial;
    std::unique_ptr<Content> content;
    std::unique_ptr<Typographic> typographic;
    std::unique_ptr<Prompt> prompt;
    if (policy.detectors & Policy::adversarial) adversarial = std::make_unique<Adversarial>(models);
    if (policy.detectors & Policy::content) content = std::make_unique<Content>(models, *runtime, threads);
    if (policy.detectors & Policy::typographic) typographic = std::make_unique<Typographic>(models, *runtime, threads);
    if (policy.detectors & Policy::text) prompt = std::make_unique<Prompt>(models, *runtime, threads);
    if (strong) purifier = std::make_unique<Purifier>(models, "purifier", *runtime, threads);
    if (balanced) purifier_small = std::make_unique<Purifier>(models, "purifier_small", *runtime, threads);
    purifier_ = std::move(purifier);
    purifier_small_ = std::move(purifier_small);
    denoiser_ = nullptr;
    runtime_ = runtime ? std::make_unique<Runtime>(*runtime) : nullptr;
    models_ = models;
    adversarial_ = std::move(adversarial);
    content_ = std::move(content);
    typographic_ = std::move(typographic);
    prompt_ = std::move(prompt);
    loaded_ = true;
}

Points Guard::points() const {
    Points out;
    out.fill(-1);
    for (size_t k = 0; k < kKinds; ++k) {
        Points at;
        at.fill(-1);
        const double rate = policy.rate(static_cast<int>(k));
        if (adversarial_ && (policy.detectors & Policy::adversarial)) adversarial_->points(rate, at);
        if (typographic_ && (policy.detectors & Policy::typographic)) typographic_->points(rate, at);
        if (content_ && (policy.detectors & Policy::content)) content_->points(rate, at);
        if (prompt_ && (policy.detectors & Policy::text)) prompt_->points(rate, at);
        out[k] = at[k];
    }
    return out;
}

void Guard::read(const std::u32string& text, const std::string& carrier, std::vector<Finding>& findings) const {
    const size_t before = findings.size();
    prompt_->read(text, findings);
    for (size_t i = before; i < findings.size() && !carrier.empty(); ++i) {  // restated as findings about the carrier
        Finding& f = findings[i];
        f.why = "Text in " + carrier + " of the file: " + f.why;
        f.view = "metadata:" + carrier;
        f.begin = f.end = -1;
        f.low_bits = carrier == "pixels:low_bits";
    }
}

Outcome Guard::judge(const Input& input, std::vector<Finding>& findings, std::array<double, kKinds>& scores) {
    findings.clear();
    scores.fill(-1);
    original_ = View();
    const auto ready = [&](bool there, int detector, const char* name) {
        if (asked(detector) && !there)
            throw Error(Code::unsupported,
                        std::string("the policy names the detector ") + name + ", which is not loaded");
    };
    ready(adversarial_ != nullptr, Policy::adversarial, "adversarial");
    ready(content_ != nullptr, Policy::content, "content");
    ready(typographic_ != nullptr, Policy::typographic, "typographic");
    ready(prompt_ != nullptr, Policy::text, "text");
    const auto looked_for = [&](std::initializer_list<int> kinds) {
        for (const int k : kinds) scores[static_cast<size_t>(k)] = 0;
    };
    if (input.text && !loaded_) throw Error(Code::unsupported, "text: no detector for text is loaded");
    std::vector<Carried> texts;
    Views seen;
    if (input.file) {
        looked_for({OG_MALFORMED, OG_TYPE_MISMATCH, OG_TRAILING_DATA, OG_METADATA_TEXT, OG_EXTRA_FRAMES});
        try {
            texts = read_file(input.file, input.file_bytes, input.claimed, input.image, policy, findings);
        } catch (const Error& error) {
            if (error.code() != Code::malformed && error.code() != Code::format && error.code() != Code::limit) throw;
            Finding f;
            f.kind = OG_MALFORMED;
            f.score = 1;
            f.why = error.what();
            f.detector = "decode";
            findings.assign(1, std::move(f));
            scores.fill(-1);  // nobody looked any further
            scores[OG_MALFORMED] = 1;
            return decide(policy, findings, points());
        }
    }
    if (input.image) {
        const ImageView& image = *input.image;
        require_image(image, "image");
        if (std::max(image.height, image.width) > policy.limits.side ||
            static_cast<uint64_t>(image.height) * static_cast<uint64_t>(image.width) > policy.limits.pixels)
            throw Error(Code::limit, "image: " + std::to_string(image.width) + " x " + std::to_string(image.height) +
                                         " pixels are more than the limits allow");
        seen = look(image, findings);
        for (Carried& t : low_bit_texts(seen.colours, policy.text_limit)) texts.push_back(std::move(t));
        looked_for({OG_METADATA_TEXT});
        if (policy.detectors & Policy::structural) looked_for({OG_SCALING, OG_ALPHA_DIVERGENCE});
        if (asked(Policy::adversarial)) looked_for({OG_ADVERSARIAL});
        if (asked(Policy::typographic))
            looked_for({OG_OVERLAY_TEXT, OG_HIDDEN_TEXT, OG_SCALING, OG_QR_CODE, OG_TYPOGRAPHIC});
        if (asked(Policy::content)) looked_for({OG_UNSAFE_CONTENT});
    }
    metadata_finding(texts, findings);
    if (asked(Policy::text)) {
        if (input.text && input.text_bytes > 0) {
            looked_for({OG_INJECTION, OG_JAILBREAK, OG_HARMFUL, OG_OBFUSCATION});
            read(decoded(input.text, input.text_bytes), "", findings);
        }
        for (const Carried& t : texts) read(t.text, t.carrier, findings);
    }
    Outcome outcome = decide(policy, findings, points());
    // What is redacted is what is found in the picture that is handed out: a payload that is gone must not be drawn anew by the
    // bars over its lines. A later look can only add `descale` to what remakes the picture: there are two at most.
    Plan done;
    for (int looks = 1; input.image && outcome.plan.remakes() && !outcome.plan.remakes_as(done); ++looks) {
        const Plan plan = done = outcome.plan;
        const ImageView from = seen.items[0].pixels;
        const Pixels made(from.height, from.width, 3);
        const uint8_t under[3] = {static_cast<uint8_t>(plan.background >> 16 & 255),
                                  static_cast<uint8_t>(plan.background >> 8 & 255),
                                  static_cast<uint8_t>(plan.background & 255)};
        if (plan.background >= 0 && seen.opacity.data)
            composite(seen.colours, seen.opacity, under, made.view, run);
        else
            copy(from, made.view);
        if (plan.descale) reconstruct(made.view, made.view, run);
        std::vector<Finding> again;
        look(made.view, again);
        for (Finding& f : again) f.look = looks;
        findings.insert(findings.end(), again.begin(), again.end());
        outcome = decide(policy, findings, points(), looks);
    }
    const auto silent = [](const Finding& f) { return f.look > 0 && f.score < f.threshold; };
    findings.erase(std::remove_if(findings.begin(), findings.end(), silent), findings.end());
    for (Finding& f : findings)
        if (f.look > 0) f.view = "remade " + f.view;
    for (const Finding& f : findings)
        scores[static_cast<size_t>(f.kind)] = std::max(scores[static_cast<size_t>(f.kind)], f.score);
    return outcome;
}

Views Guard::look(const ImageView& image, std::vector<Finding>& findings) {
    const std::vector<std::string> none;
    Views views =
        build_views(image, asked(Policy::typographic) ? policy.profiles : none, policy.background.data(), run);
    original_ = views.items[0];
    const bool structure = policy.detectors & Policy::structural;
    if (structure || asked(Policy::typographic)) views.grid = sampling_grid(views.colours, run);
    if (structure) structural(views, run, findings);
    if (asked(Policy::adversarial)) adversarial_->look(views, run, findings);
    if (asked(Policy::typographic)) typographic_->look(views, run, findings);
    if (asked(Policy::content)) content_->look(views, run, findings);
    return views;
}

void Guard::sanitize(const Outcome& outcome, const MutableImageView& out) {
    if (!original_.pixels.data || outcome.decision == OG_BLOCK_DECISION)
        throw Error(Code::unsupported, "image: there are no safe pixels");
    const ImageView now = out;
    const Plan& plan = outcome.plan;
    copy(original_.pixels, out);
    if (!plan.fill.empty()) fill(now, out, plan.fill, policy.fill);
    if (plan.purify) purify(now, out, policy.purify, true);
    if (plan.low_bits > 0) reset_low_bits(now, out, plan.low_bits, run);
}

}  // namespace capi
}  // namespace og
