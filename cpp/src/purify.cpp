#include "ondevice_guard/purify.hpp"

#include <cmath>

#include "door.hpp"
#include "kernels/kernels.hpp"
#include "kernels/purify_math.hpp"
#include "ondevice_guard/backend.hpp"
#include "ondevice_guard/random.hpp"
#include "ondevice_guard/views.hpp"
#include "plans.hpp"

namespace og {

namespace {

/// Runs kernel(src, dst, n) over every row.
template <class Row>
void every_row(const ImageView& in, const MutableImageView& out, const Context& context, Row&& row) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    parallel_for(context, v.height, fine_rows(v, 1 << 17), [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) row(v.row(y), out.row(y), v.samples_per_row());
    });
}

}  // namespace

void median(const ImageView& in, const MutableImageView& out, int size, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    if (size != 3 && size != 5) throw Error(Code::unsupported, "size: must be 3 or 5, got " + std::to_string(size));
    const PurifyKernels& k = *kernels().purify;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    const int64_t radius = size / 2;
    const auto filter = k.median_row[radius - 1];
    parallel_for(context, v.height, fine_rows(v), [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) {
            const uint8_t* rows[5];
            for (int64_t i = 0; i < size; ++i)
                rows[i] = v.row(std::min(std::max<int64_t>(y - radius + i, 0), v.height - 1));
            filter(rows, out.row(y), v.samples_per_row(), v.channels);
        }
    });
}

void bit_depth(const ImageView& in, const MutableImageView& out, int bits, const Context& context) {
    if (bits < 1 || bits > 8) throw Error(Code::unsupported, "bits: must be from 1 to 8, got " + std::to_string(bits));
    const PurifyKernels& k = *kernels().purify;
    every_row(in, out, context,
              [&](const uint8_t* src, uint8_t* dst, int64_t n) { k.bit_depth_row(src, dst, n, (1 << bits) - 1); });
}

void reset_low_bits(const ImageView& in, const MutableImageView& out, int bits, const Context& context) {
    if (bits < 1 || bits > 4) throw Error(Code::unsupported, "bits: must be from 1 to 4, got " + std::to_string(bits));
    const PurifyKernels& k = *kernels().purify;
    every_row(in, out, context,
              [&](const uint8_t* src, uint8_t* dst, int64_t n) { k.low_bits_row(src, dst, n, bits); });
}

std::vector<Tile> tiles(int64_t height, int64_t width, int64_t most, int64_t halo) {
    const auto up = [](int64_t n) { return (n + kBlockGrid - 1) / kBlockGrid * kBlockGrid; };
    const auto parts = [&](int64_t n, int64_t side) {  // of about equal length, whole grid cells but for the last
        const int64_t count = std::max<int64_t>(1, (n + side - 1) / side);
        return up((n + count - 1) / count);
    };
    const int64_t across = parts(width, std::max<int64_t>(kBlockGrid, 2 * static_cast<int64_t>(std::sqrt(most))));
    const int64_t down = parts(height, std::max<int64_t>(kBlockGrid, most / std::min(up(width), across)));
    std::vector<Tile> out;
    for (int64_t y = 0; y < height; y += down) {
        for (int64_t x = 0; x < width; x += across) {
            Tile t{};
            t.top = y, t.bottom = std::min(height, y + down), t.left = x, t.right = std::min(width, x + across);
            t.halo_top = std::max<int64_t>(0, y - halo), t.halo_bottom = std::min(height, t.bottom + halo);
            t.halo_left = std::max<int64_t>(0, x - halo), t.halo_right = std::min(width, t.right + halo);
            out.push_back(t);
        }
    }
    return out;
}

void blocks(const ImageView& in, double level, uint8_t* out, const Context& context) {
    require_image(in, "image");
    if (!(level >= 0)) throw Error(Code::unsupported, "level: must be 0 or more, got " + std::to_string(level));
    const uint8_t strength = static_cast<uint8_t>(std::floor(std::min(level * kStepsPerLevel, 255.0) + 0.5));
    const PurifyKernels& k = *kernels().purify;
    const Packed packed(in);
    const ImageView& v = packed.view();
    const int64_t wide = blocks_along(v.width) * 2;
    parallel_for(context, blocks_along(v.height), fine_rows(v), [&](int64_t begin, int64_t end) {
        const Scratch scratch(static_cast<size_t>(2 * wide) * sizeof(uint32_t));
        const auto row = [&](int64_t y) {
            y %= 2 * v.height;
            return v.row(y < v.height ? y : 2 * v.height - 1 - y);
        };
        for (int64_t y = begin; y < end; ++y)
            k.blocks_row(row(2 * y), row(2 * y + 1), v.channels, v.width, wide, strength, scratch.as<uint32_t>(),
                         out + y * wide * 8);
    });
}

void subtract(const ImageView& in, const uint8_t* residual, int64_t row_stride, int side, const MutableImageView& out,
              const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    if (side != 2 && side != 4) throw Error(Code::unsupported, "side: must be 2 or 4, got " + std::to_string(side));
    const PurifyKernels& k = *kernels().purify;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    parallel_for(context, v.height, fine_rows(v), [&](int64_t begin, int64_t end) {
        const Scratch scratch(static_cast<size_t>(2 * (v.width + 3)) * sizeof(uint32_t));
        for (int64_t y = begin; y < end; ++y)
            k.subtract_row(v.row(y), residual + y / side * row_stride + y % side * 4 * side, side, v.channels, v.width,
                           scratch.as<uint32_t>(), out.row(y));
    });
}

plans::Placement::Placement(int64_t in_height, int64_t in_width, double smallest, uint64_t seed) {
    if (!(smallest >= 0.5 && smallest <= 1.0)) {
        throw Error(Code::unsupported, "smallest: must be from 0.5 to 1, got " + std::to_string(smallest));
    }
    const auto draw = [&](uint64_t counter, int64_t side) {
        const int64_t least = std::max<int64_t>(1, static_cast<int64_t>(smallest * static_cast<double>(side)));
        return random_between(seed, counter, least, side);
    };
    height = draw(0, in_height);
    width = draw(1, in_width);
    top = random_between(seed, 2, 0, in_height - height);
    left = random_between(seed, 3, 0, in_width - width);
}

void resize_pad(const ImageView& in, const MutableImageView& out, double smallest, uint64_t seed,
                const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    const plans::Placement place(in.height, in.width, smallest, seed);
    const int64_t height = place.height, width = place.width, top = place.top, left = place.left;
    const int64_t n = width * in.channels, pixel = in.channels;
    const std::unique_ptr<uint8_t[]> memory(new uint8_t[static_cast<size_t>(height * n)]);
    const MutableImageView small(memory.get(), height, width, in.channels);
    resize(in, small, Resampler::bilinear, context);
    for (int64_t y = 0; y < in.height; ++y) {
        const uint8_t* src = small.row(std::min(std::max<int64_t>(y - top, 0), height - 1));
        uint8_t* dst = out.row(y);
        std::memcpy(dst + left * pixel, src, static_cast<size_t>(n));
        for (int64_t x = 0; x < left; ++x) std::memcpy(dst + x * pixel, src, static_cast<size_t>(pixel));
        for (int64_t x = left + width; x < in.width; ++x) {
            std::memcpy(dst + x * pixel, src + n - pixel, static_cast<size_t>(pixel));
        }
    }
}

void rotate(const ImageView& in, const MutableImageView& out, double degrees, int taps, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    if (!(degrees >= -45 && degrees <= 45))
        throw Error(Code::unsupported, "degrees: must be from -45 to 45, got " + std::to_string(degrees));
    if (taps != 2 && taps != 4) throw Error(Code::unsupported, "taps: must be 2 or 4, got " + std::to_string(taps));
    const PurifyKernels& k = *kernels().purify;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    // Twice the position, so that the centre is whole: 2^-25 pixels, of a cosine that every library rounds to the same 24 bits.
    const double angle = degrees * 3.14159265358979323846 / 180;
    const int64_t cosine = std::llround(std::cos(angle) * (1 << 24)), sine = std::llround(std::sin(angle) * (1 << 24));
    const PackedPicture picture{v.data, v.height, v.width, v.row_stride, v.channels};
    const CubicWeights weights = cubic_weights(v.channels);
    parallel_for(context, v.height, fine_rows(v), [&](int64_t begin, int64_t end) {
        for (int64_t x = 0; x < v.width; x += kTurned) {
            for (int64_t y = begin; y < end; ++y) {
                const int64_t to_x = 2 * x - (v.width - 1), to_y = 2 * y - (v.height - 1);
                const int64_t from_x = cosine * to_x - sine * to_y + (v.width - 1) * (1 << 24);
                const int64_t from_y = sine * to_x + cosine * to_y + (v.height - 1) * (1 << 24);
                const int64_t n = std::min(kTurned, v.width - x);
                uint8_t* to = out.row(y) + x * v.channels;
                if (taps == 2) {
                    k.rotate_linear_row(picture, from_x, from_y, 2 * cosine, 2 * sine, n, to);
                } else {
                    k.rotate_row(picture, weights, from_x, from_y, 2 * cosine, 2 * sine, n, to);
                }
            }
        }
    });
}

}  // namespace og
