// A model directory `<name>_v<N>`: its config.json, and the files it names, each used only after its SHA-256 (FIPS 180-4)
// matched. The same bytes that were hashed become the network. Networks that keep tensors in another file are refused.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "capi/runtime.hpp"
#include "capi/values.hpp"

namespace og {
namespace capi {

/// An array of `heads.npz`, row-major.
struct Array {
    std::vector<int64_t> shape;
    std::vector<float> data;
};

class Folder {
  public:
    /// Opens `<directory>/<name>_v<N>` with the highest N, or exactly that name where it ends in `_v<N>`. Throws `Code::model`
    /// where there is none, or where anything of it is not what config.json says.
    Folder(const std::string& directory, const std::string& name);

    const std::string& name() const { return name_; }
    const Value& config() const { return config_; }
    /// A file's bytes; throws `Code::model` for a name that config.json does not list.
    std::string_view file(std::string_view name) const;
    /// The operating point of a kind at exactly this false-positive rate; false where none was recorded.
    bool point(std::string_view kind, double rate, double& value) const;
    /// The operating point at the largest recorded rate not above `rate`, else at the smallest; false where there is none.
    bool nearest_point(std::string_view kind, double rate, double& value) const;
    /// The graph that config.json names, as a network; its bytes are not kept.
    Model network(const Runtime& runtime, int threads);

  private:
    std::string name_;
    Value config_;
    std::vector<std::pair<std::string, std::string>> files_;
};

/// The arrays of a NumPy .npz that is not compressed: float32, float64 and integers, all as float32.
std::vector<std::pair<std::string, Array>> read_npz(std::string_view bytes);

/// SHA-256 in lower-case hexadecimal digits.
std::string sha256(std::string_view bytes);

}  // namespace capi
}  // namespace og
