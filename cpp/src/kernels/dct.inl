#include "kernels/dct_kernels.hpp"
#include "kernels/dct_math.hpp"

namespace og {
namespace OG_ISA {
namespace {

template <bool kQuantise>
OG_FN void transform(int16_t* OG_RESTRICT s, int64_t lanes, const DctTables& tables) {
    const int64_t across = 8 * lanes;  // from k to k + 1
    const DctFactors factors;
    for (int64_t i = 0; i < across; i += lanes) {
        OG_IVDEP
        for (int64_t l = i; l < i + lanes; ++l) {
            int16_t d[8];
            for (int k = 0; k < 8; ++k) d[k] = s[k * across + l];
            forward(d, factors);
            for (int k = 0; k < 8; ++k) s[k * across + l] = d[k];
        }
    }
    for (int k = 0; k < 8; ++k) {
        int16_t* OG_RESTRICT column = s + k * across;
        const int16_t* recip = tables.recip + 8 * k;
        const int16_t* step = tables.step + 8 * k;
        const int16_t* keep = tables.keep + 8 * k;
        OG_IVDEP
        for (int64_t l = 0; l < lanes; ++l) {
            int16_t d[8];
            for (int v = 0; v < 8; ++v) d[v] = column[v * lanes + l];
            forward(d, factors);
            for (int v = 0; v < 8; ++v) {
                d[v] = kQuantise ? quantised(d[v], recip[v], step[v]) : shrunk(d[v], keep[v], step[v]);
            }
            inverse(d, factors);
            for (int v = 0; v < 8; ++v) column[v * lanes + l] = d[v];
        }
    }
    for (int64_t i = 0; i < across; i += lanes) {
        OG_IVDEP
        for (int64_t l = i; l < i + lanes; ++l) {
            int16_t d[8];
            for (int k = 0; k < 8; ++k) d[k] = s[k * across + l];
            inverse(d, factors);
            for (int k = 0; k < 8; ++k) s[k * across + l] = descaled(d[k]);
        }
    }
}

void quantise(int16_t* blocks, int64_t lanes, const DctTables& tables) {
    transform<true>(blocks, lanes, tables);
}
void shrink(int16_t* blocks, int64_t lanes, const DctTables& tables) {
    transform<false>(blocks, lanes, tables);
}

void rgb_to_ycc(const uint8_t* src, int channels, int64_t n, uint32_t* OG_RESTRICT pixels, int16_t* OG_RESTRICT y,
                int16_t* OG_RESTRICT cb, int16_t* OG_RESTRICT cr) {
    if (channels == 3) {
        split_pixels(src, n, pixels);
    } else {
        memcpy(pixels, src, static_cast<size_t>(4 * n));
    }
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const uint16_t low = static_cast<uint16_t>(pixels[i]), high = static_cast<uint16_t>(pixels[i] >> 16);
        const Ycc p = ycc_of(low & 255u, low >> 8, high & 255u);
        y[i] = p.y;
        cb[i] = p.cb;
        cr[i] = p.cr;
    }
}

void gray_to_y(const uint8_t* src, int64_t n, int16_t* OG_RESTRICT y) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<int16_t>(src[i] - 128);
}

void average_2x2(const int16_t* a, const int16_t* b, int64_t half, int16_t* OG_RESTRICT dst) {
    OG_IVDEP
    for (int64_t i = 0; i < half; ++i) dst[i] = mean4(a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]);
}

void spread(const int16_t* OG_RESTRICT line, int64_t blocks, int64_t lanes, int16_t* OG_RESTRICT dst) {
    const int64_t across = 8 * lanes;
    OG_IVDEP
    for (int64_t l = 0; l < blocks; ++l) {
        for (int k = 0; k < 8; ++k) dst[k * across + l] = line[8 * l + k];
    }
}

void gather(const int16_t* OG_RESTRICT src, int64_t blocks, int64_t lanes, int16_t* OG_RESTRICT line) {
    const int64_t across = 8 * lanes;
    OG_IVDEP
    for (int64_t l = 0; l < blocks; ++l) {
        for (int k = 0; k < 8; ++k) line[8 * l + k] = src[k * across + l];
    }
}

void repeat_2(const int16_t* OG_RESTRICT src, int64_t half, int16_t* OG_RESTRICT dst) {
    OG_IVDEP
    for (int64_t i = 0; i < half; ++i) {
        dst[2 * i] = src[i];
        dst[2 * i + 1] = src[i];
    }
}

void ycc_to_rgb(const int16_t* y, const int16_t* cb, const int16_t* cr, const uint8_t* alpha_src, int channels,
                int64_t n, uint32_t* OG_RESTRICT pixels, uint8_t* OG_RESTRICT dst) {
    const RgbFactors factors;
    uint16_t* OG_RESTRICT halves = reinterpret_cast<uint16_t*>(pixels);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const Rgb p = rgb_of(y[i], cb[i], cr[i], factors);
        const uint16_t low = static_cast<uint16_t>(p.r | (p.g << 8)), blue = p.b;
        memcpy(halves + 2 * i, &low, 2);
        memcpy(halves + 2 * i + 1, &blue, 2);
    }
    if (channels == 4) {
        OG_IVDEP
        for (int64_t i = 0; i < n; ++i) {
            uint32_t source;
            memcpy(&source, alpha_src + 4 * i, 4);
            const uint32_t word = pixels[i] | (source & 0xff000000u);
            memcpy(dst + 4 * i, &word, 4);
        }
        return;
    }
    join_pixels(pixels, n, dst);
}

void y_to_gray(const int16_t* y, int64_t n, uint8_t* OG_RESTRICT dst) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = sample_of(static_cast<int16_t>(y[i] + 128));
}

void accumulate(const uint8_t* src, int64_t n, uint16_t* OG_RESTRICT sum) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) sum[i] = static_cast<uint16_t>(sum[i] + src[i]);
}

void average(const uint16_t* sum, int64_t n, int count, uint8_t* OG_RESTRICT dst) {
    int shift = 0;  // counts are powers of two
    while ((1 << shift) < count) ++shift;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = share_of(sum[i], count, shift);
}

}  // namespace

extern const DctKernels dct_kernels;
const DctKernels dct_kernels = {
    rgb_to_ycc, gray_to_y, average_2x2, spread,    gather,     quantise,
    shrink,     repeat_2,  ycc_to_rgb,  y_to_gray, accumulate, average,
};

}  // namespace OG_ISA
}  // namespace og
