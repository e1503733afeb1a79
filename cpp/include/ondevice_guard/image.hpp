// Pixels at the door: a non-owning picture and the one error type.
//
// A picture is H rows of W pixels of C interleaved uint8 samples (C = 1, 3 or 4). Sample (y, x, c) lies at
//
//     data + y * row_stride + x * pixel_stride + c * channel_stride          (bytes; strides may be negative)
//
// Every public function of the core validates its pictures once, here, and throws `og::Error` when they are not usable.
// Kernels behind it trust what they get: they never validate, allocate, throw or print.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>

namespace og {

/// What went wrong; the bindings turn it into the exception class of the same meaning.
enum class Code {
    unsupported,  ///< shape, dtype or argument that is not accepted      → UnsupportedInput
    malformed,    ///< bytes that contradict themselves                   → MalformedImage
    format,       ///< a container that is not on the allow-list          → UnsupportedFormat
    limit,        ///< a size limit would be exceeded                     → LimitExceeded
    backend,      ///< an unknown or unavailable backend was forced       → BackendError
    model,        ///< weights that cannot be used                        → ModelError
};

/// The only exception the core throws on purpose (`std::bad_alloc` may pass through as well).
class Error : public std::runtime_error {
  public:
    Error(Code code, const std::string& what) : std::runtime_error(what), code_(code) {}
    Code code() const noexcept { return code_; }

  private:
    Code code_;
};

/// A non-owning HxWxC picture of uint8 samples; see the formula at the top.
template <class T>
struct BasicView {
    T* data = nullptr;
    int64_t height = 0;
    int64_t width = 0;
    int channels = 0;
    int64_t row_stride = 0;
    int64_t pixel_stride = 0;
    int64_t channel_stride = 1;

    BasicView() = default;
    /// A picture whose rows are packed; `row_stride` 0 means that the rows follow each other without a gap.
    BasicView(T* data_, int64_t height_, int64_t width_, int channels_, int64_t row_stride_ = 0)
        : data(data_),
          height(height_),
          width(width_),
          channels(channels_),
          row_stride(row_stride_ ? row_stride_ : width_ * channels_),
          pixel_stride(channels_) {}

    T* row(int64_t y) const { return data + y * row_stride; }
    /// True when the samples of one row follow each other without a gap.
    bool rows_packed() const { return channel_stride == 1 && pixel_stride == channels; }
    int64_t samples_per_row() const { return width * channels; }
    operator BasicView<const T>() const {
        BasicView<const T> v(data, height, width, channels, row_stride);
        v.pixel_stride = pixel_stride;
        v.channel_stride = channel_stride;
        return v;
    }
};

using ImageView = BasicView<const uint8_t>;
using MutableImageView = BasicView<uint8_t>;

/// Largest number of samples of one picture (2^31 - 1), so that 32-bit offsets inside a row are always safe.
constexpr int64_t kMaxSamples = 2147483647;

/// Throws `Code::unsupported` unless the picture has data, 1, 3 or 4 channels, and between 1 and kMaxSamples samples.
void require_image(const ImageView& image, const char* name);

/// `require_image`, and throws unless `out` has the given shape and packed rows.
void require_out(const MutableImageView& out, int64_t height, int64_t width, int channels, const char* name = "out");

}  // namespace og
