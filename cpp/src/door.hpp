// What every front function does before its kernels run.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {

/// Memory for one chunk of work, kept by the thread for its next chunk: fresh pages cost more than most kernels.
class Scratch {
  public:
    /// Uninitialised bytes, aligned to 64, valid until the next Scratch of this thread is made.
    explicit Scratch(size_t bytes) : kept_(bytes <= kKeep) {
        Buffer& mine = kept_ ? buffer() : own_;
        if (mine.size < bytes) {
            mine.memory.reset(new uint8_t[bytes + 64]);
            mine.size = bytes;
        }
        const uintptr_t raw = reinterpret_cast<uintptr_t>(mine.memory.get());
        data_ = reinterpret_cast<uint8_t*>((raw + 63) & ~static_cast<uintptr_t>(63));
    }
    uint8_t* data() const { return data_; }
    template <class T>
    T* as() const {
        return reinterpret_cast<T*>(data_);
    }

  private:
    static constexpr size_t kKeep = 8u << 20;
    struct Buffer {
        std::unique_ptr<uint8_t[]> memory;
        size_t size = 0;
    };
    static Buffer& buffer() {
        static thread_local Buffer b;
        return b;
    }
    bool kept_;
    Buffer own_;
    uint8_t* data_;
};

/// The input as packed rows that do not share memory with the output: a copy only where one of the two fails.
class Packed {
  public:
    explicit Packed(const ImageView& in, const MutableImageView* out = nullptr) : view_(in) {
        if (in.rows_packed() && !(out && overlap(in, *out))) return;
        const int64_t n = in.samples_per_row();
        copy_.reset(new uint8_t[static_cast<size_t>(n * in.height)]);
        for (int64_t y = 0; y < in.height; ++y) {
            uint8_t* dst = copy_.get() + y * n;
            const uint8_t* src = in.row(y);
            if (in.rows_packed()) {
                std::memcpy(dst, src, static_cast<size_t>(n));
                continue;
            }
            for (int64_t x = 0; x < in.width; ++x) {
                for (int c = 0; c < in.channels; ++c) *dst++ = src[x * in.pixel_stride + c * in.channel_stride];
            }
        }
        view_ = ImageView(copy_.get(), in.height, in.width, in.channels);
    }
    const ImageView& view() const { return view_; }

  private:
    static void extent(const ImageView& v, uintptr_t& first, uintptr_t& last) {
        const int64_t dy = (v.height - 1) * v.row_stride, dx = (v.width - 1) * v.pixel_stride;
        const int64_t dc = (v.channels - 1) * v.channel_stride;
        const int64_t low = std::min<int64_t>(dy, 0) + std::min<int64_t>(dx, 0) + std::min<int64_t>(dc, 0);
        const int64_t high = std::max<int64_t>(dy, 0) + std::max<int64_t>(dx, 0) + std::max<int64_t>(dc, 0);
        first = reinterpret_cast<uintptr_t>(v.data) + low;
        last = reinterpret_cast<uintptr_t>(v.data) + high;
    }
    static bool overlap(const ImageView& a, const ImageView& b) {
        uintptr_t a0, a1, b0, b1;
        extent(a, a0, a1);
        extent(b, b0, b1);
        return a0 <= b1 && b0 <= a1;
    }

    ImageView view_;
    std::unique_ptr<uint8_t[]> copy_;
};

/// Mirrors an index into [0, size) without repeating the edge (reflect-101).
inline int64_t mirror(int64_t i, int64_t size) {
    if (size == 1) return 0;
    const int64_t period = 2 * size - 2;
    i = ((i % period) + period) % period;
    return i < size ? i : period - i;
}

/// Rows per chunk so that a chunk is about `samples` samples of work: below that, waking a thread costs more.
inline int64_t grain_rows(const ImageView& v, int64_t samples = 1 << 16) {
    return std::max<int64_t>(1, samples / std::max<int64_t>(1, v.samples_per_row()));
}

/// The same for rows that need nothing of the chunk before: the last chunks are a quarter, so that threads end together.
inline Grain fine_rows(const ImageView& v, int64_t samples = 1 << 16) {
    return {grain_rows(v, samples / 4), grain_rows(v, samples)};
}

}  // namespace og
