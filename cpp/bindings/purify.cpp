#include "ondevice_guard/purify.hpp"

#include "bindings.hpp"
#include "ondevice_guard/random.hpp"

namespace og {
namespace {

FillMethod method_of(const std::string& name) {
    if (name == "inpaint") return FillMethod::inpaint;
    if (name == "blur") return FillMethod::blur;
    if (name == "box") return FillMethod::box;
    throw Error(Code::unsupported, "method: must be inpaint, blur or box, got '" + name + "'");
}

using Corners = std::vector<std::array<std::array<double, 2>, 4>>;

}  // namespace

void register_purify(py::module_& m) {
    py::module_ sub = m.def_submodule("purify", "Filters; cpp/include/ondevice_guard/purify.hpp has the mathematics.");
    const py::kw_only kw;
    const auto none = py::none();
    using In = const ImageView&;
    using Out = const MutableImageView&;
    using Ctx = const Context&;

    sub.def(
        "median",
        [](const py::object& image, int size, const py::object& out, int threads) {
            return filter(image, out, threads, [&](In in, Out to, Ctx context) { median(in, to, size, context); });
        },
        py::arg("image"), py::arg("size") = 3, kw, py::arg("out") = none, py::arg("threads") = 0,
        "Median of the size x size window (3 or 5), border replicated.");

    sub.def(
        "bit_depth",
        [](const py::object& image, int bits, const py::object& out, int threads) {
            return filter(image, out, threads, [&](In in, Out to, Ctx context) { bit_depth(in, to, bits, context); });
        },
        py::arg("image"), py::arg("bits"), kw, py::arg("out") = none, py::arg("threads") = 0,
        "Keep `bits` (1-8) bits of every sample, spread over 0..255 again.");

    sub.def(
        "reset_low_bits",
        [](const py::object& image, int bits, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [&](In in, Out to, Ctx context) { reset_low_bits(in, to, bits, context); });
        },
        py::arg("image"), py::arg("bits"), kw, py::arg("out") = none, py::arg("threads") = 0,
        "Overwrite the low `bits` (1-4) of every sample with its high ones.");

    sub.def(
        "dct_quantise",
        [](const py::object& image, int quality, bool subsample, int shifts, const py::object& out, int threads) {
            return filter(image, out, threads, [&](In in, Out to, Ctx context) {
                dct_quantise(in, to, quality, subsample, shifts, context);
            });
        },
        py::arg("image"), py::arg("quality") = 50, kw, py::arg("subsample") = true, py::arg("shifts") = 1,
        py::arg("out") = none, py::arg("threads") = 0,
        "A JPEG round trip without the entropy coding; the mean over `shifts` (1, 2, 4, 8) block grids.");

    sub.def(
        "dct_shrink",
        [](const py::object& image, double threshold, int shifts, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [&](In in, Out to, Ctx context) { dct_shrink(in, to, threshold, shifts, context); });
        },
        py::arg("image"), py::arg("threshold"), kw, py::arg("shifts") = 4, py::arg("out") = none,
        py::arg("threads") = 0, "Drop the 8x8 DCT coefficients below `threshold`, averaged over `shifts` block grids.");

    sub.def(
        "bilateral",
        [](const py::object& image, double sigma_color, double sigma_space, int radius, const py::object& out,
           int threads) {
            return filter(image, out, threads, [&](In in, Out to, Ctx context) {
                bilateral(in, to, radius, sigma_color, sigma_space, context);
            });
        },
        py::arg("image"), py::arg("sigma_color") = 75.0, py::arg("sigma_space") = 75.0, kw, py::arg("radius") = 4,
        py::arg("out") = none, py::arg("threads") = 0,
        "OpenCV's bilateralFilter(2 * radius + 1, sigma_color, sigma_space), within 1 for 99 % of samples.");

    sub.def(
        "guided",
        [](const py::object& image, int radius, double eps, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [&](In in, Out to, Ctx context) { guided(in, to, radius, eps, context); });
        },
        py::arg("image"), py::arg("radius") = 4, py::arg("eps") = 400.0, kw, py::arg("out") = none,
        py::arg("threads") = 0, "Self-guided filter of each channel; eps is a variance in squared sample values.");

    sub.def(
        "total_variation",
        [](const py::object& image, double weight, int iterations, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [&](In in, Out to, Ctx context) { total_variation(in, to, weight, iterations, context); });
        },
        py::arg("image"), py::arg("weight") = 0.1, py::arg("iterations") = 20, kw, py::arg("out") = none,
        py::arg("threads") = 0,
        "scikit-image's denoise_tv_chambolle(weight, eps=0, max_num_iter=iterations), within 1.");

    sub.def(
        "nlm",
        [](const py::object& image, double h, int search, const py::object& out, int threads) {
            return filter(image, out, threads, [&](In in, Out to, Ctx context) { nlm(in, to, h, search, context); });
        },
        py::arg("image"), py::arg("h") = 10.0, kw, py::arg("search") = 10, py::arg("out") = none,
        py::arg("threads") = 0, "Non-local means: OpenCV's fastNlMeansDenoising(h, 7, 2 * search + 1).");

    sub.def(
        "wavelet_shrink",
        [](const py::object& image, double sigma, int shifts, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [&](In in, Out to, Ctx context) { wavelet_shrink(in, to, sigma, shifts, context); });
        },
        py::arg("image"), py::arg("sigma") = -1.0, kw, py::arg("shifts") = 4, py::arg("out") = none,
        py::arg("threads") = 0,
        "Haar BayesShrink; sigma in sample values, -1 estimates it; averaged over `shifts` (1, 2, 4) grids.");

    sub.def(
        "resize_pad",
        [](const py::object& image, uint64_t seed, double smallest, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [&](In in, Out to, Ctx context) { resize_pad(in, to, smallest, seed, context); });
        },
        py::arg("image"), py::arg("seed"), kw, py::arg("smallest") = 0.9, py::arg("out") = none, py::arg("threads") = 0,
        "Scale to a random fraction of each side and lay it at a random place, edges repeated; a function of `seed`.");

    sub.def(
        "rotate",
        [](const py::object& image, double degrees, int taps, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [&](In in, Out to, Ctx context) { rotate(in, to, degrees, taps, context); });
        },
        py::arg("image"), py::arg("degrees") = 5.0, kw, py::arg("taps") = 4, py::arg("out") = none,
        py::arg("threads") = 0,
        "Turn about the centre by -45 to 45 degrees, size kept, borders mirrored; taps: 4 (bicubic) or 2 (bilinear).");

    sub.def(
        "random_bits", [](uint64_t seed, uint64_t counter) { return random_bits(seed, counter); }, py::arg("seed"),
        py::arg("counter"), "64 random bits, a function of (seed, counter).");

    sub.def(
        "tiles",
        [](int64_t height, int64_t width, int64_t most, int64_t halo) {
            if (height < 1 || width < 1 || most < 1)
                throw Error(Code::unsupported, "tiles: height, width and most must be positive");
            if (halo < 0 || halo % kBlockGrid != 0)
                throw Error(Code::unsupported, "tiles: halo must be a multiple of 16, got " + std::to_string(halo));
            py::list out;
            for (const Tile& t : tiles(height, width, most, halo)) {
                out.append(py::make_tuple(py::make_tuple(t.top, t.bottom, t.left, t.right),
                                          py::make_tuple(t.halo_top, t.halo_bottom, t.halo_left, t.halo_right)));
            }
            return out;
        },
        py::arg("height"), py::arg("width"), py::arg("most") = int64_t{1} << 21, py::arg("halo") = kBlockHalo,
        "Tiles of a picture for the learned purifier: ((top, bottom, left, right), the same with its halo) each.");

    sub.def(
        "blocks",
        [](const py::object& image, double level, int threads) {
            const ImageView in = image_of(image, "image");
            py::array_t<uint8_t> out({int64_t{1}, blocks_along(in.height), blocks_along(in.width), int64_t{16}});
            uint8_t* to = out.mutable_data();
            without_gil([&] { blocks(in, level, to, context_of(threads)); });
            return out;
        },
        py::arg("image"), py::arg("level"), kw, py::arg("threads") = 0,
        "Input of the learned purifier for a picture of this noise level: uint8 1 x H/2 x W/2 x 16, sides mirrored to "
        "multiples of 16 pixels.");

    sub.def(
        "subtract",
        [](const py::object& image, const py::array_t<uint8_t>& residual, const py::object& out, int threads) {
            const ImageView v = image_of(image, "image");
            const int side = residual.ndim() == 3 && residual.shape(2) == 64 ? 4 : 2;
            if (residual.ndim() != 3 || residual.shape(0) < (v.height + side - 1) / side ||
                residual.shape(1) < (v.width + side - 1) / side || residual.shape(2) != 4 * side * side ||
                residual.strides(1) != 4 * side * side || residual.strides(2) != 1) {
                throw Error(Code::unsupported,
                            "residual: expected uint8 H/2 x W/2 x 16 or H/4 x W/4 x 64 with packed rows");
            }
            return filter(image, out, threads, [&](In in, Out to, Ctx context) {
                subtract(in, residual.data(), residual.strides(0), side, to, context);
            });
        },
        py::arg("image"), py::arg("residual"), kw, py::arg("out") = none, py::arg("threads") = 0,
        "The picture less what the learned purifier answers for it: clip(image - (residual - 128)).");

    sub.def(
        "fill",
        [](const py::object& image, const Corners& quads, const std::string& method, const py::object& out,
           int threads) {
            const FillMethod how = method_of(method);
            std::vector<Quad> regions;
            for (const auto& corners : quads) {
                Quad quad{};
                for (size_t i = 0; i < 4; ++i) quad[2 * i] = corners[i][0], quad[2 * i + 1] = corners[i][1];
                regions.push_back(quad);
            }
            return filter(image, out, threads, [&](In in, Out to, Ctx) { fill(in, to, regions, how); });
        },
        py::arg("image"), py::arg("quads"), kw, py::arg("method") = "inpaint", py::arg("out") = none,
        py::arg("threads") = 0,
        "Replace the quadrilaterals ((x, y) corners, 4 each) by inpaint, blur or box; touch nothing else.");
}

}  // namespace og
