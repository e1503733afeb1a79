// The one place where `src` (which validates and schedules) meets the kernels (which loop over pixels).
//
// A family is a file <family>.inl beside this one: plain row loops inside `namespace og::OG_ISA`, compiled once per
// instruction set by a wrapper that CMake writes, and exporting exactly one symbol, `const <Family>Kernels <family>_kernels`.
// To add one: write <family>.inl, declare its struct in <family>_kernels.hpp, and add its line to OG_FAMILIES below.
//
// Rules inside an .inl: no STL header, no allocation, no exceptions, no static state; every helper is `static`; integer
// arithmetic, or float arithmetic whose order is written out (so that no compiler may regroup a sum).
#pragma once

#include "kernels/dct_kernels.hpp"
#include "kernels/denoise_kernels.hpp"
#include "kernels/edge_kernels.hpp"
#include "kernels/fill_kernels.hpp"
#include "kernels/hash_kernels.hpp"
#include "kernels/png_kernels.hpp"
#include "kernels/purify_kernels.hpp"
#include "kernels/residual_kernels.hpp"
#include "kernels/signal_kernels.hpp"
#include "kernels/typographic_kernels.hpp"
#include "kernels/views_kernels.hpp"

//       family  struct
#define OG_FAMILIES(X)                 \
    X(dct, DctKernels)                 \
    X(denoise, DenoiseKernels)         \
    X(edge, EdgeKernels)               \
    X(fill, FillKernels)               \
    X(hash, HashKernels)               \
    X(png, PngKernels)                 \
    X(purify, PurifyKernels)           \
    X(residual, ResidualKernels)       \
    X(signal, SignalKernels)           \
    X(typographic, TypographicKernels) \
    X(views, ViewsKernels)

namespace og {

/// One backend: a pointer to the function table of every family.
struct Kernels {
    const char* name;
#define OG_MEMBER(family, Struct) const Struct* family;
    OG_FAMILIES(OG_MEMBER)
#undef OG_MEMBER
};

}  // namespace og
