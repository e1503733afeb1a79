#include "ondevice_guard/residual.hpp"

#include <utility>
#include <vector>

#include "bindings.hpp"

namespace og {
namespace {

using Sums = py::array_t<int64_t, py::array::c_style>;
using Table = py::array_t<int64_t, py::array::c_style | py::array::forcecast>;
using Reals = py::array_t<double, py::array::c_style | py::array::forcecast>;

std::vector<residual::Region> regions_of(const Sums& sums, const Table& regions) {
    if (sums.ndim() != 3 || sums.shape(2) != residual::kSums)
        throw Error(Code::unsupported, "sums: expected int64 down x across x 82, as tile_sums makes them");
    if (regions.ndim() != 2 || regions.shape(1) != 4)
        throw Error(Code::unsupported, "regions: expected n x 4 of top, left, height, width in tiles");
    std::vector<residual::Region> wanted;
    for (py::ssize_t i = 0; i < regions.shape(0); ++i)
        wanted.push_back({regions.at(i, 0), regions.at(i, 1), regions.at(i, 2), regions.at(i, 3)});
    return wanted;
}

std::vector<double> reals_of(const Reals& array) {
    return std::vector<double>(array.data(), array.data() + array.size());
}

residual::Perceptron perceptron_of(const Reals& mean, const Reals& scale,
                                   const std::vector<std::pair<Reals, Reals>>& layers, double slope, double offset) {
    residual::Perceptron p;
    p.mean = reals_of(mean);
    p.scale = reals_of(scale);
    p.slope = slope;
    p.offset = offset;
    for (const auto& [weights, bias] : layers) {
        if (weights.ndim() != 2 || bias.ndim() != 1 || weights.shape(1) != bias.shape(0))
            throw Error(Code::unsupported, "layers: expected pairs of inputs x outputs and outputs");
        p.layers.push_back({reals_of(weights), reals_of(bias)});
    }
    if (!p.fits()) throw Error(Code::unsupported, "layers: must fit each other, 137 inputs and one output");
    return p;
}

}  // namespace

void register_residual(py::module_& m) {
    py::module_ sub =
        m.def_submodule("residual", "Noise statistics; cpp/include/ondevice_guard/residual.hpp has the mathematics.");
    sub.attr("TILE") = residual::kTile;
    sub.attr("RATIOS") = residual::kRatios;
    sub.def(
        "tile_sums",
        [](const py::object& image, int64_t every, int threads) {
            const ImageView in = image_of(image, "image");
            if (every < 1) throw Error(Code::unsupported, "every: must be at least 1, got " + std::to_string(every));
            py::array_t<int64_t> sums({residual::tiles_along(in.height, every), residual::tiles_along(in.width, every),
                                       static_cast<int64_t>(residual::kSums)});
            const Context context = context_of(threads);
            int64_t* out = sums.mutable_data();
            without_gil([&] { residual::tile_sums(in, every, out, context); });
            return sums;
        },
        py::arg("image"), py::kw_only(), py::arg("every") = 1, py::arg("threads") = 0,
        "Sums of the finest-scale residual over every `every`-th 16x16 tile: int64, tiles down x tiles across x 82.");
    sub.def(
        "ratios",
        [](const Sums& sums, const Table& regions) {
            const std::vector<residual::Region> wanted = regions_of(sums, regions);
            py::array_t<double> out({regions.shape(0), static_cast<py::ssize_t>(residual::kRatios)});
            const int64_t* in = sums.data();
            double* to = out.mutable_data();
            const int64_t down = sums.shape(0), across = sums.shape(1);
            without_gil(
                [&] { residual::ratios(in, down, across, wanted.data(), static_cast<int64_t>(wanted.size()), to); });
            return out;
        },
        py::arg("sums"), py::arg("regions"),
        "What a classifier reads of regions (n x 4: top, left, height, width in tiles) of tile sums: float64 n x 137.");
    py::class_<residual::Perceptron>(sub, "Perceptron", "The classifier of ratios.")
        .def(py::init(&perceptron_of), py::arg("mean"), py::arg("scale"), py::arg("layers"), py::arg("slope"),
             py::arg("offset"), "Layers are pairs of weights (inputs x outputs) and biases.")
        .def(
            "logits",
            [](const residual::Perceptron& self, const Sums& sums, const Table& regions) {
                const std::vector<residual::Region> wanted = regions_of(sums, regions);
                py::array_t<double> out(regions.shape(0));
                const int64_t* in = sums.data();
                double* to = out.mutable_data();
                const int64_t down = sums.shape(0), across = sums.shape(1), count = regions.shape(0);
                without_gil([&] { residual::logits(in, down, across, wanted.data(), count, self, to); });
                return out;
            },
            py::arg("sums"), py::arg("regions"), "Log-odds of regions (as in `ratios`): float64 n.");
    sub.def(
        "noise_level",
        [](const py::object& image, int threads) {
            const ImageView in = image_of(image, "image");
            const Context context = context_of(threads);
            double level = 0.0;
            without_gil([&] { level = residual::noise_level(in, context); });
            return level;
        },
        py::arg("image"), py::kw_only(), py::arg("threads") = 0,
        "Standard deviation of the picture's noise, 1/255 units, read off its chroma (of grey pictures: its luma).");
}

}  // namespace og
