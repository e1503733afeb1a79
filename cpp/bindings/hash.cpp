#include "ondevice_guard/hash.hpp"

#include "bindings.hpp"

namespace og {

void register_hash(py::module_& m) {
    py::module_ sub = m.def_submodule("hash", "Fingerprints; cpp/include/ondevice_guard/hash.hpp has the mathematics.");
    const py::kw_only kw;
    sub.def(
        "fingerprint",
        [](const py::object& image, int threads) {
            const ImageView in = image_of(image, "image");
            const Context context = context_of(threads);
            const Fingerprint f = without_gil([&] { return fingerprint(in, context); });
            const size_t n = f.sketched ? sizeof f.sketch : 0;
            return py::make_tuple(f.dhash, f.phash, py::bytes(reinterpret_cast<const char*>(f.sketch), n));
        },
        py::arg("image"), kw, py::arg("threads") = 0,
        "(dhash, phash, sketch): two 64-bit integers and 32 bytes, or none below 64 samples a side.");
}

}  // namespace og
