// ONNX Runtime from a library that the host names, through its C interface.
//
// That interface is a table of functions which only ever grows at its end; what is used here is as old as version 1 of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ondevice_guard/ondevice_guard.h"

namespace og {
namespace capi {

class Runtime {
  public:
    /// Throws `Code::backend` when the library cannot be opened, is none, or is older than 1.17.
    explicit Runtime(const char* path);

    struct Parts;
    const std::shared_ptr<Parts>& parts() const { return parts_; }

  private:
    std::shared_ptr<Parts> parts_;  // shared with its models, so that the order of closing does not matter
};

class Model {
  public:
    /// Throws `Code::model` when the bytes are no network the library accepts.
    Model(const Runtime& runtime, const void* onnx, size_t bytes, int threads);
    void run(const og_tensor* inputs, size_t input_count, og_tensor* outputs, size_t output_count);

    /// What one run of a network with one input answers.
    struct Answer {
        int type = 0;  ///< og_type
        std::vector<int64_t> shape;
        std::vector<uint8_t> bytes;
        /// The numbers of a float32 answer; throws `Code::model` for another type.
        const float* floats() const;
        size_t count() const;
    };
    /// Runs the network on its one input. `output` names what to compute; empty: the first output.
    Answer run(int type, const std::vector<int64_t>& shape, const void* data, size_t bytes,
               const std::string& output = {}) const;

  private:
    struct Parts;
    std::shared_ptr<Parts> parts_;
};

}  // namespace capi
}  // namespace og
