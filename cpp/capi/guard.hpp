// The one composer: pixels, a file's bytes and text in; findings, a decision and safe pixels out (guard.py).
#pragma once

#include <memory>

#include "capi/detectors.hpp"

namespace og {
namespace capi {

/// What one request holds; parts that are not there are null.
struct Input {
    const ImageView* image = nullptr;
    const uint8_t* file = nullptr;
    size_t file_bytes = 0;
    std::string claimed{};
    const char* text = nullptr;
    size_t text_bytes = 0;
};

/// The learned purifier (`_learned` of purification.py): the same bytes.
class Purifier {
  public:
    Purifier(const std::string& models, const Runtime& runtime, int threads)
        : folder_(models, "purifier"), network_(folder_.network(runtime, threads)) {}
    /// May run in place. Throws `Code::unsupported` for a gain that is not within 0.25 and 4.
    void run(const ImageView& in, const MutableImageView& out, double gain, const Context& run) const;

  private:
    Folder folder_;
    Model network_;
};

class Guard {
  public:
    Policy policy = Policy::named("balanced");
    Context run;
    uint64_t seed = 0;

    /// Loads the detectors that the policy names. Throws `Code::model`, or `Code::unsupported` where one needs a runtime and
    /// there is none.
    void load(const std::string& models, const Runtime* runtime);
    /// Judges a request; the findings come sorted by score. `scores`: the highest of each kind that was looked for, else -1.
    /// Throws `Code::unsupported` where the policy names a detector that is not loaded.
    Outcome judge(const Input& input, std::vector<Finding>& findings, std::array<double, kKinds>& scores);
    /// Writes the safe pixels of the picture that `judge` saw last.
    void sanitize(const Outcome& outcome, const MutableImageView& out);
    /// Purifies by a preset's name (purification.py); `full`: no milder steps for a quiet picture. May run in
    /// place. Throws `Code::unsupported` for an unknown preset, and as `purifier` where the preset needs it.
    void purify(const ImageView& in, const MutableImageView& out, const std::string& preset, bool full);
    /// Loads it when first asked. Throws `Code::unsupported` before a `load` with a runtime, `Code::model` where it cannot be
    /// used.
    const Purifier& purifier();

  private:
    /// Makes the views of a picture and appends what every detector says about them; `original_` becomes the first view. Only
    /// the low bits' texts are left to the caller.
    Views look(const ImageView& image, std::vector<Finding>& findings);
    bool asked(int detector) const { return loaded_ && (policy.detectors & detector); }
    void read(const std::u32string& text, const std::string& carrier, std::vector<Finding>& findings) const;
    Points points() const;

    bool loaded_ = false;
    std::unique_ptr<Adversarial> adversarial_;
    std::unique_ptr<Content> content_;
    std::unique_ptr<Typographic> typographic_;
    std::unique_ptr<Prompt> prompt_;
    std::unique_ptr<Purifier> purifier_;
    std::unique_ptr<Runtime> runtime_;  // of the last load, for what is loaded when first asked
    std::string models_;
    View original_;  // of the last picture, remade where the plan says so
};

}  // namespace capi
}  // namespace og
