#include "ondevice_guard/typographic.hpp"

#include "bindings.hpp"

namespace og {
namespace {

std::vector<QuadF> quads_of(const py::array_t<float, py::array::c_style | py::array::forcecast>& array) {
    if (array.ndim() != 3 || array.shape(1) != 4 || array.shape(2) != 2) {
        throw Error(Code::unsupported, "quads: expected an array of shape N x 4 x 2");
    }
    std::vector<QuadF> quads(static_cast<size_t>(array.shape(0)));
    const float* p = array.data();
    for (QuadF& q : quads) {
        for (PointF& corner : q) {
            corner = {p[0], p[1]};
            p += 2;
        }
    }
    return quads;
}

/// Spans as tuples of begin, end, first and last.
py::list to_list(const std::vector<Span>& spans) {
    py::list out;
    for (const Span& s : spans) out.append(py::make_tuple(s.begin, s.end, s.first, s.last));
    return out;
}

template <class Items>
py::array_t<float> quads_to_array(const Items& items) {
    py::array_t<float> out({static_cast<py::ssize_t>(items.size()), py::ssize_t{4}, py::ssize_t{2}});
    float* p = out.mutable_data();
    for (const auto& item : items) {
        for (const PointF& corner : item.quad) {
            *p++ = corner.x;
            *p++ = corner.y;
        }
    }
    return out;
}

}  // namespace

void register_typographic(py::module_& m) {
    py::module_ sub = m.def_submodule(
        "typographic", "Where writing is; cpp/include/ondevice_guard/typographic.hpp has the mathematics.");
    const py::kw_only kw;
    sub.def(
        "patches",
        [](const py::object& image, int threads) {
            const ImageView in = image_of(image, "image");
            py::array_t<uint8_t> out({patch_cells(in.height), patch_cells(in.width), int64_t{64}});
            uint8_t* to = out.mutable_data();
            without_gil([&] { patches(in, to, context_of(threads)); });
            return out;
        },
        py::arg("image"), kw, py::arg("threads") = 0,
        "Input of the text map for a uint8 HxW or HxWx3 picture: uint8 H/4 x W/4 x 64, sides padded to multiples of 32 "
        "pixels.");
    sub.def(
        "tiling",
        [](int64_t height, int64_t width, int64_t most) {
            const Tiling t = tiling(height, width, most);
            return py::make_tuple(to_list(t.down), to_list(t.across));
        },
        py::arg("height"), py::arg("width"), py::arg("most"),
        "Tiles of at most this many pixels whose answers, put together, are the text map's of the whole picture: spans "
        "down and\n"
        "across, each (begin, end, first, last): pixels looked at, and those of them whose answer is kept.");
    sub.def(
        "find_lines",
        [](const py::array_t<uint8_t, py::array::c_style>& map, float scale, int zero, float threshold,
           int64_t min_cells, int64_t limit) {
            if (map.ndim() != 3 || map.shape(2) != 14)
                throw Error(Code::unsupported, "map: expected uint8 of shape H/8 x W/8 x 14");
            MapCode code;
            code.scale = scale;
            code.zero = zero;
            code.threshold = threshold;
            code.min_cells = min_cells;
            const uint8_t* data = map.data();
            const int64_t h = map.shape(0), w = map.shape(1);
            const std::vector<Line> lines = without_gil([&] { return find_lines(data, h, w, code, limit); });
            py::array_t<float> facts({static_cast<py::ssize_t>(lines.size()), py::ssize_t{6}});
            float* p = facts.mutable_data();
            for (const Line& l : lines) {
                for (const float value : {l.text, l.overlay, l.core, l.direction, l.fill, l.cells}) *p++ = value;
            }
            return py::make_tuple(quads_to_array(lines), facts);
        },
        py::arg("map"), kw, py::arg("scale"), py::arg("zero"), py::arg("threshold") = 0.0F, py::arg("min_cells") = 3,
        py::arg("limit") = 1024,
        "Lines in the text map's uint8 output: quads float32 N x 4 x 2 in pixels, clockwise from the start of the "
        "line, and\n"
        "facts float32 N x 6: text, overlay, core, direction, fill (all in [0, 1]) and area in 4x4-pixel cells. "
        "Largest first.");
    sub.def(
        "rectify",
        [](const py::object& image, const py::array_t<float, py::array::c_style | py::array::forcecast>& quads,
           int64_t height, int64_t max_width, int threads) {
            const ImageView in = image_of(image, "image");
            const std::vector<QuadF> q = quads_of(quads);
            const std::vector<int64_t> widths = strip_widths(q, height, max_width);
            std::vector<int64_t> offsets;
            int64_t total = 0;
            for (const int64_t width : widths) {
                offsets.push_back(total);
                total += width * height;
            }
            py::array_t<uint8_t> flat(total);
            uint8_t* to = flat.mutable_data();
            without_gil([&] { rectify(in, q, height, widths, offsets, to, context_of(threads)); });
            py::list strips;
            for (size_t i = 0; i < q.size(); ++i) {
                strips.append(
                    py::array_t<uint8_t>({height, widths[i]}, {widths[i], int64_t{1}}, to + offsets[i], flat));
            }
            return strips;
        },
        py::arg("image"), py::arg("quads"), kw, py::arg("height") = 32, py::arg("max_width") = 1024,
        py::arg("threads") = 0,
        "Lines cut out upright: for quads float N x 4 x 2 (clockwise from the start of the line, pixels) a list of "
        "uint8\n"
        "height x width grey strips, width = height * length / line height, in [height / 2, max_width].");
    sub.def(
        "find_qr",
        [](const py::object& image) {
            const ImageView in = image_of(image, "image");
            const std::vector<QrCode> codes = without_gil([&] { return find_qr(in); });
            py::array_t<float> scores(static_cast<py::ssize_t>(codes.size()));
            for (size_t i = 0; i < codes.size(); ++i) scores.mutable_data()[i] = codes[i].score;
            return py::make_tuple(quads_to_array(codes), scores);
        },
        py::arg("image"), "QR codes by their finder patterns: quads float32 N x 4 x 2 and scores float32 N in [0, 1].");
}

}  // namespace og
