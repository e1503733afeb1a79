#include "kernels/purify_kernels.hpp"
#include "kernels/purify_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

/// Copies the first and last pixel of a row that starts at p + step outwards, so that neighbours always exist.
OG_FN void replicate_ends(uint8_t* p, int64_t n, int64_t step) {
    for (int64_t c = 0; c < step; ++c) {
        p[c] = p[step + c];
        p[step + n + c] = p[n + c];
    }
}

// The three columns under a window are sorted once per row.
void median3_row(const uint8_t* const* rows, uint8_t* OG_RESTRICT dst, int64_t n, int64_t step,
                 uint8_t* OG_RESTRICT scratch) {
    const int64_t padded = (n + 2 * step + 127) & ~int64_t{63};
    uint8_t* OG_RESTRICT lo = scratch + 64 - step;  // so that what is written first is aligned to the widest vectors
    uint8_t* OG_RESTRICT mid = lo + padded;
    uint8_t* OG_RESTRICT hi = mid + padded;
    const uint8_t *a = rows[0], *b = rows[1], *c = rows[2];
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        uint8_t x = a[i], y = b[i], z = c[i];
        sort3(x, y, z);
        lo[step + i] = x;
        mid[step + i] = y;
        hi[step + i] = z;
    }
    replicate_ends(lo, n, step);
    replicate_ends(mid, n, step);
    replicate_ends(hi, n, step);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        dst[i] = median9(lo[i], lo[i + step], lo[i + 2 * step], mid[i], mid[i + step], mid[i + 2 * step], hi[i],
                         hi[i + step], hi[i + 2 * step]);
    }
}

// Columns are sorted once per row here, too.
void median5_row(const uint8_t* const* rows, uint8_t* OG_RESTRICT dst, int64_t n, int64_t step,
                 uint8_t* OG_RESTRICT scratch) {
    const int64_t padded = n + 4 * step;
    uint8_t *OG_RESTRICT p0 = scratch, *OG_RESTRICT p1 = p0 + padded, *OG_RESTRICT p2 = p1 + padded;
    uint8_t *OG_RESTRICT p3 = p2 + padded, *OG_RESTRICT p4 = p3 + padded;
    const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3], *r4 = rows[4];
    const int64_t pad = 2 * step;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        uint8_t a = r0[i], b = r1[i], c = r2[i], d = r3[i], e = r4[i];
        sort5(a, b, c, d, e);
        p0[pad + i] = a;
        p1[pad + i] = b;
        p2[pad + i] = c;
        p3[pad + i] = d;
        p4[pad + i] = e;
    }
    uint8_t* const all[5] = {p0, p1, p2, p3, p4};
    for (uint8_t* p : all) {
        replicate_ends(p + step, n, step);
        for (int64_t c = 0; c < step; ++c) {
            p[c] = p[pad + c];
            p[3 * step + n + c] = p[step + n + c];
        }
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        uint8_t m[5][5];
        for (int k = 0; k < 5; ++k) {
            m[0][k] = p0[i + k * step];
            m[1][k] = p1[i + k * step];
            m[2][k] = p2[i + k * step];
            m[3][k] = p3[i + k * step];
            m[4][k] = p4[i + k * step];
        }
        dst[i] = median25(m);
    }
}

void bit_depth_row(const uint8_t* src, uint8_t* OG_RESTRICT dst, int64_t n, int levels) {
    const uint32_t scale = level_scale(levels);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = keep_levels(src[i], levels, scale);
}

void low_bits_row(const uint8_t* src, uint8_t* OG_RESTRICT dst, int64_t n, int bits) {
    const int low = (1 << bits) - 1, down = 8 - bits;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = repeat_high_bits(src[i], low, down);
}

/// Pixels as words, R, G, B (grey three times) in the lower bytes and 0 in the fourth.
OG_FN void words_of(const uint8_t* src, int channels, int64_t n, uint32_t* OG_RESTRICT words) {
    if (channels == 3) return split_pixels(src, n, words);
    if (channels == 1) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) words[i] = src[i] * 0x010101u;
        return;
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) words[i] = load_word(src + 4 * i) & 0xffffffu;
}

void blocks_row(const uint8_t* top, const uint8_t* bottom, int channels, int64_t n, int64_t wide, uint8_t strength,
                uint32_t* OG_RESTRICT scratch, uint8_t* OG_RESTRICT dst) {
    uint32_t *OG_RESTRICT a = scratch, *OG_RESTRICT b = scratch + wide;
    words_of(top, channels, n, a);
    words_of(bottom, channels, n, b);
    for (int64_t i = n; i < wide; ++i) {
        const int64_t at = i % (2 * n), from = at < n ? at : 2 * n - 1 - at;
        a[i] = a[from];
        b[i] = b[from];
    }
    const uint32_t fourth = static_cast<uint32_t>(strength) << 24;
    OG_IVDEP
    for (int64_t j = 0; j < wide / 2; ++j) {
        store_word(dst + 16 * j, a[2 * j] | fourth);
        store_word(dst + 16 * j + 4, a[2 * j + 1] | fourth);
        store_word(dst + 16 * j + 8, b[2 * j] | fourth);
        store_word(dst + 16 * j + 12, b[2 * j + 1] | fourth);
    }
}

void subtract_row(const uint8_t* src, const uint8_t* residual, int channels, int64_t n, uint32_t* OG_RESTRICT scratch,
                  uint8_t* OG_RESTRICT dst) {
    uint32_t *OG_RESTRICT pixels = scratch, *OG_RESTRICT less = scratch + n + 1;
    words_of(src, channels, n, pixels);
    OG_IVDEP
    for (int64_t j = 0; j < (n + 1) / 2; ++j) {
        less[2 * j] = load_word(residual + 16 * j);
        less[2 * j + 1] = load_word(residual + 16 * j + 4);
    }
    uint8_t* OG_RESTRICT bytes = reinterpret_cast<uint8_t*>(pixels);
    const uint8_t* OG_RESTRICT r = reinterpret_cast<const uint8_t*>(less);
    OG_IVDEP
    for (int64_t i = 0; i < 4 * n; ++i) bytes[i] = less_residual(bytes[i], r[i]);
    if (channels == 1) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            const uint32_t w = pixels[i];
            dst[i] = static_cast<uint8_t>(((w & 255u) + (w >> 8 & 255u) + (w >> 16 & 255u) + 1) / 3);
        }
    } else if (channels == 3) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) pixels[i] &= 0xffffffu;
        join_pixels(pixels, n, dst);
    } else {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i)
            store_word(dst + 4 * i, (pixels[i] & 0xffffffu) | (load_word(src + 4 * i) & 0xff000000u));
    }
}

/// Adds a row's four taps to the sums of `Lanes` channels: four fill a vector, if the pixel has three and a byte follows it.
template <int Lanes>
OG_FN void add_taps(const uint8_t* const* taps, const CubicWeights& across, int32_t down, int32_t* sums) {
    for (int c = 0; c < Lanes; ++c)
        sums[c] += down * (across.w[0] * taps[0][c] + across.w[1] * taps[1][c] + across.w[2] * taps[2][c] +
                           across.w[3] * taps[3][c]);
}

template <int C>
void rotate_pixels(const PackedPicture& in, const CubicWeights* weights, int64_t x, int64_t y, int64_t dx, int64_t dy,
                   int64_t n, uint8_t* OG_RESTRICT dst) {
    constexpr int lanes = C == 3 ? 4 : C;
    for (int64_t i = 0; i < n; ++i, x += dx, y += dy, dst += C) {
        const int64_t at_x = (x + (int64_t{1} << 18)) >> 19, at_y = (y + (int64_t{1} << 18)) >> 19;  // 1/64 pixel
        const int64_t left = (at_x >> 6) - 1, top = (at_y >> 6) - 1;
        const CubicWeights &across = weights[at_x & 63], &down = weights[at_y & 63];
        int32_t sums[4] = {};
        if (left >= 0 && top >= 0 && left + 4 + lanes - C <= in.width && top + 4 <= in.height) {
            const uint8_t* row = in.data + top * in.stride + left * C;
            for (int r = 0; r < 4; ++r, row += in.stride) {
                const uint8_t* const taps[4] = {row, row + C, row + 2 * C, row + 3 * C};
                add_taps<lanes>(taps, across, down.w[r], sums);
            }
        } else {
            for (int r = 0; r < 4; ++r) {
                const uint8_t* row = in.data + mirror_index(top + r, in.height) * in.stride;
                const uint8_t* taps[4];
                for (int k = 0; k < 4; ++k) taps[k] = row + mirror_index(left + k, in.width) * C;
                add_taps<C>(taps, across, down.w[r], sums);
            }
        }
        for (int c = 0; c < C; ++c) dst[c] = static_cast<uint8_t>(clamp_to((sums[c] + 32768) >> 16, 0, 255));
    }
}

void rotate_row(const PackedPicture& in, const CubicWeights* weights, int64_t x, int64_t y, int64_t dx, int64_t dy,
                int64_t n, uint8_t* dst) {
    const auto pixels = in.channels == 1 ? rotate_pixels<1> : in.channels == 3 ? rotate_pixels<3> : rotate_pixels<4>;
    pixels(in, weights, x, y, dx, dy, n, dst);
}

}  // namespace

extern const PurifyKernels purify_kernels;
const PurifyKernels purify_kernels = {
    median3_row, median5_row, bit_depth_row, low_bits_row, blocks_row, subtract_row, rotate_row,
};

}  // namespace OG_ISA
}  // namespace og
