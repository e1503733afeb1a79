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

/// A network that says what to take off a picture (`_through` of purification.py): the same bytes.
class Purifier {
  public:
    Purifier(const std::string& models, const std::string& name, const Runtime& runtime, int threads)
        : folder_(models, name), network_(folder_.network(runtime, threads)) {}
    /// `level`: the noise's standard deviation, which the network is told. May run in place.
    void run(const ImageView& in, const MutableImageView& out, double level, const Context& run) const;

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
    /// place. Throws `Code::unsupported` for an unknown preset, and as `learned` where the preset needs it.
    void purify(const ImageView& in, const MutableImageView& out, const std::string& preset, bool full);
    /// The networks `purifier`, `purifier_small` and `denoiser`, loaded when first asked; may run in place. Throw
    /// `Code::unsupported` before a `load` with a runtime, for a gain outside [0.25, 4] and for a sigma outside [0, 55],
    /// `Code::model` where the network cannot be used.
    void learned(const ImageView& in, const MutableImageView& out, bool small, double gain);
    void denoise(const ImageView& in, const MutableImageView& out, double sigma);

  private:
    /// Makes the views of a picture and appends what every detector says about them; `original_` becomes the first view. Only
    /// the low bits' texts are left to the caller.
    Views look(const ImageView& image, std::vector<Finding>& findings);
    bool asked(int detector) const { return loaded_ && (policy.detectors & detector); }
    void read(const std::u32string& text, const std::string& carrier, std::vector<Finding>& findings) const;
    Points points() const;
    const Purifier& network(std::unique_ptr<Purifier>& kept, const char* name);

    bool loaded_ = false;
    std::unique_ptr<Adversarial> adversarial_;
    std::unique_ptr<Content> content_;
    std::unique_ptr<Typographic> typographic_;
    std::unique_ptr<Prompt> prompt_;
    std::unique_ptr<Purifier> purifier_, purifier_small_, denoiser_;
    std::unique_ptr<Runtime> runtime_;  // of the last load, for what is loaded when first asked
    std::string models_;
    View original_;  // of the last picture, remade where the plan says so
};

}  // namespace capi
}  // namespace og
