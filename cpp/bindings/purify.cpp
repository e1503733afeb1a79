#include "ondevice_guard/purify.hpp"

#include "bindings.hpp"

namespace og {

void register_purify(py::module_& m) {
    py::module_ sub = m.def_submodule("purify", "Filters; cpp/include/ondevice_guard/purify.hpp has the mathematics.");
    const py::kw_only kw;
    sub.def("median", [](const py::object& image, int size, const py::object& out, int threads) {
        return filter(image, out, threads, [&](const ImageView& in, const MutableImageView& to, const Context& context) {
            median(in, to, size, context);
        });
    }, py::arg("image"), py::arg("size") = 3, kw, py::arg("out") = py::none(), py::arg("threads") = 0,
       "Median of the size x size window (3 or 5), border replicated.");
}

}  // namespace og
