#include "door.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"
#include "ondevice_guard/purify.hpp"
#include "plans.hpp"

namespace og {
namespace {

// ITU-T T.81, tables K.1 and K.2, in rows of increasing vertical frequency.
const int kLumaSteps[64] = {16, 11, 10, 16, 24,  40,  51,  61,  12, 12, 14, 19, 26,  58,  60,  55,
                            14, 13, 16, 24, 40,  57,  69,  56,  14, 17, 22, 29, 51,  87,  80,  62,
                            18, 22, 37, 56, 68,  109, 103, 77,  24, 35, 55, 64, 81,  104, 113, 92,
                            49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99};
const int kChromaSteps[64] = {17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
                              99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
                              99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99};

/// Factor by which the five-product transform scales frequency k: cos(k pi / 16) sqrt 2, and 1 for k = 0.
double scale_of(int k) {
    static const double scale[8] = {1.0, 1.387039845, 1.306562965, 1.175875602,
                                    1.0, 0.785694958, 0.541196100, 0.275899379};
    return scale[k];
}

/// Quantising: the inverse transform takes factors of a quarter, so a step is moved to the nearest of those and the forward
/// divisor follows it; the pair is exactly consistent.
DctTables quantise_tables(const int* steps, int quality) {
    DctTables t{};
    const int percent = quality < 50 ? 5000 / quality : 200 - 2 * quality;  // libjpeg's jpeg_quality_scaling
    for (int k = 0; k < 8; ++k) {
        for (int v = 0; v < 8; ++v) {
            const int step = std::min(255, std::max(1, (steps[v * 8 + k] * percent + 50) / 100));
            const int quarters = std::max(1, static_cast<int>(step * scale_of(k) * scale_of(v) * 4.0 + 0.5));
            t.step[k * 8 + v] = static_cast<int16_t>(quarters);
            t.recip[k * 8 + v] = static_cast<int16_t>(32768.0 / (2.0 * quarters) + 0.5);
        }
    }
    return t;
}

/// Shrinking: the forward transform returns 8 * scale * c, the inverse takes 4 * scale * c.
DctTables shrink_tables(double threshold) {
    DctTables t{};
    for (int k = 0; k < 8; ++k) {
        for (int v = 0; v < 8; ++v) {
            t.step[k * 8 + v] = 16384;
            const double keep = std::min(32767.0, threshold * 8.0 * scale_of(k) * scale_of(v) + 0.5);
            t.keep[k * 8 + v] = k + v == 0 ? 0 : static_cast<int16_t>(keep);
        }
    }
    return t;
}

void check_shifts(int shifts) {
    if (shifts != 1 && shifts != 2 && shifts != 4 && shifts != 8) {
        throw Error(Code::unsupported, "shifts: must be 1, 2, 4 or 8, got " + std::to_string(shifts));
    }
}

int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

constexpr int64_t kBand = 128;

/// Sums over the positions of the block grid, for the rows of a run, and how far they are.
struct Mean {
    uint16_t* sums;
    int count;
    bool first, last;
};

/// Everything about one pass over a picture whose block grid begins at (-shift_x, -shift_y).
struct DctPass {
    const DctKernels& k;
    const DctTables &luma, &chroma;
    bool subsample, quantise;
    int shift_x = 0, shift_y = 0;

    void blocks(int16_t* data, int64_t lanes, const DctTables& tables) const {
        quantise ? k.quantise(data, lanes, tables) : k.shrink(data, lanes, tables);
    }

    /// Rows [top, bottom) of `v` into `out`; with `mean`, into its sums first.
    void run(const ImageView& v, const MutableImageView& out, int64_t top, int64_t bottom, const Mean* mean) const {
        const int64_t begin = (top + shift_y) / 16, end = (bottom + shift_y + 15) / 16;
        const bool colour = v.channels > 1;
        const int64_t width = round_up(v.width + shift_x, 16), nb = width / 8, nc = subsample ? nb / 2 : nb;
        const int64_t strips = subsample ? 1 : 2;  // of chroma blocks among 16 rows
        // Lines are spread over whole groups of 16 blocks: what is written beyond a line's blocks is overwritten by the
        // next line, or lies in the padding. The vector loops have no remainder that way.
        const int64_t nb16 = round_up(nb, 16), nc16 = round_up(nc, 16);
        const int64_t y_lanes = round_up(nb + nb16, 32),
                      c_lanes = colour ? round_up((2 * strips - 1) * nc + nc16, 32) : 0;
        const int64_t line = 8 * nb16 + 32;
        const int64_t n = v.samples_per_row();
        const Scratch scratch(static_cast<size_t>(64 * (y_lanes + c_lanes) + 10 * line) * sizeof(int16_t) +
                              static_cast<size_t>(mean != nullptr ? n : 0));
        int16_t* y_blocks = scratch.as<int16_t>();
        int16_t* c_blocks = y_blocks + 64 * y_lanes;
        int16_t* lines = c_blocks + 64 * c_lanes;
        int16_t *luma_line = lines, *cb[2] = {lines + line, lines + 2 * line},
                *cr[2] = {lines + 3 * line, lines + 4 * line};
        int16_t *small = lines + 5 * line, *cb_wide = lines + 6 * line, *cr_wide = lines + 7 * line;
        uint32_t* pixels = reinterpret_cast<uint32_t*>(lines + 8 * line);
        uint8_t* one = reinterpret_cast<uint8_t*>(lines + 10 * line);
        // Padding is transformed too; it must only be defined.
        std::memset(y_blocks, 0, static_cast<size_t>(64 * (y_lanes + c_lanes) + 10 * line) * sizeof(int16_t));

        for (int64_t strip = begin; strip < end; ++strip) {
            const int64_t first = 16 * strip - shift_y;
            for (int64_t r = 0; r < 16; ++r) {
                const uint8_t* src = v.row(std::min(std::max<int64_t>(first + r, 0), v.height - 1));
                const int64_t slot = r & 1;
                if (colour) {
                    k.rgb_to_ycc(src, v.channels, v.width, pixels, luma_line + shift_x, cb[slot] + shift_x,
                                 cr[slot] + shift_x);
                    extend(cb[slot], v.width, width);
                    extend(cr[slot], v.width, width);
                } else {
                    k.gray_to_y(src, v.width, luma_line + shift_x);
                }
                extend(luma_line, v.width, width);
                k.spread(luma_line, nb16, y_lanes, y_blocks + (r & 7) * y_lanes + (r >> 3) * nb);
                if (!colour) continue;
                if (!subsample) {
                    int16_t* to = c_blocks + (r & 7) * c_lanes + (r >> 3) * 2 * nc;
                    k.spread(cb[slot], nc16, c_lanes, to);
                    k.spread(cr[slot], nc16, c_lanes, to + nc);
                } else if (slot == 1) {
                    int16_t* to = c_blocks + (r >> 1) * c_lanes;
                    k.average_2x2(cb[0], cb[1], width / 2, small);
                    k.spread(small, nc16, c_lanes, to);
                    k.average_2x2(cr[0], cr[1], width / 2, small);
                    k.spread(small, nc16, c_lanes, to + nc);
                }
            }
            blocks(y_blocks, y_lanes, luma);
            if (colour) blocks(c_blocks, c_lanes, chroma);
            for (int64_t r = 0; r < 16; ++r) {
                const int64_t y = first + r;
                if (colour && subsample && (r & 1) == 0) {
                    const int16_t* from = c_blocks + (r >> 1) * c_lanes;
                    k.gather(from, nc16, c_lanes, small);
                    k.repeat_2(small, width / 2, cb_wide);
                    k.gather(from + nc, nc16, c_lanes, small);
                    k.repeat_2(small, width / 2, cr_wide);
                } else if (colour && !subsample) {
                    const int16_t* from = c_blocks + (r & 7) * c_lanes + (r >> 3) * 2 * nc;
                    k.gather(from, nc16, c_lanes, cb_wide);
                    k.gather(from + nc, nc16, c_lanes, cr_wide);
                }
                if (y < top || y >= bottom) continue;
                k.gather(y_blocks + (r & 7) * y_lanes + (r >> 3) * nb, nb16, y_lanes, luma_line);
                uint8_t* row = mean != nullptr ? one : out.row(y);
                if (colour) {
                    k.ycc_to_rgb(luma_line + shift_x, cb_wide + shift_x, cr_wide + shift_x, v.row(y), v.channels,
                                 v.width, pixels, row);
                } else {
                    k.y_to_gray(luma_line + shift_x, v.width, row);
                }
                if (mean == nullptr) continue;
                uint16_t* sum = mean->sums + (y - top) * n;
                if (mean->first) std::fill(sum, sum + n, uint16_t{0});
                k.accumulate(row, n, sum);
                if (mean->last) k.average(sum, n, mean->count, out.row(y));
            }
        }
    }

  private:
    /// Repeats the first and last of the samples at [shift_x, shift_x + n) over the whole line.
    void extend(int16_t* line, int64_t n, int64_t width) const {
        for (int64_t i = 0; i < shift_x; ++i) line[i] = line[shift_x];
        for (int64_t i = shift_x + n; i < width; ++i) line[i] = line[shift_x + n - 1];
    }
};

void run_dct(const ImageView& in, const MutableImageView& out, const plans::Dct& plan, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    const DctPass pass{*kernels().dct, plan.luma, plan.chroma, plan.subsample, plan.quantise};
    const int shifts = plan.shifts;
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    if (shifts == 1) {
        const int64_t grain = std::max<int64_t>(1, (1 << 15) / (16 * v.samples_per_row()));
        return parallel_for(context, (v.height + 15) / 16, grain, [&](int64_t begin, int64_t end) {
            pass.run(v, out, 16 * begin, std::min(16 * end, v.height), nullptr);
        });
    }
    // Bands whose sums stay in the second-level cache; the strips at a band's edges are made twice.
    const int64_t band = v.height <= 2 * kBand ? v.height : kBand;
    parallel_for(context, (v.height + band - 1) / band, 1, [&](int64_t begin, int64_t end) {
        // Not a Scratch: the runs below make theirs.
        const std::unique_ptr<uint16_t[]> sums(new uint16_t[static_cast<size_t>(band * v.samples_per_row())]);
        DctPass shifted = pass;
        for (int64_t b = begin; b < end; ++b) {
            for (int i = 0; i < shifts; ++i) {
                shifted.shift_x = plans::kDctShifts[i][0];
                shifted.shift_y = plans::kDctShifts[i][1];
                const Mean mean{sums.get(), shifts, i == 0, i == shifts - 1};
                shifted.run(v, out, b * band, std::min((b + 1) * band, v.height), &mean);
            }
        }
    });
}

}  // namespace

namespace plans {

Dct quantise(int quality, bool subsample, int shifts) {
    if (quality < 1 || quality > 100) {
        throw Error(Code::unsupported, "quality: must be from 1 to 100, got " + std::to_string(quality));
    }
    check_shifts(shifts);
    return {quantise_tables(kLumaSteps, quality), quantise_tables(kChromaSteps, quality), subsample, true, shifts};
}

Dct shrink(double threshold, int shifts) {
    if (!(threshold >= 0.0 && threshold <= 1024.0)) {
        throw Error(Code::unsupported, "threshold: must be from 0 to 1024, got " + std::to_string(threshold));
    }
    check_shifts(shifts);
    return {shrink_tables(threshold), shrink_tables(threshold), false, false, shifts};
}

}  // namespace plans

void dct_quantise(const ImageView& in, const MutableImageView& out, int quality, bool subsample, int shifts,
                  const Context& context) {
    run_dct(in, out, plans::quantise(quality, subsample, shifts), context);
}

void dct_shrink(const ImageView& in, const MutableImageView& out, double threshold, int shifts,
                const Context& context) {
    run_dct(in, out, plans::shrink(threshold, shifts), context);
}

}  // namespace og
