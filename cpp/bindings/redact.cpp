#include "ondevice_guard/redact.hpp"

#include "bindings.hpp"

namespace og {
namespace {

FillMethod method_of(const std::string& name) {
    if (name == "inpaint") return FillMethod::inpaint;
    if (name == "blur") return FillMethod::blur;
    if (name == "box") return FillMethod::box;
    throw Error(Code::unsupported, "method: must be 'inpaint', 'blur' or 'box', got '" + name + "'");
}

}  // namespace

void register_redact(py::module_& m) {
    py::module_ sub = m.def_submodule("redact", "Region fill and low bits; the mathematics is in redact.hpp.");
    const py::kw_only kw;
    sub.def("fill", [](const py::object& image, const std::vector<Polygon>& regions, const std::string& method,
                       const py::object& out) {
        const FillMethod how = method_of(method);
        return filter(image, out, 1, [&](const ImageView& in, const MutableImageView& to, const Context&) {
            fill(in, to, regions, how);
        });
    }, py::arg("image"), py::arg("regions"), py::arg("method") = "inpaint", kw, py::arg("out") = py::none(),
       "Fill polygons ((x, y), ...) by 'inpaint', 'blur' or 'box'; every pixel outside them keeps its value.");
    sub.def("reset_low_bits", [](const py::object& image, int bits, const py::object& out, int threads) {
        return filter(image, out, threads, [&](const ImageView& in, const MutableImageView& to, const Context& context) {
            reset_low_bits(in, to, bits, context);
        });
    }, py::arg("image"), py::arg("bits") = 1, kw, py::arg("out") = py::none(), py::arg("threads") = 0,
       "Replace the low bits of every sample by the middle of what they could say.");
}

}  // namespace og
