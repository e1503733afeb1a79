#include <utility>

#if defined(__SSE2__) && !defined(__SSSE3__)
#include <emmintrin.h>
#endif

#include "kernels/purify_kernels.hpp"
#include "kernels/purify_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

/// The median of a window whose sample in row r, column j is fetch(r, j).
template <int Size, class Fetch>
OG_FN uint8_t window_median(Fetch&& fetch) {
    uint8_t m[Size][Size];
    for (int j = 0; j < Size; ++j) {
        uint8_t column[Size];
        for (int r = 0; r < Size; ++r) column[r] = fetch(r, j);
        sort_column(column);
        for (int r = 0; r < Size; ++r) m[r][j] = column[r];
    }
    return median_of_columns(m);
}

template <int Size>
void median_windows(const uint8_t* const* rows, uint8_t* OG_RESTRICT dst, int64_t n, int64_t step) {
    constexpr int radius = Size / 2;
    const int64_t first = min_of(radius * step, n), last = max_of(n - radius * step, first);
    const auto at_end = [&](int64_t i) {
        const int64_t low = i % step, high = n - step + low;
        dst[i] =
            window_median<Size>([&](int r, int j) { return rows[r][clamp_to(i + (j - radius) * step, low, high)]; });
    };
    for (int64_t i = 0; i < first; ++i) at_end(i);
    OG_IVDEP
    for (int64_t i = first; i < last; ++i)
        dst[i] = window_median<Size>([&](int r, int j) { return rows[r][i + (j - radius) * step]; });
    for (int64_t i = last; i < n; ++i) at_end(i);
}

#if defined(__GNUC__)
// Medians of a vector of windows, from columns that are sorted once and shifts of them. Sorted columns of a whole row would be
// loaded once for each shift, nearly always across two cache lines, which takes longer than the sorting.

#if defined(__AVX2__)
constexpr int kVector = 32;  // 64 have no shift across their whole length before AVX512-VBMI
#else
constexpr int kVector = 16;
#endif
typedef uint8_t Vector __attribute__((vector_size(kVector)));

OG_FN Vector load_vector(const uint8_t* p) {
    Vector v;
    memcpy(&v, p, kVector);
    return v;
}

/// kVector samples of a and b in a row, from the one at `Shift`.
template <int Shift, size_t... I>
OG_FN Vector shifted(Vector a, Vector b, std::index_sequence<I...>) {
#if defined(__SSE2__) && !defined(__SSSE3__)
    const __m128i low = _mm_srli_si128(reinterpret_cast<__m128i>(a), Shift);
    return reinterpret_cast<Vector>(_mm_or_si128(low, _mm_slli_si128(reinterpret_cast<__m128i>(b), kVector - Shift)));
#elif defined(__clang__)
    return __builtin_shufflevector(a, b, static_cast<int>(I) + Shift...);
#else
    return __builtin_shuffle(a, b, Vector{static_cast<uint8_t>(I + Shift)...});
#endif
}

/// The medians around `now` shifted by half a window.
template <int Step, int Size, size_t... J>
OG_FN Vector vector_median(const Vector (&now)[Size], const Vector (&next)[Size], std::index_sequence<J...>) {
    Vector m[Size][Size];
    constexpr std::make_index_sequence<kVector> all;
    for (int k = 0; k < Size; ++k) ((m[k][J] = shifted<static_cast<int>(J) * Step>(now[k], next[k], all)), ...);
    return median_of_columns(m);
}

template <int Size>
OG_FN void load_columns(const uint8_t* const* rows, int64_t i, Vector (&columns)[Size]) {
    for (int r = 0; r < Size; ++r) columns[r] = load_vector(rows[r] + i);
    sort_column(columns);
}

/// n: 2 * kVector or more.
template <int Size, int Step>
void median_vectors(const uint8_t* const* rows, uint8_t* OG_RESTRICT dst, int64_t n) {
    constexpr int edge = Size / 2 * Step, two = 2 * kVector;
    constexpr std::make_index_sequence<Size> columns;
    Vector now[Size];
    load_columns(rows, 0, now);
    for (int64_t i = 0; i + two <= n; i += kVector) {
        Vector next[Size];
        load_columns(rows, i + kVector, next);
        const Vector made = vector_median<Step>(now, next, columns);
        memcpy(dst + i + edge, &made, kVector);
        for (int r = 0; r < Size; ++r) now[r] = next[r];
    }
    const auto block = [&](const uint8_t* const* from, int64_t i, uint8_t* to) {
        Vector first[Size], second[Size];
        load_columns(from, i, first);
        load_columns(from, i + kVector, second);
        const Vector made = vector_median<Step>(first, second, columns);
        memcpy(to, &made, kVector);
    };
    block(rows, n - two, dst + n - two + edge);     // overlaps what is done
    uint8_t head[Size][two], tail[Size][two] = {};  // of the rows, with the outermost pixel repeated
    const uint8_t *heads[Size], *tails[Size];
    for (int r = 0; r < Size; ++r) {
        memcpy(head[r] + edge, rows[r], two - edge);
        memcpy(tail[r], rows[r] + n - kVector - edge, kVector + edge);
        for (int i = 0; i < edge; i += Step) {
            memcpy(head[r] + i, rows[r], Step);
            memcpy(tail[r] + kVector + edge + i, rows[r] + n - Step, Step);
        }
        heads[r] = head[r];
        tails[r] = tail[r];
    }
    block(heads, 0, dst);
    block(tails, 0, dst + n - kVector);
}
#endif

template <int Size>
void median_row(const uint8_t* const* rows, uint8_t* dst, int64_t n, int64_t step) {
#if defined(__GNUC__)
    if (n >= 2 * kVector) {
        if (step == 1) return median_vectors<Size, 1>(rows, dst, n);
        if (step == 3) return median_vectors<Size, 3>(rows, dst, n);
        if (step == 4) return median_vectors<Size, 4>(rows, dst, n);
    }
#endif
    median_windows<Size>(rows, dst, n, step);
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

void subtract_row(const uint8_t* src, const uint8_t* residual, int side, int channels, int64_t n,
                  uint32_t* OG_RESTRICT scratch, uint8_t* OG_RESTRICT dst) {
    uint32_t *OG_RESTRICT pixels = scratch, *OG_RESTRICT less = scratch + n + 3;
    words_of(src, channels, n, pixels);
    if (side == 2) {
        for (int64_t j = 0; j < (n + 1) / 2; ++j) memcpy(less + 2 * j, residual + 16 * j, 8);
    } else {
        for (int64_t j = 0; j < (n + 3) / 4; ++j) memcpy(less + 4 * j, residual + 64 * j, 16);
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

template <int C>
void rotate_pixels(const PackedPicture& in, const CubicWeights& weights, int64_t x, int64_t y, int64_t dx, int64_t dy,
                   int64_t n, uint8_t* OG_RESTRICT dst) {
    constexpr int lanes = C == 1 ? 4 : 16;  // four pixels; of three channels a bit more, whose weights are 0
    int32_t sums[kTurned * C];
    for (int64_t i = 0; i < n; ++i, x += dx, y += dy) {
        const int64_t at_x = (x + (int64_t{1} << 18)) >> 19, at_y = (y + (int64_t{1} << 18)) >> 19;  // 1/64 pixel
        const int64_t left = (at_x >> 6) - 1, top = (at_y >> 6) - 1;
        const uint8_t* rows[4];
        uint8_t mirrored[4][16];
        if (left >= 0 && top >= 0 && left * C + lanes <= in.width * C && top + 4 <= in.height) {
            for (int r = 0; r < 4; ++r) rows[r] = in.data + (top + r) * in.stride + left * C;
        } else {
            memset(mirrored, 0, sizeof mirrored);
            for (int r = 0; r < 4; ++r) {
                const uint8_t* row = in.data + mirror_index(top + r, in.height) * in.stride;
                for (int k = 0; k < 4; ++k) memcpy(mirrored[r] + k * C, row + mirror_index(left + k, in.width) * C, C);
                rows[r] = mirrored[r];
            }
        }
        const uint8_t *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3];
        const int32_t *across = weights.across[at_x & 63], *down = weights.down[at_y & 63];
        int32_t products[lanes];
        OG_IVDEP
        for (int j = 0; j < lanes; ++j)
            products[j] = across[j] * (down[0] * a[j] + down[1] * b[j] + down[2] * c[j] + down[3] * d[j]);
        for (int j = 0; j < C; ++j)
            sums[i * C + j] = products[j] + products[C + j] + products[2 * C + j] + products[3 * C + j];
    }
    OG_IVDEP
    for (int64_t i = 0; i < n * C; ++i) dst[i] = static_cast<uint8_t>(clamp_to((sums[i] + 32768) >> 16, 0, 255));
}

void rotate_row(const PackedPicture& in, const CubicWeights& weights, int64_t x, int64_t y, int64_t dx, int64_t dy,
                int64_t n, uint8_t* dst) {
    const auto pixels = in.channels == 1 ? rotate_pixels<1> : in.channels == 3 ? rotate_pixels<3> : rotate_pixels<4>;
    pixels(in, weights, x, y, dx, dy, n, dst);
}

template <int C>
void rotate_linear_pixels(const PackedPicture& in, int64_t x, int64_t y, int64_t dx, int64_t dy, int64_t n,
                          uint8_t* OG_RESTRICT dst) {
    // Two rows of neighbours of each pixel, and how far it is from the first in 1/64 pixels, once for each byte.
    uint64_t upper[kTurned], lower[kTurned];
    uint32_t near[4][kTurned], across_words[kTurned], down_words[kTurned];
    // Places from the pixel that the first falls on: 64 steps of at most 2^25 stay within 32 bits.
    int32_t left[kTurned], top[kTurned];
    x += int64_t{1} << 18, y += int64_t{1} << 18;
    const int64_t first_x = x >> 25, first_y = y >> 25;
    const int32_t rest_x = static_cast<int32_t>(x & ((1 << 25) - 1)),
                  rest_y = static_cast<int32_t>(y & ((1 << 25) - 1));
    const int32_t step_x = static_cast<int32_t>(dx), step_y = static_cast<int32_t>(dy), count = static_cast<int32_t>(n);
    OG_IVDEP
    for (int32_t i = 0; i < count; ++i) {
        const int32_t at_x = (rest_x + i * step_x) >> 19, at_y = (rest_y + i * step_y) >> 19;
        across_words[i] = static_cast<uint32_t>(at_x & 63) * 0x01010101u;
        down_words[i] = static_cast<uint32_t>(at_y & 63) * 0x01010101u;
        left[i] = at_x >> 6;
        top[i] = at_y >> 6;
    }
    const auto inside = [&](int64_t i) {  // with the eight bytes from there
        const int64_t at_x = first_x + left[i], at_y = first_y + top[i];
        return at_x >= 0 && at_y >= 0 && at_x * C + 8 <= in.width * C && at_y + 2 <= in.height;
    };
    if (inside(0) && inside(n - 1)) {  // and so are those on the line between them
        const uint8_t* from = in.data + first_y * in.stride + first_x * C;
        // The rows to come lie pages apart, where no CPU looks ahead by itself.
        for (int64_t i = 0; i < n; i += 16)
            if (first_y + top[i] + 8 < in.height) OG_PREFETCH(from + (top[i] + 8) * in.stride + left[i] * C);
        for (int64_t i = 0; i < n; ++i) {
            OG_NOT_VECTORISED;  // a vector of addresses is taken apart again at once
            const uint8_t* place = from + top[i] * in.stride + left[i] * C;
            memcpy(&upper[i], place, 8);
            memcpy(&lower[i], place + in.stride, 8);
        }
    } else {
        for (int64_t i = 0; i < n; ++i) {
            const int64_t at_x = first_x + left[i], at_y = first_y + top[i];
            const int64_t a = mirror_index(at_x, in.width) * C, b = mirror_index(at_x + 1, in.width) * C;
            const uint8_t* row = in.data + mirror_index(at_y, in.height) * in.stride;
            upper[i] = lower[i] = 0;
            memcpy(&upper[i], row + a, C);
            memcpy(reinterpret_cast<uint8_t*>(&upper[i]) + C, row + b, C);
            row = in.data + mirror_index(at_y + 1, in.height) * in.stride;
            memcpy(&lower[i], row + a, C);
            memcpy(reinterpret_cast<uint8_t*>(&lower[i]) + C, row + b, C);
        }
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        near[0][i] = static_cast<uint32_t>(upper[i]);
        near[1][i] = static_cast<uint32_t>(upper[i] >> (8 * C));
        near[2][i] = static_cast<uint32_t>(lower[i]);
        near[3][i] = static_cast<uint32_t>(lower[i] >> (8 * C));
    }
    uint32_t words[kTurned];
    uint8_t* OG_RESTRICT bytes = C == 4 ? dst : reinterpret_cast<uint8_t*>(words);
    const uint8_t *a = reinterpret_cast<const uint8_t*>(near[0]), *b = reinterpret_cast<const uint8_t*>(near[1]),
                  *c = reinterpret_cast<const uint8_t*>(near[2]), *d = reinterpret_cast<const uint8_t*>(near[3]),
                  *across = reinterpret_cast<const uint8_t*>(across_words),
                  *down = reinterpret_cast<const uint8_t*>(down_words);
    OG_IVDEP
    for (int64_t j = 0; j < 4 * n; ++j) {
        const uint16_t first =
            static_cast<uint16_t>(static_cast<uint16_t>(a[j] * (64 - down[j]) + c[j] * down[j] + 8) >> 4);
        const uint16_t second =
            static_cast<uint16_t>(static_cast<uint16_t>(b[j] * (64 - down[j]) + d[j] * down[j] + 8) >> 4);
        bytes[j] =
            static_cast<uint8_t>(static_cast<uint16_t>(first * (64 - across[j]) + second * across[j] + 128) >> 8);
    }
    if (C == 1) {
        for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<uint8_t>(words[i]);
    } else if (C == 3) {
        for (int64_t i = 0; i < n; ++i) words[i] &= 0xffffffu;
        join_pixels(words, n, dst);
    }
}

void rotate_linear_row(const PackedPicture& in, int64_t x, int64_t y, int64_t dx, int64_t dy, int64_t n, uint8_t* dst) {
    const auto pixels = in.channels == 1   ? rotate_linear_pixels<1>
                        : in.channels == 3 ? rotate_linear_pixels<3>
                                           : rotate_linear_pixels<4>;
    pixels(in, x, y, dx, dy, n, dst);
}

}  // namespace

extern const PurifyKernels purify_kernels;
const PurifyKernels purify_kernels = {
    {median_row<3>, median_row<5>},
    bit_depth_row,
    low_bits_row,
    blocks_row,
    subtract_row,
    rotate_row,
    rotate_linear_row,
};

}  // namespace OG_ISA
}  // namespace og
