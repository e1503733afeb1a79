#include "ondevice_guard/purify.hpp"

#include "door.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"

namespace og {

void median(const ImageView& in, const MutableImageView& out, int size, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    if (size != 3) throw Error(Code::unsupported, "size: must be 3, got " + std::to_string(size));
    const PurifyKernels& k = *kernels().purify;
    const MutableImageView& target = out;
    const Packed packed(in, &target);
    const ImageView& v = packed.view();
    const int64_t n = v.samples_per_row(), step = v.channels;
    parallel_for(context, v.height, grain_rows(v), [&](int64_t begin, int64_t end) {
        const Scratch scratch(static_cast<size_t>(3 * (n + 2 * step)));
        for (int64_t y = begin; y < end; ++y) {
            const uint8_t* rows[3] = {v.row(std::max<int64_t>(y - 1, 0)), v.row(y), v.row(std::min(y + 1, v.height - 1))};
            k.median3_row(rows, out.row(y), n, step, scratch.data());
        }
    });
}

}  // namespace og
