// What the Python package's detectors do, over the same native core: views in, findings out. Each class names the Python module
// it follows; tests/test_capi.py holds them together (the same verdicts, scores to 1e-6).
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "capi/model.hpp"
#include "capi/policy.hpp"
#include "ondevice_guard/parallel.hpp"
#include "ondevice_guard/residual.hpp"
#include "ondevice_guard/signal.hpp"
#include "ondevice_guard/text.hpp"
#include "ondevice_guard/typographic.hpp"

namespace og {
namespace capi {

using Points = std::array<double, kKinds>;  ///< operating points by kind, negative where there is none

/// A picture some model might see in place of the original: original = view * scale + offset on both axes.
struct View {
    std::string name;
    std::shared_ptr<const uint8_t> memory;
    ImageView pixels;  ///< HxWx3, packed
    double sx = 1, sy = 1, ox = 0, oy = 0;
};

/// A picture and everything derived from it (views.py).
struct Views {
    ImageView colours;        ///< HxWx3, alpha not applied
    ImageView opacity;        ///< HxW, or no data
    std::vector<View> items;  ///< the original (alpha over the background) first
    std::shared_ptr<const uint8_t> memory[2];
    SamplingGrid grid;  ///< of `colours`
};

/// Splits a picture into colours and opacity, and makes the views of these profiles. Throws `Code::unsupported` for an unknown
/// profile.
Views build_views(const ImageView& image, const std::vector<std::string>& profiles, const uint8_t background[3],
                  const Context& run);
/// Throws `Code::unsupported` unless there is such a profile.
void require_profile(const std::string& name);

/// A new picture of its own.
struct Pixels {
    std::shared_ptr<uint8_t> memory;
    MutableImageView view;
    Pixels(int64_t height, int64_t width, int channels)
        : memory(new uint8_t[static_cast<size_t>(height * width * channels)], std::default_delete<uint8_t[]>()),
          view(memory.get(), height, width, channels) {}
};

/// `scaling` and `alpha_divergence` (detectors/structural.py).
void structural(const Views& views, const Context& run, std::vector<Finding>& findings);

/// `adversarial` (detectors/adversarial.py).
class Adversarial {
  public:
    explicit Adversarial(const std::string& models);
    void look(const Views& views, const Context& run, std::vector<Finding>& findings) const;
    void points(double rate, Points& points) const;

  private:
    /// Calibrated log-odds of regions of a grid of tile sums.
    std::vector<double> logits(const std::vector<int64_t>& sums, int64_t down, int64_t across,
                               const std::vector<residual::Region>& regions) const;
    Folder folder_;
    residual::Perceptron perceptron_;
    double window_offset_, least_ = 2.0;
};

/// `unsafe_content` (detectors/content.py).
class Content {
  public:
    Content(const std::string& models, const Runtime& runtime, int threads);
    void look(const Views& views, const Context& run, std::vector<Finding>& findings) const;
    void points(double rate, Points& points) const;

  private:
    Folder folder_;
    Model network_;
    bool channels_last_, bgr_;
    int64_t resize_[2], crop_[2];
    float mean_[3], scale_[3];
    std::string output_, activation_;
    std::vector<std::string> labels_;
    std::vector<bool> unsafe_;
};

/// `injection`, `jailbreak`, `harmful`, `obfuscation` (detectors/text.py).
class Prompt {
  public:
    Prompt(const std::string& models, const Runtime& runtime, int threads);
    void read(const std::u32string& text, std::vector<Finding>& findings) const;
    void points(double rate, Points& points) const;

  private:
    struct Reading;
    struct Encoded;
    Encoded encode(const Reading& reading) const;
    Folder folder_, first_;
    Model network_;
    text::Linear linear_;
    text::WordPiece pieces_;
    double both_[text::kClasses][3], fragmented_[text::kClasses][3], share_, alone_[text::kClasses][2],
        sure_[text::kClasses];
    std::vector<bool> continues_;  ///< by piece: it goes on a word
    std::map<std::string, double> tricks_;
    int64_t window_, step_;
};

/// Lines of writing seen in one view, strongest first; see `Lines` of detectors/typographic.py.
struct Lines {
    View view{};
    std::vector<QuadF> quads{};
    std::vector<float> text{}, overlay{}, core{}, direction{}, fill{}, contrast{}, along{}, across{}, put{};
    double trace = 0;  ///< how far the map's strongest cells are laid over the view, in [0, 1]

    size_t size() const { return quads.size(); }
    float length(size_t i) const;
    float height(size_t i) const;
    float line_like(size_t i) const;
    /// 0 where a line hardly deviates from one level, 1 from 2.4 levels on.
    float ink(size_t i) const;
    float weight(size_t i) const { return core[i] * text[i] * fill[i] * line_like(i) * ink(i); }
    std::vector<float> laid() const;
    float faint(size_t i) const;
    Lines take(const std::vector<size_t>& keep) const;
    /// Corners in the original's pixels.
    Quad in_original(size_t i) const;
};

/// Strips cut out of a picture by `rectify`, each a packed grey picture.
struct Strips {
    std::vector<uint8_t> memory;
    std::vector<ImageView> views;
    Strips(const ImageView& pixels, const std::vector<QuadF>& quads, int64_t height, int64_t max_width,
           const Context& run);
};

/// Sum of float32 in NumPy's order (pairwise, eight accumulators in blocks of 128), so that statistics are the same bits.
float pairwise_sum(const float* values, size_t n);
/// Mean and standard deviation of a packed grey picture, as numpy.float32 computes them.
void mean_and_deviation(const ImageView& strip, float& mean, float& deviation);

/// What lines mean (linereader.py).
class LineReader {
  public:
    LineReader(const std::string& models, const Runtime& runtime, int threads);
    /// float32 N x width() of evidence for grey strips, 32 rows each.
    std::vector<float> read(const std::vector<ImageView>& strips) const;
    size_t width() const { return width_; }
    /// The probability that the lines give orders, and how much each takes part.
    double orders(const std::vector<float>& evidence, const Lines& lines, std::vector<float>& part) const;
    bool point(double rate, double& value) const { return folder_.point("typographic", rate, value); }

  private:
    struct Heads;
    void run(const std::vector<std::vector<uint8_t>>& strips, const std::vector<size_t>& rows,
             std::vector<float>& out) const;
    std::vector<float> meaning(const float* evidence) const;
    Folder folder_;
    Model network_;
    size_t concepts_[2], triggers_[2], facts_[2], width_ = 0;
    std::shared_ptr<const Heads> heads_;
};

/// `overlay_text`, `hidden_text`, `scaling`, `qr_code`, `typographic` (detectors/typographic.py).
class Typographic {
  public:
    Typographic(const std::string& models, const Runtime& runtime, int threads);
    void look(const Views& views, const Context& run, std::vector<Finding>& findings) const;
    void points(double rate, Points& points) const;

  private:
    /// The network's answer for each view, tile by tile where one has more pixels than a run takes.
    std::vector<std::vector<uint8_t>> maps(const std::vector<View>& views, const Context& run) const;
    /// Lines of each view, or (`fine`) only those that count where a large view is looked at in its own size.
    std::vector<Lines> lines(const std::vector<View>& views, bool fine, const Context& run) const;
    Finding finding(int kind, const Lines& lines, const std::vector<float>& part, const std::string& some,
                    const char* none, double trace = 0) const;
    Folder folder_;
    Model network_;
    LineReader reader_;
    MapCode code_;
    double curve_[2];
    float bias_, weights_[11];
};

/// What stands beside the pixels of an encoded file (decode.py): findings, and the texts that the prompt detector reads.
struct Carried {
    std::string carrier;
    std::u32string text;
};
/// Text in the lowest bits of the samples.
std::vector<Carried> low_bit_texts(const ImageView& colours, size_t limit);
/// Walks a file and judges what it carries; throws what the walk refuses, and `Code::malformed` where the picture that was
/// decoded (null: none was) is neither of the header's size nor of that turned by 90 degrees. `claimed` may be empty.
std::vector<Carried> read_file(const uint8_t* data, size_t bytes, const std::string& claimed, const ImageView* picture,
                               const Policy& policy, std::vector<Finding>& findings);
/// `metadata_text` from everything readable, if there is anything.
void metadata_finding(const std::vector<Carried>& texts, std::vector<Finding>& findings);

/// 1 / (1 + exp(-z)) without overflow.
double sigmoid(double z);
/// Well-formed UTF-8 as code points; every byte that is not part of any becomes U+FFFD.
std::u32string decoded(const char* text, size_t bytes);
/// printf into a string of at most 255 bytes.
std::string format(const char* pattern, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 1, 2)))
#endif
    ;

}  // namespace capi
}  // namespace og
