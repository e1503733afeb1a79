// The C ABI: translates, and lets nothing out but a status.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "capi/guard.hpp"
#include "ondevice_guard/backend.hpp"
#include "ondevice_guard/container.hpp"
#include "ondevice_guard/image.hpp"
#include "ondevice_guard/ondevice_guard.h"
#include "ondevice_guard/purify.hpp"
#include "ondevice_guard/text.hpp"
#include "ondevice_guard/views.hpp"

using og::Code;
using og::Context;
using og::Error;
using og::ImageView;
using og::MutableImageView;
namespace ca = og::capi;

struct og_context {
    ca::Guard guard;
    std::vector<ca::Finding> findings;  // of the last verdict
    std::string message;
    std::string backend;
};

struct og_text_model {
    og::text::Linear linear;
    double calibration[og::text::kClasses][2];
};

struct og_runtime {
    og::capi::Runtime inner;
};

struct og_model {
    og::capi::Model inner;
};

namespace {

og_status status_of(Code code) {
    switch (code) {
        case Code::unsupported:
            return OG_ERROR_ARGUMENT;
        case Code::malformed:
            return OG_ERROR_MALFORMED;
        case Code::format:
            return OG_ERROR_FORMAT;
        case Code::limit:
            return OG_ERROR_LIMIT;
        case Code::backend:
            return OG_ERROR_BACKEND;
        case Code::model:
            return OG_ERROR_MODEL;
    }
    return OG_ERROR_INTERNAL;
}

/// Runs f and turns everything it may throw into a status and the context's message.
template <class F>
og_status guarded(og_context* context, F&& f) noexcept {
    if (!context) return OG_ERROR_ARGUMENT;
    const auto say = [context](const char* text) noexcept {
        try {
            context->message = text;
        } catch (...) {
            context->message.clear();  // no memory even for that
        }
    };
    try {
        context->message.clear();
        return f();
    } catch (const Error& error) {
        say(error.what());
        return status_of(error.code());
    } catch (const std::bad_alloc&) {
        say("out of memory");
        return OG_ERROR_MEMORY;
    } catch (const std::exception& error) {
        say(error.what());
        return OG_ERROR_INTERNAL;
    } catch (...) {
        say("unknown failure");
        return OG_ERROR_INTERNAL;
    }
}

void require(bool good, const char* what) {
    if (!good) throw Error(Code::unsupported, what);
}

/// The caller's struct as ours: fields that its header did not know keep their defaults.
template <class T>
T taken(const T* theirs, T ours, const char* name) {
    if (!theirs) throw Error(Code::unsupported, std::string(name) + ": is null");
    if (theirs->size < sizeof(size_t) || theirs->size > 1 << 16) {
        throw Error(Code::unsupported,
                    std::string(name) + ": has no size; make it with its _default or _init function");
    }
    std::memcpy(&ours, theirs, std::min(theirs->size, sizeof(T)));
    ours.size = sizeof(T);
    return ours;
}

/// Ours as the caller's struct, as far as it goes.
template <class T>
void given(T* theirs, T ours, const char* name) {
    if (!theirs) throw Error(Code::unsupported, std::string(name) + ": is null");
    if (theirs->size < sizeof(size_t) || theirs->size > 1 << 16) {
        throw Error(Code::unsupported, std::string(name) + ": has no size; make it with its _init function");
    }
    const size_t size = theirs->size;
    ours.size = size;
    std::memcpy(theirs, &ours, std::min(size, sizeof(T)));
}

ImageView view_of(const og_image* image) {
    const og_image i = taken(image, og_image{}, "image");
    const ImageView v(i.data, i.height, i.width, i.channels, i.row_stride);
    og::require_image(v, "image");
    require(v.row_stride >= v.samples_per_row() || -v.row_stride >= v.samples_per_row(),
            "image: row_stride is shorter than a row");
    return v;
}

MutableImageView target(uint8_t* out, int64_t height, int64_t width, int channels, int64_t row_stride) {
    MutableImageView v(out, height, width, channels, row_stride);
    og::require_image(v, "out");
    require(v.row_stride >= v.samples_per_row(), "out: row_stride is shorter than a row");
    return v;
}

/// Judges; fills in the verdict, the context's findings and, for a block, its message.
ca::Outcome judged(og_context* context, const ca::Input& input, og_verdict* verdict) {
    std::array<double, ca::kKinds> scores;
    context->findings.clear();
    std::vector<ca::Finding> findings;
    ca::Outcome outcome = context->guard.judge(input, findings, scores);
    context->findings = std::move(findings);
    if (verdict) {
        og_verdict v = og_verdict_init();
        v.decision = outcome.decision;
        v.count = static_cast<int32_t>(context->findings.size());
        std::copy(scores.begin(), scores.end(), v.scores);
        given(verdict, v, "verdict");
    }
    if (outcome.decision == OG_BLOCK_DECISION) context->message = outcome.reason;
    return outcome;
}

og_status judge(og_context* context, const ca::Input& input, og_verdict* verdict, uint8_t* out, int64_t row_stride) {
    MutableImageView to;
    if (out) {
        require(input.image != nullptr, "out: there is no picture to sanitize");
        to = target(out, input.image->height, input.image->width, 3, row_stride);
    }
    const ca::Outcome outcome = judged(context, input, verdict);
    if (!out) return OG_OK;
    if (outcome.decision == OG_BLOCK_DECISION) return OG_BLOCKED;
    context->guard.sanitize(outcome, to);
    return OG_OK;
}

void copy_text(char* to, size_t size, const std::string& text) {
    size_t n = std::min(size - 1, text.size());
    while (n < text.size() && n > 0 && (static_cast<unsigned char>(text[n]) & 0xc0) == 0x80)
        --n;  // no half of a character
    std::memcpy(to, text.data(), n);
    to[n] = 0;
}

/// Parameters of a filter by name; what nobody took was not asked for.
class Parameters {
  public:
    Parameters(const og_parameter* list, size_t count) {
        require(count == 0 || list, "parameters: is null");
        for (size_t i = 0; i < count; ++i) {
            require(list[i].name != nullptr, "parameters: a name is null");
            values_[list[i].name] = list[i].value;
        }
    }
    double real(const char* name, double fallback) {
        const auto found = values_.find(name);
        if (found == values_.end()) return fallback;
        const double value = found->second;
        values_.erase(found);
        return value;
    }
    /// A parameter without a default.
    double needed(const char* name) {
        if (values_.count(name) == 0) throw Error(Code::unsupported, std::string("parameters: needs ") + name);
        return real(name, 0.0);
    }
    static int whole(double value, const char* name) {
        if (!(value >= -1e9 && value <= 1e9 && value == std::floor(value))) {
            throw Error(Code::unsupported, std::string(name) + ": must be a whole number");
        }
        return static_cast<int>(value);
    }
    int integer(const char* name, int fallback) { return whole(real(name, fallback), name); }
    void done() const {
        if (!values_.empty())
            throw Error(Code::unsupported, "parameters: the filter does not take " + values_.begin()->first);
    }

  private:
    std::map<std::string, double> values_;
};

}  // namespace

extern "C" {

const char* og_version(void) {
    return OG_VERSION_TEXT;
}

const char* og_status_text(og_status status) {
    switch (status) {
        case OG_OK:
            return "done";
        case OG_BLOCKED:
            return "the policy blocks";
        case OG_ERROR_ARGUMENT:
            return "an argument is not accepted";
        case OG_ERROR_MALFORMED:
            return "the bytes contradict themselves";
        case OG_ERROR_FORMAT:
            return "the format is not on the allow-list";
        case OG_ERROR_LIMIT:
            return "a limit would be exceeded";
        case OG_ERROR_BACKEND:
            return "an instruction set or a library cannot be used";
        case OG_ERROR_MODEL:
            return "weights or a network cannot be used";
        case OG_ERROR_MEMORY:
            return "out of memory";
        case OG_ERROR_INTERNAL:
            return "an internal error";
    }
    return "no status of this library";
}

og_options og_options_default(void) {
    og_options o{};
    o.size = sizeof o;
    o.threads = 1;
    o.policy = OG_POLICY_BALANCED;
    for (double& t : o.thresholds) t = -1.0;
    for (uint8_t& c : o.background) c = 255;
    const og::container::Limits limits;
    o.max_side = limits.side;
    o.max_pixels = static_cast<int64_t>(limits.pixels);
    return o;
}

og_status og_open(const og_options* options, og_context** context) {
    if (!context) return OG_ERROR_ARGUMENT;
    *context = nullptr;
    std::unique_ptr<og_context> made(new (std::nothrow) og_context);
    if (!made) return OG_ERROR_MEMORY;
    const og_status status = guarded(made.get(), [&] {
        const og_options o = options ? taken(options, og_options_default(), "options") : og_options_default();
        require(o.threads >= 0 && o.threads <= 256, "threads: must be from 0 to 256");
        require(o.max_side >= 1 && o.max_pixels >= 1, "max_side, max_pixels: must be positive");
        const char* const names[] = {"permissive", "balanced", "strict"};
        require(o.policy >= OG_POLICY_PERMISSIVE && o.policy <= OG_POLICY_STRICT, "policy: is none of og_policy");
        ca::Policy& policy = made->guard.policy;
        policy = ca::Policy::named(names[o.policy]);
        for (size_t k = 0; k < ca::kKinds; ++k) {
            require(o.thresholds[k] <= 1.0, "thresholds: must be at most 1");  // false for NaN, too
            if (o.thresholds[k] >= 0.0) policy.thresholds[k] = o.thresholds[k];
        }
        std::copy(o.background, o.background + 3, policy.background.begin());
        policy.limits.side = static_cast<uint32_t>(std::min<int64_t>(o.max_side, UINT32_MAX));
        policy.limits.pixels = static_cast<uint64_t>(o.max_pixels);
        made->guard.seed = o.seed;
        made->guard.run.threads = o.threads;
        made->backend = og::backend::active();
        return OG_OK;
    });
    if (status == OG_OK) *context = made.release();
    return status;
}

void og_close(og_context* context) {
    delete context;
}

const char* og_message(const og_context* context) {
    return context ? context->message.c_str() : "context: is null";
}

const char* og_backend(const og_context* context) {
    return context ? context->backend.c_str() : "";
}

og_status og_set_parallel_for(og_context* context, og_parallel_for loop, void* host) {
    return guarded(context, [&] {
        context->guard.run.host_for = loop;
        context->guard.run.host = host;
        return OG_OK;
    });
}

og_image og_image_packed(const void* data, int64_t height, int64_t width, int32_t channels) {
    og_image i{};
    i.size = sizeof i;
    i.data = static_cast<const uint8_t*>(data);
    i.height = height;
    i.width = width;
    i.channels = channels;
    return i;
}

const char* og_kind_name(int32_t kind) {
    return ca::kind_name(kind);
}

og_status og_configure(og_context* context, const char* toml, size_t bytes) {
    return guarded(context, [&] {
        require(toml || bytes == 0, "toml: is null");
        context->guard.policy.read(std::string_view(toml, bytes));
        return OG_OK;
    });
}

og_status og_load(og_context* context, og_runtime* runtime, const char* models) {
    return guarded(context, [&] {
        require(models != nullptr, "models: is null");
        context->guard.load(models, runtime ? &runtime->inner : nullptr);
        return OG_OK;
    });
}

og_verdict og_verdict_init(void) {
    og_verdict v{};
    v.size = sizeof v;
    for (double& score : v.scores) score = -1.0;
    return v;
}

og_input og_input_init(void) {
    og_input i{};
    i.size = sizeof i;
    return i;
}

og_finding og_finding_init(void) {
    og_finding f{};
    f.size = sizeof f;
    return f;
}

og_status og_check(og_context* context, const og_image* image, og_verdict* verdict) {
    return guarded(context, [&] {
        require(verdict != nullptr, "verdict: is null");
        const ImageView v = view_of(image);
        ca::Input input;
        input.image = &v;
        return judge(context, input, verdict, nullptr, 0);
    });
}

og_status og_sanitize(og_context* context, const og_image* image, og_verdict* verdict, uint8_t* out,
                      int64_t row_stride) {
    return guarded(context, [&] {
        require(out != nullptr, "out: is null");
        const ImageView v = view_of(image);
        ca::Input input;
        input.image = &v;
        return judge(context, input, verdict, out, row_stride);
    });
}

og_status og_judge(og_context* context, const og_input* input, og_verdict* verdict, uint8_t* out, int64_t row_stride) {
    return guarded(context, [&] {
        const og_input theirs = taken(input, og_input_init(), "input");
        require(verdict || out, "verdict, out: are both null");
        require(theirs.image || theirs.file || theirs.text, "input: holds nothing to judge");
        ca::Input ours;
        ImageView v;
        if (theirs.image) {
            v = view_of(theirs.image);
            ours.image = &v;
        }
        ours.file = static_cast<const uint8_t*>(theirs.file), ours.file_bytes = theirs.file_bytes;
        ours.claimed = theirs.claimed ? theirs.claimed : "";
        ours.text = theirs.text, ours.text_bytes = theirs.text_bytes;
        return judge(context, ours, verdict, out, row_stride);
    });
}

og_status og_finding_at(og_context* context, int32_t index, og_finding* finding) {
    return guarded(context, [&] {
        require(index >= 0 && static_cast<size_t>(index) < context->findings.size(), "index: there is no such finding");
        const ca::Finding& from = context->findings[static_cast<size_t>(index)];
        og_finding f = og_finding_init();
        f.kind = from.kind, f.action = from.action, f.counts = from.counts;
        f.regions = static_cast<int32_t>(from.regions.size());
        f.score = from.score, f.threshold = from.threshold, f.begin = from.begin, f.end = from.end;
        copy_text(f.view, sizeof f.view, from.view);
        copy_text(f.detector, sizeof f.detector, from.detector);
        copy_text(f.why, sizeof f.why, from.why);
        given(finding, f, "finding");
        return OG_OK;
    });
}

og_status og_regions(og_context* context, int32_t index, double* quads, size_t capacity) {
    return guarded(context, [&] {
        require(index >= 0 && static_cast<size_t>(index) < context->findings.size(), "index: there is no such finding");
        require(quads || capacity == 0, "quads: is null");
        const auto& regions = context->findings[static_cast<size_t>(index)].regions;
        for (size_t i = 0; i < std::min(capacity, regions.size()); ++i)
            std::copy(regions[i].begin(), regions[i].end(), quads + 8 * i);
        return OG_OK;
    });
}

og_status og_purify(og_context* context, const og_image* image, const char* preset, int32_t full, uint8_t* out,
                    int64_t row_stride) {
    return guarded(context, [&] {
        require(preset != nullptr, "preset: is null");
        const ImageView in = view_of(image);
        context->guard.purify(in, target(out, in.height, in.width, in.channels, row_stride), preset, full != 0);
        return OG_OK;
    });
}

og_status og_filter(og_context* context, const og_image* image, const char* name, const og_parameter* parameters,
                    size_t count, uint8_t* out, int64_t row_stride) {
    return guarded(context, [&] {
        require(name != nullptr, "name: is null");
        const ImageView in = view_of(image);
        const std::string filter = name;
        Parameters p(parameters, count);
        const Context& run = context->guard.run;
        const int channels = filter == "local_contrast" ? 3 : filter == "luma" ? 1 : in.channels;
        const MutableImageView to = target(out, in.height, in.width, channels, row_stride);
        // Parameters are read before `done` complains about those that are left, and only then does anything run.
        const auto whole = [&](const char* key, int fallback) { return p.integer(key, fallback); };
        if (filter == "median") {
            const int size = whole("size", 3);
            p.done();
            og::median(in, to, size, run);
        } else if (filter == "bit_depth") {
            const int bits = Parameters::whole(p.needed("bits"), "bits");
            p.done();
            og::bit_depth(in, to, bits, run);
        } else if (filter == "low_bits") {
            const int bits = Parameters::whole(p.needed("bits"), "bits");
            p.done();
            og::reset_low_bits(in, to, bits, run);
        } else if (filter == "learned") {
            const double gain = p.real("gain", 1);
            const int small = whole("small", 0);
            require(small == 0 || small == 1, "small: must be 0 or 1");
            p.done();
            context->guard.learned(in, to, small == 1, gain);
        } else if (filter == "denoise") {
            const double sigma = p.needed("sigma");
            p.done();
            context->guard.denoise(in, to, sigma);
        } else if (filter == "dct") {
            const int quality = whole("quality", 50), subsample = whole("subsample", 1), shifts = whole("shifts", 1);
            p.done();
            og::dct_quantise(in, to, quality, subsample != 0, shifts, run);
        } else if (filter == "dct_shrink") {
            const double threshold = p.needed("threshold");
            const int shifts = whole("shifts", 4);
            p.done();
            og::dct_shrink(in, to, threshold, shifts, run);
        } else if (filter == "bilateral") {
            const double color = p.real("sigma_color", 75.0), space = p.real("sigma_space", 75.0);
            const int radius = whole("radius", 4);
            p.done();
            og::bilateral(in, to, radius, color, space, run);
        } else if (filter == "guided") {
            const int radius = whole("radius", 4);
            const double eps = p.real("eps", 400.0);
            p.done();
            og::guided(in, to, radius, eps, run);
        } else if (filter == "nlm") {
            const double h = p.real("h", 10.0);
            const int search = whole("search", 10);
            p.done();
            og::nlm(in, to, h, search, run);
        } else if (filter == "total_variation") {
            const double weight = p.real("weight", 0.1);
            const int iterations = whole("iterations", 20);
            p.done();
            og::total_variation(in, to, weight, iterations, run);
        } else if (filter == "wavelet") {
            const double sigma = p.real("sigma", -1.0);
            const int shifts = whole("shifts", 4);
            p.done();
            og::wavelet_shrink(in, to, sigma, shifts, run);
        } else if (filter == "resize_pad") {
            const double smallest = p.real("smallest", 0.9), seed = p.needed("seed");
            require(seed >= 0 && seed <= 9007199254740992.0 && seed == std::floor(seed),
                    "seed: must be whole, below 2^53");
            p.done();
            og::resize_pad(in, to, smallest, static_cast<uint64_t>(seed), run);
        } else if (filter == "rotate") {
            const double degrees = p.real("degrees", 5.0);
            const int taps = whole("taps", 4);
            p.done();
            og::rotate(in, to, degrees, taps, run);
        } else if (filter == "local_contrast") {
            p.done();
            og::local_contrast(in, to, run);
        } else if (filter == "luma") {
            p.done();
            og::luma(in, to, run);
        } else {
            throw Error(Code::unsupported, "name: there is no filter '" + filter + "'");
        }
        return OG_OK;
    });
}

og_status og_resize(og_context* context, const og_image* image, const char* kernel, int32_t antialias, int64_t height,
                    int64_t width, uint8_t* out, int64_t row_stride) {
    return guarded(context, [&] {
        require(kernel != nullptr, "kernel: is null");
        const ImageView in = view_of(image);
        og::resize(in, target(out, height, width, in.channels, row_stride), og::resampler_of(kernel, antialias != 0),
                   context->guard.run);
        return OG_OK;
    });
}

og_status og_composite(og_context* context, const og_image* image, const uint8_t* background, uint8_t* out,
                       int64_t row_stride) {
    return guarded(context, [&] {
        require(background != nullptr, "background: is null");
        const ImageView in = view_of(image);
        require(in.channels == 4, "image: must be RGBA");
        ImageView rgb = in, alpha = in;
        rgb.channels = 3;
        alpha.channels = 1;
        alpha.data = in.data + 3;
        og::composite(rgb, alpha, background, target(out, in.height, in.width, 3, row_stride), context->guard.run);
        return OG_OK;
    });
}

og_status og_fill(og_context* context, const og_image* image, const double* quads, size_t count, const char* method,
                  uint8_t* out, int64_t row_stride) {
    return guarded(context, [&] {
        require(method != nullptr, "method: is null");
        require(count == 0 || quads, "quads: is null");
        const std::string how = method;
        const bool known = how == "inpaint" || how == "blur" || how == "box";
        require(known, "method: must be inpaint, blur or box");
        const ImageView in = view_of(image);
        std::vector<og::Quad> regions(count);
        for (size_t i = 0; i < count; ++i) std::copy(quads + 8 * i, quads + 8 * i + 8, regions[i].begin());
        og::fill(in, target(out, in.height, in.width, in.channels, row_stride), regions,
                 how == "inpaint" ? og::FillMethod::inpaint
                 : how == "blur"  ? og::FillMethod::blur
                                  : og::FillMethod::box);
        return OG_OK;
    });
}

og_limits og_limits_default(void) {
    const og::container::Limits ours;
    return {sizeof(og_limits), ours.bytes, ours.pixels, ours.side, ours.frames, ours.scans, ours.formats};
}

og_header og_header_init(void) {
    og_header h{};
    h.size = sizeof h;
    return h;
}

og_status og_walk(og_context* context, const void* data, size_t bytes, const og_limits* limits, og_header* header) {
    return guarded(context, [&] {
        require(data || bytes == 0, "data: is null");
        const og_limits l = limits ? taken(limits, og_limits_default(), "limits") : og_limits_default();
        og::container::Limits ours;
        ours.bytes = l.bytes, ours.pixels = l.pixels, ours.side = l.side;
        ours.frames = l.frames, ours.scans = l.scans, ours.formats = l.formats;
        const auto r = og::container::walk(static_cast<const uint8_t*>(data), bytes, ours, nullptr, 0);
        og_header h = og_header_init();
        h.format = r.format == og::container::Format::unknown ? 0 : og::container::bit(r.format);
        h.width = r.width, h.height = r.height, h.frames = r.frames, h.channels = r.channels, h.bit_depth = r.bit_depth;
        h.orientation = r.orientation, h.has_alpha = r.has_alpha, h.animated = r.animated,
        h.progressive = r.progressive;
        h.end = r.end, h.where = r.where, h.records = r.spans;
        if (header) given(header, h, "header");
        switch (r.status) {
            case og::container::Status::ok:
                return OG_OK;
            case og::container::Status::unsupported:
                throw Error(Code::format, r.reason);
            case og::container::Status::malformed:
                throw Error(Code::malformed, r.reason);
            case og::container::Status::limit:
                throw Error(Code::limit, r.reason);
        }
        return OG_ERROR_INTERNAL;
    });
}

og_status og_text_open(og_context* context, const void* weights, size_t bytes, const double* calibration,
                       og_text_model** model) {
    return guarded(context, [&] {
        require(model && weights && calibration, "weights, calibration, model: must not be null");
        *model = nullptr;
        std::unique_ptr<og_text_model> made(
            new og_text_model{og::text::Linear(std::string_view(static_cast<const char*>(weights), bytes)), {}});
        for (int k = 0; k < og::text::kClasses; ++k) {
            for (int i = 0; i < 2; ++i) {
                require(std::isfinite(calibration[2 * k + i]), "calibration: must be six finite numbers");
                made->calibration[k][i] = calibration[2 * k + i];
            }
        }
        *model = made.release();
        return OG_OK;
    });
}

void og_text_close(og_text_model* model) {
    delete model;
}

og_text_scores og_text_scores_init(void) {
    og_text_scores s{};
    s.size = sizeof s;
    return s;
}

og_status og_text_score(og_context* context, const og_text_model* model, const char* text, size_t bytes,
                        og_text_scores* scores) {
    return guarded(context, [&] {
        require(model != nullptr, "model: is null");
        require(text || bytes == 0, "text: is null");
        const og::text::Normal normal = og::text::normalize(ca::decoded(text, bytes));
        double best[og::text::kClasses] = {};
        const auto read = [&](const std::u32string& part) {
            const auto logits = model->linear.score(part).logits;
            for (size_t k = 0; k < og::text::kClasses; ++k) {
                const double z = model->calibration[k][0] * static_cast<double>(logits[k]) + model->calibration[k][1];
                best[k] = std::max(best[k], ca::sigmoid(z));
            }
        };
        read(normal.text);
        for (const auto& found : normal.found) {
            if (!found.payload.empty()) read(found.payload);
        }
        og_text_scores s = og_text_scores_init();
        s.injection = best[0], s.jailbreak = best[1], s.harmful = best[2];
        s.tricks = static_cast<int32_t>(normal.found.size());
        given(scores, s, "scores");
        return OG_OK;
    });
}

og_status og_runtime_open(og_context* context, const char* path, og_runtime** runtime) {
    return guarded(context, [&] {
        require(path && runtime, "path, runtime: must not be null");
        *runtime = nullptr;
        *runtime = new og_runtime{og::capi::Runtime(path)};
        return OG_OK;
    });
}

void og_runtime_close(og_runtime* runtime) {
    delete runtime;
}

og_status og_model_open(og_context* context, og_runtime* runtime, const void* onnx, size_t bytes, int32_t threads,
                        og_model** model) {
    return guarded(context, [&] {
        require(runtime && onnx && model, "runtime, onnx, model: must not be null");
        require(threads >= 1 && threads <= 256, "threads: must be from 1 to 256");
        *model = nullptr;
        *model = new og_model{og::capi::Model(runtime->inner, onnx, bytes, threads)};
        return OG_OK;
    });
}

void og_model_close(og_model* model) {
    delete model;
}

og_tensor og_tensor_init(void) {
    og_tensor t{};
    t.size = sizeof t;
    return t;
}

og_status og_model_run(og_context* context, og_model* model, const og_tensor* inputs, size_t input_count,
                       og_tensor* outputs, size_t output_count) {
    return guarded(context, [&] {
        require(model && inputs && outputs, "model, inputs, outputs: must not be null");
        require(input_count >= 1 && input_count <= 16 && output_count >= 1 && output_count <= 16,
                "inputs, outputs: must be from 1 to 16");
        // Arrays of this struct step by its size, so callers and library must agree on it.
        for (size_t i = 0; i < input_count; ++i)
            require(inputs[i].size == sizeof(og_tensor), "inputs: another size of og_tensor");
        for (size_t i = 0; i < output_count; ++i)
            require(outputs[i].size == sizeof(og_tensor), "outputs: another size of og_tensor");
        model->inner.run(inputs, input_count, outputs, output_count);
        return OG_OK;
    });
}

}  // extern "C"
