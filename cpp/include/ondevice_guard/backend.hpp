// Which instruction set runs the kernels.
//
// Every kernel is one plain loop, compiled once per instruction set; all of them return the same bits, so the choice
// changes time and nothing else. Priority, first that this CPU can run:
//
//     x86-64:  avx512 (F, BW, VL, DQ)  >  avx2 (+FMA, F16C, BMI2)  >  scalar (the compiler's baseline, SSE2)
//     arm64:   neon (the baseline)              elsewhere:  scalar
//
// The environment variable ONDEVICE_GUARD_BACKEND forces one by name; `force` overrides both. A name that is unknown, or
// that this CPU cannot run, never falls back: every later call throws `Code::backend` until a valid one is chosen.
#pragma once

#include <string>
#include <vector>

namespace og {

struct Kernels;

namespace backend {

struct Info {
    const char* name;
    bool compiled;   ///< part of this build
    bool supported;  ///< this CPU can run it
};

/// Every backend known to this version, fastest first.
std::vector<Info> list();
/// Name of the backend in use. Throws `Code::backend` when an unusable one is forced.
std::string active();
/// Use the named backend from now on in this process; an empty name returns to the environment or the CPU's best.
void force(const std::string& name);

}  // namespace backend

/// The function table in use. Throws `Code::backend` when an unusable backend is forced.
const Kernels& kernels();

}  // namespace og
