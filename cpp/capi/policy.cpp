#include "capi/policy.hpp"

#include <algorithm>
#include <cmath>

#include "ondevice_guard/image.hpp"

namespace og {
namespace capi {
namespace {

/// Names and actions by og_kind.
struct KindFacts {
    const char* name;
    int8_t balanced, permissive, strict;
    bool fills;
};
constexpr int8_t kI = OG_IGNORE, kF = OG_FLAG, kS = OG_SANITIZE, kB = OG_BLOCK;
constexpr KindFacts kFacts[] = {
    {"scaling", kS, kS, kS, false},
    {"alpha_divergence", kS, kS, kB, false},
    {"metadata_text", kS, kS, kS, false},
    {"malformed", kB, kB, kB, false},
    {"type_mismatch", kF, kI, kB, false},
    {"trailing_data", kS, kS, kS, false},
    {"thumbnail_mismatch", kS, kS, kS, false},
    {"extra_frames", kS, kS, kS, false},
    {"adversarial", kS, kS, kS, false},
    {"typographic", kS, kS, kB, true},
    {"overlay_text", kF, kI, kS, true},
    {"hidden_text", kS, kS, kB, true},
    {"qr_code", kF, kI, kS, true},
    {"unsafe_content", kB, kB, kB, false},
    {"injection", kB, kB, kB, false},
    {"jailbreak", kB, kB, kB, false},
    {"harmful", kB, kB, kB, false},
    {"obfuscation", kF, kI, kB, false},
    {"delegation", kF, kF, kB, false},
    {"split_payload", kB, kB, kB, true},
    {"harmful_response", kB, kB, kB, false},
    {"canary_leak", kB, kB, kB, false},
    {"unrequested_action", kF, kF, kB, false},
};
static_assert(sizeof kFacts / sizeof *kFacts == kKinds, "one line for each og_kind");

constexpr const char* kActions[] = {"ignore", "flag", "sanitize", "block"};
/// `response` reads answers; a policy file may name it, and nothing here asks for it.
constexpr const char* kDetectors[] = {"structural", "adversarial", "typographic", "content", "text", "response"};
constexpr const char* kPresets[] = {"fast", "balanced", "strong", "randomized"};
constexpr const char* kFormats[] = {"png", "jpeg", "webp", "gif",
                                    "bmp", "tiff", "avif"};  // bit i + 1 of og_limits.formats
/// Keys of chat messages, fetching and answers: a policy file may have them, and nothing here asks for them.
constexpr const char* kOthers[] = {"name",          "fitted_on",   "allow_hosts", "allow_private_hosts",
                                   "fetch_seconds", "local_paths", "allow_parts", "trusted_roles",
                                   "max_images",    "shield"};

[[noreturn]] void refuse(const std::string& why) {
    throw Error(Code::unsupported, "policy: " + why);
}

template <size_t N>
int index_of(const char* const (&names)[N], const Value& v, const std::string& what) {
    if (v.kind == Value::Kind::text) {
        for (size_t i = 0; i < N; ++i) {
            if (v.text == names[i]) return static_cast<int>(i);
        }
    }
    std::string known;
    for (const char* name : names) known += std::string(known.empty() ? "" : ", ") + name;
    refuse(what + " must be one of " + known);
}

double number(const Value& v, const std::string& what, double low, double high) {
    if (v.kind != Value::Kind::number || !(v.number >= low && v.number <= high))
        refuse(what + " is not a number in its range");
    return v.number;
}

const std::vector<Value>& list(const Value& v, const std::string& what) {
    if (v.kind != Value::Kind::list) refuse(what + " must be a list");
    return v.list;
}

const std::vector<std::pair<std::string, Value>>& table(const Value& v, const std::string& what) {
    if (v.kind != Value::Kind::table) refuse(what + " must be a table");
    return v.table;
}

size_t kind_of(const std::string& name, const char* where) {
    for (size_t k = 0; k < kKinds; ++k) {
        if (name == kFacts[k].name) return k;
    }
    refuse(std::string(where) + ": unknown finding kind " + name);
}

bool in_text(int kind) {
    return kind >= OG_INJECTION && kind <= OG_OBFUSCATION;
}

/// Text that only metadata or a QR code carries is dropped with its carrier, so it need not block the picture unless the policy
/// blocks on that carrier.
int action_of(const Policy& policy, const Finding& f) {
    const int action = policy.actions[static_cast<size_t>(f.kind)];
    if (in_text(f.kind) && action == OG_BLOCK) {
        if (f.view.compare(0, 9, "metadata:") == 0) return policy.actions[OG_METADATA_TEXT];
        if (f.view.compare(0, 3, "qr:") == 0) return policy.actions[OG_QR_CODE] == OG_BLOCK ? OG_BLOCK : OG_SANITIZE;
    }
    return action;
}

}  // namespace

const char* kind_name(int kind) {
    return kind >= 0 && kind < static_cast<int>(kKinds) ? kFacts[kind].name : "";
}

Policy Policy::named(std::string_view name) {
    Policy p;
    p.limits = og_limits_default();
    p.rates.fill(0);
    p.thresholds.fill(-1);
    const bool permissive = name == "permissive", strict = name == "strict";
    if (!permissive && !strict && name != "balanced")
        refuse("unknown policy " + std::string(name) + "; use permissive, balanced or strict");
    for (size_t k = 0; k < kKinds; ++k)
        p.actions[k] = permissive ? kFacts[k].permissive : strict ? kFacts[k].strict : kFacts[k].balanced;
    if (permissive) p.fpr = 0.002, p.purify = "fast";
    if (strict) p.fpr = 0.03, p.fill = FillMethod::box, p.purify = "strong", p.low_bits = 2;
    return p;
}

void Policy::read(std::string_view toml) {
    const Value all = parse_toml(toml);
    Policy changed = *this;
    if (const Value* base = all.find("base")) {
        if (base->kind != Value::Kind::text) refuse("base must be a string");
        changed = named(base->text);
    }
    changed.merge(all);
    *this = std::move(changed);
}

void Policy::merge(const Value& all) {
    for (const auto& [key, v] : all.table) {
        if (key == "base") continue;
        if (key == "fpr") {
            fpr = number(v, key, 0, 1);
            if (fpr <= 0 || fpr >= 1) refuse("fpr must be between 0 and 1");
        } else if (key == "rates") {
            for (const auto& [name, rate] : table(v, key)) {
                const size_t k = kind_of(name, "rates");
                rates[k] = number(rate, "rates." + name, 0, 1);
                if (rates[k] <= 0 || rates[k] >= 1) refuse("rates." + name + " must be between 0 and 1");
            }
        } else if (key == "thresholds") {
            for (const auto& [name, value] : table(v, key))
                thresholds[kind_of(name, "thresholds")] = number(value, "thresholds." + name, 0, 1);
        } else if (key == "actions") {
            for (const auto& [name, action] : table(v, key))
                actions[kind_of(name, "actions")] = index_of(kActions, action, "actions." + name);
        } else if (key == "limits") {
            for (const auto& [name, value] : table(v, key)) {
                if (name == "formats") {
                    limits.formats = 0;
                    for (const Value& format : list(value, "limits.formats"))
                        limits.formats |= 2u << index_of(kFormats, format, "limits.formats");
                    continue;
                }
                const double n = std::floor(number(value, "limits." + name, 0, 9007199254740992.0));
                if (value.number <= 0) refuse("limits." + name + " must be positive");
                const auto small = static_cast<uint32_t>(std::min(n, 4294967295.0));
                if (name == "bytes")
                    limits.bytes = static_cast<uint64_t>(n);
                else if (name == "pixels")
                    limits.pixels = static_cast<uint64_t>(n);
                else if (name == "side")
                    limits.side = small;
                else if (name == "frames")
                    limits.frames = small;
                else if (name == "scans")
                    limits.scans = small;
                else if (name == "ancillary")
                    ancillary = static_cast<uint64_t>(n);
                else if (name == "text")
                    text_limit = small;
                else if (name != "seconds")
                    refuse("limits: unknown key " + name);  // decoding is the host's, and its time
            }
        } else if (key == "profiles") {
            profiles.clear();
            for (const Value& name : list(v, key)) {
                if (name.kind != Value::Kind::text) refuse("profiles must be a list of strings");
                profiles.push_back(name.text);
            }
        } else if (key == "detectors") {
            detectors = 0;
            for (const Value& name : list(v, key)) detectors |= 1 << index_of(kDetectors, name, key);
        } else if (key == "background") {
            if (list(v, key).size() != 3) refuse("background must be three integers from 0 to 255");
            for (size_t i = 0; i < 3; ++i) {
                if (!v.list[i].whole) refuse("background must be three integers from 0 to 255");
                background[i] = static_cast<uint8_t>(number(v.list[i], key, 0, 255));
            }
        } else if (key == "fill_method") {
            constexpr const char* names[] = {"inpaint", "blur", "box"};
            constexpr FillMethod methods[] = {FillMethod::inpaint, FillMethod::blur, FillMethod::box};
            fill = methods[index_of(names, v, key)];
        } else if (key == "purify") {
            purify = kPresets[index_of(kPresets, v, key)];
        } else if (key == "low_bits") {
            if (!v.whole) refuse("low_bits must be an integer from 0 to 4");
            low_bits = static_cast<int>(number(v, key, 0, 4));
        } else if (std::none_of(std::begin(kOthers), std::end(kOthers),
                                [&](const char* name) { return key == name; })) {
            refuse("unknown key " + key);
        }
    }
    if (actions[OG_MALFORMED] != OG_BLOCK) refuse("actions.malformed must stay block: there are no pixels to hand out");
}

/// A rebuilt picture that still scores this much on `scaling`, on a grid of so short a period, is not handed out; why:
/// `UNMENDED` and `SPARED` in policy.py.
constexpr double kUnmended = 0.79, kSpared = 2.1;

Outcome decide(const Policy& policy, std::vector<Finding>& findings, const std::array<double, kKinds>& points,
               int look) {
    std::vector<Finding*> counted;
    std::stable_sort(findings.begin(), findings.end(),
                     [](const Finding& a, const Finding& b) { return a.score > b.score; });
    for (Finding& f : findings) {
        const auto k = static_cast<size_t>(f.kind);
        f.threshold = policy.thresholds[k] >= 0     ? policy.thresholds[k]
                      : points[k] >= 0              ? points[k]
                      : f.kind == OG_UNSAFE_CONTENT ? 0.8
                                                    : 0.5;
        f.action = action_of(policy, f);
        f.counts = f.score >= f.threshold && f.action != OG_IGNORE;
        if (f.counts) counted.push_back(&f);
    }
    std::stable_sort(counted.begin(), counted.end(),
                     [](const Finding* a, const Finding* b) { return a->action > b->action; });
    Outcome out;
    if (counted.empty()) return out;
    out.reason =
        std::string(kind_name(counted[0]->kind)) + " (" + kActions[counted[0]->action] + "): " + counted[0]->why;
    if (counted[0]->action == OG_BLOCK) {
        out.decision = OG_BLOCK_DECISION;
        return out;
    }
    const auto scaling = [](const Finding* f) { return f->kind == OG_SCALING && f->action == OG_SANITIZE; };
    const bool rebuilt =
        std::any_of(counted.begin(), counted.end(), [&](const Finding* f) { return scaling(f) && f->look < look; });
    for (const Finding& f : findings) {
        if (!rebuilt || f.kind != OG_SCALING || f.look != look || f.score < kUnmended || f.period > kSpared) continue;
        out.decision = OG_BLOCK_DECISION;
        out.reason = "scaling (block): " + f.why + " Rebuilding the picture does not change that.";
        return out;
    }
    for (const Finding* f : counted) {
        if (f->action != OG_SANITIZE) continue;
        out.decision = OG_SANITIZED;
        out.plan.descale |= f->kind == OG_SCALING;
        if (f->low_bits) out.plan.low_bits = std::max(policy.low_bits, 1);
        if (f->look == 0 && f->background >= 0 && out.plan.background < 0) out.plan.background = f->background;
        if (f->look != look) continue;
        out.plan.purify |= f->kind == OG_ADVERSARIAL;
        if (!kFacts[f->kind].fills && f->view.compare(0, 3, "qr:") != 0) continue;
        for (const Quad& q : f->regions) {
            if (std::find(out.plan.fill.begin(), out.plan.fill.end(), q) == out.plan.fill.end())
                out.plan.fill.push_back(q);
        }
    }
    return out;
}

}  // namespace capi
}  // namespace og
