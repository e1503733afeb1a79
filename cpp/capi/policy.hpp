// Findings → decision and plan: `ondevice_guard.policy` of the Python package, key for key and value for value.
//
//   threshold  the user's own, else the operating point that the model recorded at the policy's false-positive rate (`fpr`, or
//              the kind's in `rates`), else 0.5 (unsafe_content: 0.8)
//   action     of a finding whose score reaches it: ignore < flag < sanitize < block; the worst one decides
//   plan       what sanitizing touches: regions to fill, a purification preset, the scaling grid, low bits
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "capi/values.hpp"
#include "ondevice_guard/ondevice_guard.h"
#include "ondevice_guard/purify.hpp"

namespace og {
namespace capi {

constexpr size_t kKinds = OG_KINDS;

/// Lower-case name of a kind, as in Python's verdicts.
const char* kind_name(int kind);

struct Finding {
    int kind = 0;
    double score = 0.0;  ///< in [0, 1]
    std::string why;
    std::string detector;
    std::string view = "original";
    std::vector<Quad> regions{};   ///< in the original's pixels
    int64_t begin = -1, end = -1;  ///< of a finding in text, in code points
    bool low_bits = false;         ///< carried by the lowest bits of the pixels
    int look = 0;            ///< 0: found in the original; n: at the n-th later look, in the picture remade so far
    int background = -1;     ///< 0xRRGGBB that shows least of what is drawn in alpha
    double period = 0;       ///< of the sampling grid, in pixels, along the axis where it is finer
    double threshold = 0.5;  ///< filled in by `decide`, as are the next two
    int action = OG_IGNORE;
    bool counts = false;
};

struct Policy {
    enum Detector { structural = 1, adversarial = 2, typographic = 4, content = 8, text = 16 };

    double fpr = 0.01;
    std::array<double, kKinds> rates;       ///< 0: fpr
    std::array<double, kKinds> thresholds;  ///< negative: not set
    std::array<int, kKinds> actions;        ///< og_action
    std::vector<std::string> profiles{"clip-336"};
    int detectors = structural | adversarial | typographic | content | text;
    std::array<uint8_t, 3> background{255, 255, 255};
    FillMethod fill = FillMethod::inpaint;
    std::string purify = "balanced";
    int low_bits = 1;
    og_limits limits;
    uint64_t ancillary = 8u << 20;  ///< bytes of metadata that are read
    size_t text_limit = 16384;      ///< characters kept of one metadata string

    /// `permissive`, `balanced` or `strict`; throws `Code::unsupported` for another name.
    static Policy named(std::string_view name);
    /// Reads a policy file (TOML): `base` names the policy to start from; without it, this one is changed.
    void read(std::string_view toml);
    /// The rate at which a kind's operating point is taken.
    double rate(int kind) const {
        return rates[static_cast<size_t>(kind)] > 0 ? rates[static_cast<size_t>(kind)] : fpr;
    }

  private:
    void merge(const Value& table);
};

struct Plan {
    std::vector<Quad> fill{};
    bool purify = false, descale = false;
    int low_bits = 0;
    int background = -1;  ///< 0xRRGGBB to lay under transparent pixels in place of the policy's

    /// The picture becomes another one before anything in it is redacted, so that it must be looked at again.
    bool remakes() const { return descale || background >= 0; }
    bool remakes_as(const Plan& other) const { return descale == other.descale && background == other.background; }
};

struct Outcome {
    og_decision decision = OG_ALLOW;
    Plan plan{};
    std::string reason{};  ///< of the worst finding that counts
};

/// Fills in threshold, action and counts of every finding, sorts them by score, and decides. `points`: operating points by kind,
/// negative where no model recorded one. `look`: the last one. What it found is redacted and purified; the background is chosen by
/// the first one alone, for what was laid over one has no alpha left.
Outcome decide(const Policy& policy, std::vector<Finding>& findings, const std::array<double, kKinds>& points,
               int look = 0);

}  // namespace capi
}  // namespace og
