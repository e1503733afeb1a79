// The part of the corridor that needs no model: pixels in, findings, a decision, safe pixels out.
//
// It is what `Guard(policy={"detectors": ["structural"]})` does with an array; tests/test_capi.py holds the two together.
//
//   scaling           1 - 2^(-evidence^2), evidence of the sampling grid (signal.hpp)
//   alpha_divergence  1 - exp(-max(hidden / 0.12, inside / 0.12, strokes / 19.2)^2); hidden = share of the colour's edges that lie four pixels deep
//                     under alpha < 16; inside = share of the edges of partial alpha where the colour has none. An edge is a
//                     difference above 24 to the third pixel to the right or below. strokes = half the fifth highest number
//                     of crossings of alpha 128 along a row, or a column, where the colour has no edge: writing leaves most of
//                     its page clear. Looked at on every n-th pixel, about 2^20.
//   metadata_text     1 - exp(-(words / 14)^2) of the longest passage of readable text in the lowest bits
//
// A finding counts from its threshold on; the worst action of those that count decides. Sanitizing follows one order: alpha is
// laid over the background; scaling: reconstruct (signal.hpp); low bits overwritten where they carried text.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {
namespace structural {

enum class Kind { scaling, alpha_divergence, metadata_text };
constexpr int kKinds = 3;
enum class Action { ignore, flag, sanitize, block };
enum class Decision { allow, sanitized, block };

struct Finding {
    Kind kind;
    double score;      ///< in [0, 1]
    double threshold;  ///< that was applied
    Action action;     ///< what the policy asks for when it counts
    bool counts;       ///< score >= threshold, and the action is not `ignore`
    std::string why;
};

struct Policy {
    std::array<double, kKinds> thresholds{0.5, 0.5, 0.5};
    std::array<Action, kKinds> actions{Action::sanitize, Action::sanitize, Action::sanitize};
    std::array<uint8_t, 3> background{255, 255, 255};
    int low_bits = 1;  ///< overwritten where they carry text, at least 1
    int64_t side = 32768, pixels = 40'000'000;

    static Policy permissive() { return {}; }
    static Policy balanced() { return {}; }
    static Policy strict() {
        Policy p;
        p.actions[static_cast<size_t>(Kind::alpha_divergence)] = Action::block;
        p.low_bits = 2;
        return p;
    }
};

struct Result {
    Decision decision = Decision::allow;
    std::vector<Finding> findings;
    bool composite = false, descale = false, low_bits = false;  ///< the plan
};

/// Judges an HxW, HxWx3 or HxWx4 (straight alpha) picture. Throws `Code::limit` above the policy's limits.
Result check(const ImageView& image, const Policy& policy, const Context& context = {});

/// Writes the safe pixels, HxWx3, of a picture that `check` did not block.
void sanitize(const ImageView& image, const Result& result, const Policy& policy, const MutableImageView& out,
              const Context& context = {});

}  // namespace structural
}  // namespace og
