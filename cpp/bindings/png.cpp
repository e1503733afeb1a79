#include "ondevice_guard/png.hpp"

#include <limits>
#include <string_view>

#include "bindings.hpp"

namespace og {

void register_png(py::module_& m) {
    py::module_ sub = m.def_submodule("png", "PNG files; cpp/include/ondevice_guard/png.hpp has the method.");
    sub.def(
        "encode",
        [](const py::object& image, int threads) {
            const ImageView in = image_of(image, "image");
            const Context context = context_of(threads);
            const std::vector<uint8_t> file = without_gil([&] { return encode_png(in, context); });
            return py::bytes(reinterpret_cast<const char*>(file.data()), file.size());
        },
        py::arg("image"), py::kw_only(), py::arg("threads") = 0,
        "The bytes of a PNG file of an HxW, HxWx3 or HxWx4 picture.");
    sub.def(
        "unfilter",
        [](const py::bytes& rows, int64_t height, int64_t width, int channels) -> py::object {
            if (height < 1 || width < 1 || channels < 1 || channels > 4)
                throw Error(Code::unsupported, "height, width, channels: expected a picture of 1 to 4 channels");
            const auto data = static_cast<std::string_view>(rows);
            const int64_t most = std::numeric_limits<int64_t>::max();
            if (width > (most - 1) / channels || height > most / (width * channels + 1) ||
                data.size() != static_cast<size_t>(height * (width * channels + 1)))
                throw Error(Code::unsupported, "rows: expected height * (1 + width * channels) bytes");
            py::array_t<uint8_t> out({height, width, static_cast<int64_t>(channels)});
            uint8_t* to = out.mutable_data();
            const bool known = without_gil([&] {
                return unfilter_png(reinterpret_cast<const uint8_t*>(data.data()), height, width, channels, to);
            });
            return known ? py::object(out) : py::none();
        },
        py::arg("rows"), py::arg("height"), py::arg("width"), py::arg("channels"),
        "uint8 H x W x C of an inflated PNG stream of 8-bit samples; None when a row names an unknown filter.");
}

}  // namespace og
