// What the core and the CUDA plugin agree on: the plugin is a library of its own (static CUDA runtime), opened when asked for.
//
// The core validates, computes every table (filter weights, quantisation steps …) and hands over chains of steps; the plugin
// copies, launches and copies back. It decides nothing, so a result cannot depend on who computed a table.
//
// A job is one picture and its steps: step i reads what step i - 1 wrote, the last one's bytes are the result. Everything is
// packed, rows without gaps (only a job's input may have a row stride). Plain data, so that compilers need not agree on more.
#pragma once

#include <stdint.h>

namespace og {
namespace cuda {

constexpr uint32_t kPluginAbi = 1;  // changes whenever a struct or an Op below does

enum class Op : int32_t {
    resample_rows,     // i: weights per output; tables: first, taps, weights
    resample_columns,  // likewise
    pick,              // tables: source offsets of the columns, source rows
    lerp,              // tables: columns a then b, fractions, rows a then b, fractions; f: bias
    cubic,             // tables: four columns each, their weights, four rows each, their weights
    composite,         // i: background colour; lays the picture over it with the job's alpha
    luma,
    local_contrast,
    pad,              // i: top, left
    median,           // i: size
    bit_depth,        // i: bits
    low_bits,         // i: bits
    dct,              // i: quantise, subsample, shifts; tables: 2 x 3 x 64 int16, shifts (x, y pairs of int32)
    bilateral,        // i: taps, radius, limit, scale, factor; tables: taps (4 int16 each)
    guided,           // i: radius; f: eps
    total_variation,  // i: updates; f: weight
    nlm,              // i: search; f: scale
    wavelet,          // i: shifts; d: sigma
    patches,          // out: cells of 64 bytes
    strips,           // i: rows; tables: one StripRow for each
    residual,  // i: distance; tables: bin of each row; out: sums and squares of rows (u64), 8 x columns (u32), plane
    pack_low_bits,
    tile_sums,  // i: every, tiles down, tiles across; out: 82 sums (int64) for each tile
    count_,
};

/// Where bytes lie.
enum class Place : int32_t { host, device };

struct Table {
    const void* data;
    int64_t bytes;
};

struct Step {
    Op op;
    int32_t height, width, channels;  // of the result
    int64_t bytes;                    // of the result
    int32_t i[8];
    float f[2];
    double d;
    Table tables[4];  // in host memory
};

struct Job {
    const uint8_t* in;
    int64_t row_stride;
    int32_t height, width, channels;
    Place in_place;
    const uint8_t* alpha;  // packed, HxW; null without
    Place alpha_place;
    const Step* steps;
    int32_t count;
    uint8_t* out;
    Place out_place;
};

enum class Status : int32_t { ok, no_device, out_of_memory, unsupported, failed };

struct DeviceInfo {
    char name[256];
    int64_t memory;  // bytes
    int32_t major, minor, processors, devices;
};

struct PluginContext;

struct Plugin {
    uint32_t abi;
    uint32_t size;          // of this struct
    const char* built_for;  // "13.0: 75 80 …", or "emulator"
    int32_t (*supports)(int32_t op);
    Status (*open)(int32_t ordinal, PluginContext** context, DeviceInfo* info, char* message, int64_t size);
    void (*close)(PluginContext* context);
    /// Returns when every job is done. Not to be called from two threads at once with one context.
    Status (*run)(PluginContext* context, const Job* jobs, int64_t count, char* message, int64_t size);
    Status (*allocate)(PluginContext* context, int64_t bytes, void** at);
    void (*release)(PluginContext* context, void* at);
};

/// The plugin's only symbol: null when it speaks another version than the caller.
using PluginEntry = const Plugin* (*)(uint32_t abi);
constexpr const char* kPluginSymbol = "ondevice_guard_cuda_plugin";

}  // namespace cuda
}  // namespace og
