#include "ondevice_guard/backend.hpp"

#include <atomic>
#include <cstdlib>
#include <mutex>

#include "kernels/kernels.hpp"
#include "ondevice_guard/image.hpp"

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace og {

#define OG_DECLARE(family, Struct) extern const Struct family##_kernels;
#ifdef OG_LEAN
// The C library reaches neither of these families' front functions, and must not carry their kernels.
#define OG_AT_hash(table) nullptr
#define OG_AT_png(table) nullptr
#else
#define OG_AT_hash(table) &table
#define OG_AT_png(table) &table
#endif
#define OG_AT_residual(table) &table
#define OG_AT_typographic(table) &table
#define OG_AT_dct(table) &table
#define OG_AT_denoise(table) &table
#define OG_AT_edge(table) &table
#define OG_AT_fill(table) &table
#define OG_AT_purify(table) &table
#define OG_AT_signal(table) &table
#define OG_AT_views(table) &table
#define OG_ENTRY(family, Struct) OG_AT_##family(OG_BACKEND::family##_kernels),
#ifdef OG_HAVE_scalar
namespace scalar {
OG_FAMILIES(OG_DECLARE)
}
#define OG_BACKEND scalar
static const Kernels kScalar = {"scalar", OG_FAMILIES(OG_ENTRY)};
#undef OG_BACKEND
#endif
#ifdef OG_HAVE_avx2
namespace avx2 {
OG_FAMILIES(OG_DECLARE)
}
#define OG_BACKEND avx2
static const Kernels kAvx2 = {"avx2", OG_FAMILIES(OG_ENTRY)};
#undef OG_BACKEND
#endif
#ifdef OG_HAVE_avx512
namespace avx512 {
OG_FAMILIES(OG_DECLARE)
}
#define OG_BACKEND avx512
static const Kernels kAvx512 = {"avx512", OG_FAMILIES(OG_ENTRY)};
#undef OG_BACKEND
#endif
#ifdef OG_HAVE_neon
namespace neon {
OG_FAMILIES(OG_DECLARE)
}
#define OG_BACKEND neon
static const Kernels kNeon = {"neon", OG_FAMILIES(OG_ENTRY)};
#undef OG_BACKEND
#endif
#undef OG_ENTRY
#undef OG_DECLARE

namespace {

struct Entry {
    const char* name;
    const Kernels* table;  // nullptr: not part of this build
    bool (*supported)();
};

bool always() {
    return true;
}

#if defined(OG_HAVE_avx2) && defined(_MSC_VER)
// CPUID leaf 7 says what the CPU has; XCR0 says what the operating system saves.
bool leaf7_ebx(unsigned bits, unsigned long long xcr0_bits) {
    int r[4];
    __cpuid(r, 1);
    const bool fma_f16c_osxsave = (r[2] & (1 << 12)) && (r[2] & (1 << 27)) && (r[2] & (1 << 29));
    if (!fma_f16c_osxsave || (_xgetbv(0) & xcr0_bits) != xcr0_bits) return false;
    __cpuidex(r, 7, 0);
    return (static_cast<unsigned>(r[1]) & bits) == bits;
}
bool has_avx2() {
    return leaf7_ebx((1u << 5) | (1u << 8), 0x6);
}
bool has_avx512() {
    return has_avx2() && leaf7_ebx((1u << 16) | (1u << 17) | (1u << 30) | (1u << 31), 0xe6);
}
#elif defined(OG_HAVE_avx2)
bool has_avx2() {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

const Entry kEntries[] = {
// priority order: the first that is compiled and supported wins
#if defined(OG_HAVE_avx2)
    {"avx512", &kAvx512, has_avx512},
    {"avx2", &kAvx2, has_avx2},
#else
    {"avx512", nullptr, always},
    {"avx2", nullptr, always},
#endif
#if defined(OG_HAVE_neon)
    {"neon", &kNeon, always},
#else
    {"neon", nullptr, always},
#endif
#if defined(OG_HAVE_scalar)
    {"scalar", &kScalar, always},
#else
    {"scalar", nullptr, always},
#endif
};

bool usable(const Entry& entry) {
    return entry.table && entry.supported();
}

const Kernels* best() {
    for (const Entry& entry : kEntries) {
        if (usable(entry)) return entry.table;
    }
    return nullptr;
}

std::string refusal(const std::string& name) {
    std::string text = "backend '" + name + "' cannot be used on this machine; usable:";
    for (const Entry& entry : kEntries) {
        if (usable(entry)) text += std::string(" ") + entry.name;
    }
    return text;
}

const Kernels* find(const std::string& name) {
    for (const Entry& entry : kEntries) {
        if (name == entry.name && usable(entry)) return entry.table;
    }
    throw Error(Code::backend, refusal(name));
}

// The choice is made at the first call and kept; null means "not chosen yet or refused", and is looked up again.
std::atomic<const Kernels*> chosen{nullptr};

const Kernels& choose() {
    const char* forced = std::getenv("ONDEVICE_GUARD_BACKEND");
    const Kernels* table = forced && *forced ? find(forced) : best();
    chosen.store(table, std::memory_order_release);
    return *table;
}

}  // namespace

const Kernels& kernels() {
    const Kernels* table = chosen.load(std::memory_order_acquire);
    return table ? *table : choose();
}

namespace backend {

std::vector<Info> list() {
    std::vector<Info> all;
    for (const Entry& entry : kEntries) all.push_back({entry.name, entry.table != nullptr, usable(entry)});
    return all;
}

std::string active() {
    return kernels().name;
}

void force(const std::string& name) {
    if (name.empty()) {
        chosen.store(nullptr, std::memory_order_release);
        choose();
    } else {
        chosen.store(find(name), std::memory_order_release);
    }
}

}  // namespace backend
}  // namespace og
