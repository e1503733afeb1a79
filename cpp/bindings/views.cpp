#include "ondevice_guard/views.hpp"

#include "bindings.hpp"

namespace og {
namespace {

/// `out` where given, else a new array.
py::object target_of(const py::object& out, int64_t height, int64_t width, int channels, bool flat) {
    if (!out.is_none()) return out;
    return new_image(height, width, channels, flat);
}

void require_size(int64_t height, int64_t width) {
    if (height < 1 || width < 1) {
        throw Error(Code::unsupported,
                    "height, width: must be at least 1, got " + std::to_string(height) + " x " + std::to_string(width));
    }
    if (height > kMaxSamples / 4 || width > kMaxSamples / 4 / height) {
        throw Error(Code::limit, "height, width: " + std::to_string(height) + " x " + std::to_string(width) +
                                     " is more than 2^29 pixels");
    }
}

using Colour = std::array<uint8_t, 3>;

/// One request of `build` and the array it fills.
ViewRequest request_of(const py::tuple& spec, const ImageView& image, py::list& outputs) {
    const auto wrong = [] {
        throw Error(Code::unsupported,
                    "requests: each is ('resize', kernel, antialias, height, width), ('over', (r, g, b)), ('luma',) or "
                    "('contrast',)");
    };
    ViewRequest request;
    py::array_t<uint8_t> output;
    try {
        const std::string kind = spec.empty() ? "" : spec[0].cast<std::string>();
        if (kind == "resize" && spec.size() == 5) {
            const int64_t height = spec[3].cast<int64_t>(), width = spec[4].cast<int64_t>();
            require_size(height, width);
            request.kernel = resampler_of(spec[1].cast<std::string>(), spec[2].cast<bool>());
            output = new_image(height, width, 3, false);
        } else if (kind == "over" && spec.size() == 2) {
            const Colour colour = spec[1].cast<Colour>();
            request.kind = ViewRequest::Kind::over;
            std::copy(colour.begin(), colour.end(), request.colour);
            output = new_image(image.height, image.width, 3, false);
        } else if (kind == "luma" && spec.size() == 1) {
            request.kind = ViewRequest::Kind::luma;
            output = new_image(image.height, image.width, 1, true);
        } else if (kind == "contrast" && spec.size() == 1) {
            request.kind = ViewRequest::Kind::contrast;
            output = new_image(image.height, image.width, 3, false);
        } else {
            wrong();
        }
    } catch (const py::cast_error&) {
        wrong();
    }
    request.out = mutable_image_of(output, "out");
    outputs.append(output);
    return request;
}

}  // namespace

void register_views(py::module_& m) {
    py::module_ sub = m.def_submodule("views", "Resampling, compositing, contrast; the mathematics is in views.hpp.");
    const py::kw_only kw;
    const auto none = py::none();

    sub.def(
        "resize",
        [](const py::object& image, int64_t height, int64_t width, const std::string& kernel, bool antialias,
           const py::object& out, int threads) {
            const ImageView in = image_of(image, "image");
            require_size(height, width);
            const Resampler resampler = resampler_of(kernel, antialias);
            py::object result = target_of(out, height, width, in.channels, is_flat(image));
            const MutableImageView target = mutable_image_of(result, "out");
            require_out(target, height, width, in.channels);
            without_gil([&] { resize(in, target, resampler, context_of(threads)); });
            return result;
        },
        py::arg("image"), py::arg("height"), py::arg("width"), py::arg("kernel") = "bicubic", kw,
        py::arg("antialias") = true, py::arg("out") = none, py::arg("threads") = 0,
        "Scale to height x width. Antialiased kernels are Pillow's bit for bit, the others OpenCV's and torch's within "
        "1.");

    sub.def(
        "composite",
        [](const py::object& image, const py::object& alpha, const Colour& background, const py::object& out,
           int threads) {
            const ImageView in = image_of(image, "image"), opacity = image_of(alpha, "alpha");
            py::object result = target_of(out, in.height, in.width, 3, false);
            const MutableImageView target = mutable_image_of(result, "out");
            without_gil([&] { composite(in, opacity, background.data(), target, context_of(threads)); });
            return result;
        },
        py::arg("image"), py::arg("alpha"), py::arg("background"), kw, py::arg("out") = none, py::arg("threads") = 0,
        "Lay an HxWx3 picture with its HxW alpha over a colour, rounded to nearest.");

    sub.def(
        "luma",
        [](const py::object& image, const py::object& out, int threads) {
            const ImageView in = image_of(image, "image");
            py::object result = target_of(out, in.height, in.width, 1, true);
            const MutableImageView target = mutable_image_of(result, "out");
            without_gil([&] { luma(in, target, context_of(threads)); });
            return result;
        },
        py::arg("image"), kw, py::arg("out") = none, py::arg("threads") = 0, "Y = (77 R + 150 G + 29 B + 128) >> 8.");

    sub.def(
        "local_contrast",
        [](const py::object& image, const py::object& out, int threads) {
            const ImageView in = image_of(image, "image");
            py::object result = target_of(out, in.height, in.width, 3, false);
            const MutableImageView target = mutable_image_of(result, "out");
            without_gil([&] { local_contrast(in, target, context_of(threads)); });
            return result;
        },
        py::arg("image"), kw, py::arg("out") = none, py::arg("threads") = 0,
        "128 + 32 (c - mean) / (std + 2) over 15 x 15, border reflect-101, for c = Y, R - G, B - Y.");

    sub.def(
        "build",
        [](const py::object& image, const std::vector<py::tuple>& requests, const py::object& alpha,
           const Colour& background, int threads) {
            const ImageView in = image_of(image, "image");
            const ImageView opacity = alpha.is_none() ? ImageView() : image_of(alpha, "alpha");
            py::list outputs;
            std::vector<ViewRequest> wanted;
            for (const py::tuple& spec : requests) wanted.push_back(request_of(spec, in, outputs));
            without_gil([&] { build(in, opacity, background.data(), wanted, context_of(threads)); });
            return outputs;
        },
        py::arg("image"), py::arg("requests"), kw, py::arg("alpha") = none,
        py::arg("background") = Colour{255, 255, 255}, py::arg("threads") = 0,
        "Make every requested view of one HxWx3 picture in one call. A request is ('resize', kernel, antialias, "
        "height, "
        "width), ('over', (r, g, b)), ('luma',) or ('contrast',); all but 'over' see the picture over `background`.");
}

}  // namespace og
