// What every binding shares: numpy in, views out, errors translated, the GIL released in one place.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "ondevice_guard/image.hpp"
#include "ondevice_guard/parallel.hpp"

namespace og {
namespace py = pybind11;

/// A uint8 HxW, HxWx3 or HxWx4 array (strided and read-only welcome) as a view; anything else raises UnsupportedInput
/// that names the argument. The caller must keep the array alive.
ImageView image_of(const py::handle& object, const char* name);

/// A writeable view of an `out=` array; the core checks its shape.
MutableImageView mutable_image_of(const py::handle& object, const char* name);

/// A new uninitialised array: HxW when `channels` is 1 and `flat` is true, else HxWxC.
py::array_t<uint8_t> new_image(int64_t height, int64_t width, int channels, bool flat);

/// True for a two-dimensional array.
bool is_flat(const py::handle& object);

/// Runs f() without the GIL. The only place that releases it.
template <class F>
auto without_gil(F&& f) {
    py::gil_scoped_release release;
    return f();
}

/// A call's context: 0 threads are as many as the machine has.
inline Context context_of(int threads) {
    Context context;
    context.threads = threads;
    return context;
}

/// The common shape of a filter: f(in, out, context) with an output like the input, or the caller's `out`.
template <class F>
py::object filter(const py::object& image, const py::object& out, int threads, F&& f) {
    const ImageView in = image_of(image, "image");
    py::object result = out;
    if (out.is_none()) result = new_image(in.height, in.width, in.channels, is_flat(image));
    const MutableImageView target = mutable_image_of(result, "out");
    if (is_flat(result) != is_flat(image)) {
        throw Error(Code::unsupported, "out: must have the same number of dimensions as image");
    }
    const Context context = context_of(threads);
    without_gil([&] { f(in, target, context); });
    return result;
}

}  // namespace og
