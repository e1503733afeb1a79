#include "ondevice_guard/signal.hpp"

#include "bindings.hpp"

namespace og {

void register_signal(py::module_& m) {
    py::module_ sub =
        m.def_submodule("signal", "Statistics; cpp/include/ondevice_guard/signal.hpp has the mathematics.");
    const py::kw_only kw;
    py::class_<SamplingGrid>(sub, "SamplingGrid", "The sampling grid that stands out most.")
        .def_readonly("evidence", &SamplingGrid::evidence)
        .def_readonly("log_ratio", &SamplingGrid::log_ratio)
        .def_readonly("z", &SamplingGrid::z)
        .def_readonly("shift", &SamplingGrid::shift)
        .def_readonly("shift_z", &SamplingGrid::shift_z)
        .def_readonly("frequency_y", &SamplingGrid::frequency_y)
        .def_readonly("frequency_x", &SamplingGrid::frequency_x);
    sub.def(
        "sampling_grid",
        [](const py::object& image, int threads) {
            const ImageView in = image_of(image, "image");
            const Context context = context_of(threads);
            return without_gil([&] { return sampling_grid(in, context); });
        },
        py::arg("image"), kw, py::arg("threads") = 0, "Search HxW or HxWx3 for the grid of an image-scaling attack.");
    sub.def(
        "reconstruct",
        [](const py::object& image, const py::object& out, int threads) {
            return filter(image, out, threads,
                          [](const ImageView& in, const MutableImageView& to, const Context& context) {
                              reconstruct(in, to, context);
                          });
        },
        py::arg("image"), kw, py::arg("out") = py::none(), py::arg("threads") = 0,
        "Rebuild a picture from the pixels that the resize of its sampling grid does not read.");
    sub.def(
        "low_bit_text",
        [](const py::object& image) {
            const ImageView in = image_of(image, "image");
            const std::vector<LowBitText> found = without_gil([&] { return low_bit_text(in); });
            std::vector<std::pair<std::string, std::string>> result;
            for (const LowBitText& t : found) result.emplace_back(t.order, t.text);
            return result;
        },
        py::arg("image"), "(order, text) for every order in which the lowest bits spell printable ASCII.");
}

}  // namespace og
