#include "kernels/common.hpp"
#include "kernels/dct_kernels.hpp"

namespace og {
namespace OG_ISA {
namespace {

// 16-bit arithmetic throughout. Sums wrap, which is harmless: every value that leaves the transforms fits, and every
// operand of a product does (see the ranges in purify.hpp).

OG_FN int16_t add(int16_t a, int16_t b) { return static_cast<int16_t>(static_cast<uint16_t>(a) + static_cast<uint16_t>(b)); }
OG_FN int16_t sub(int16_t a, int16_t b) { return static_cast<int16_t>(static_cast<uint16_t>(a) - static_cast<uint16_t>(b)); }
/// a * b / 32768, rounded. Written so that GCC knows it for one instruction (pmulhrsw, sqrdmulh).
OG_FN int16_t mul(int16_t a, int16_t b) {
    return static_cast<int16_t>((((static_cast<int32_t>(a) * static_cast<int32_t>(b)) >> 14) + 1) >> 1);
}
constexpr int16_t q15(double v) { return static_cast<int16_t>(v * 32768.0 + 0.5); }

/// Arai, Agui, Nakajima 1988: the one-dimensional transform with five products, outputs scaled.
OG_FN void forward(int16_t d[8]) {
    const int16_t t0 = add(d[0], d[7]), t7 = sub(d[0], d[7]), t1 = add(d[1], d[6]), t6 = sub(d[1], d[6]);
    const int16_t t2 = add(d[2], d[5]), t5 = sub(d[2], d[5]), t3 = add(d[3], d[4]), t4 = sub(d[3], d[4]);
    const int16_t e0 = add(t0, t3), e3 = sub(t0, t3), e1 = add(t1, t2), e2 = sub(t1, t2);
    d[0] = add(e0, e1);
    d[4] = sub(e0, e1);
    const int16_t z1 = mul(add(e2, e3), q15(0.707106781));
    d[2] = add(e3, z1);
    d[6] = sub(e3, z1);
    const int16_t o0 = add(t4, t5), o1 = add(t5, t6), o2 = add(t6, t7);
    const int16_t z5 = mul(sub(o0, o2), q15(0.382683433));
    const int16_t z2 = add(mul(o0, q15(0.541196100)), z5);
    const int16_t z4 = add(add(o2, mul(o2, q15(0.306562965))), z5);
    const int16_t z3 = mul(o1, q15(0.707106781));
    const int16_t z11 = add(t7, z3), z13 = sub(t7, z3);
    d[5] = add(z13, z2);
    d[3] = sub(z13, z2);
    d[1] = add(z11, z4);
    d[7] = sub(z11, z4);
}

OG_FN void inverse(int16_t c[8]) {
    const int16_t e0 = add(c[0], c[4]), e1 = sub(c[0], c[4]), e3 = add(c[2], c[6]);
    const int16_t d26 = sub(c[2], c[6]);
    const int16_t e2 = sub(add(d26, mul(d26, q15(0.414213562))), e3);
    const int16_t t0 = add(e0, e3), t3 = sub(e0, e3), t1 = add(e1, e2), t2 = sub(e1, e2);
    const int16_t z13 = add(c[5], c[3]), z10 = sub(c[5], c[3]), z11 = add(c[1], c[7]), z12 = sub(c[1], c[7]);
    const int16_t t7 = add(z11, z13);
    const int16_t d = sub(z11, z13), s = add(z10, z12);
    const int16_t o1 = add(d, mul(d, q15(0.414213562)));
    const int16_t z5 = add(s, mul(s, q15(0.847759065)));
    const int16_t o0 = sub(add(z12, mul(z12, q15(0.082392200))), z5);
    const int16_t o2 = sub(z5, add(add(z10, z10), mul(z10, q15(0.613125930))));
    const int16_t t6 = sub(o2, t7), t5 = sub(o1, t6), t4 = add(o0, t5);
    c[0] = add(t0, t7);
    c[7] = sub(t0, t7);
    c[1] = add(t1, t6);
    c[6] = sub(t1, t6);
    c[2] = add(t2, t5);
    c[5] = sub(t2, t5);
    c[4] = add(t3, t4);
    c[3] = sub(t3, t4);
}

template <bool kQuantise>
OG_FN void transform(int16_t* OG_RESTRICT s, int64_t lanes, const DctTables& tables) {
    const int64_t across = 8 * lanes;  // from k to k + 1
    for (int64_t i = 0; i < across; i += lanes) {
        OG_IVDEP
        for (int64_t l = i; l < i + lanes; ++l) {
            int16_t d[8];
            for (int k = 0; k < 8; ++k) d[k] = s[k * across + l];
            forward(d);
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
            forward(d);
            for (int v = 0; v < 8; ++v) {
                if (kQuantise) {
                    d[v] = static_cast<int16_t>(mul(d[v], recip[v]) * step[v]);
                } else {
                    const int16_t size = d[v] < 0 ? static_cast<int16_t>(-d[v]) : d[v];
                    const int16_t kept = size >= keep[v] ? d[v] : static_cast<int16_t>(0);
                    d[v] = mul(kept, step[v]);
                }
            }
            inverse(d);
            for (int v = 0; v < 8; ++v) column[v * lanes + l] = d[v];
        }
    }
    for (int64_t i = 0; i < across; i += lanes) {
        OG_IVDEP
        for (int64_t l = i; l < i + lanes; ++l) {
            int16_t d[8];
            for (int k = 0; k < 8; ++k) d[k] = s[k * across + l];
            inverse(d);
            for (int k = 0; k < 8; ++k) s[k * across + l] = static_cast<int16_t>(add(d[k], 16) >> 5);
        }
    }
}

void quantise(int16_t* blocks, int64_t lanes, const DctTables& tables) { transform<true>(blocks, lanes, tables); }
void shrink(int16_t* blocks, int64_t lanes, const DctTables& tables) { transform<false>(blocks, lanes, tables); }

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
        const uint16_t r = low & 255u, g = low >> 8, b = high & 255u;
        const uint16_t luma = static_cast<uint16_t>(static_cast<uint16_t>(77 * r + 150 * g + 29 * b + 128) >> 8);
        y[i] = static_cast<int16_t>(luma - 128);
        // 128 * 255 + 127 = 32767: the sums fit, and + 127 rounds all but exact halves to nearest
        cb[i] = static_cast<int16_t>(static_cast<int16_t>(128 * b - 43 * r - 85 * g + 127) >> 8);
        cr[i] = static_cast<int16_t>(static_cast<int16_t>(128 * r - 107 * g - 21 * b + 127) >> 8);
    }
}

void gray_to_y(const uint8_t* src, int64_t n, int16_t* OG_RESTRICT y) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<int16_t>(src[i] - 128);
}

void average_2x2(const int16_t* a, const int16_t* b, int64_t half, int16_t* OG_RESTRICT dst) {
    OG_IVDEP
    for (int64_t i = 0; i < half; ++i) {
        dst[i] = static_cast<int16_t>((a[2 * i] + a[2 * i + 1] + b[2 * i] + b[2 * i + 1] + 2) >> 2);
    }
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

OG_FN uint8_t to_sample(int16_t v) { return static_cast<uint8_t>(clamp_to<int16_t>(v, 0, 255)); }

void ycc_to_rgb(const int16_t* y, const int16_t* cb, const int16_t* cr, const uint8_t* alpha_src, int channels,
                int64_t n, uint32_t* OG_RESTRICT pixels, uint8_t* OG_RESTRICT dst) {
    uint16_t* OG_RESTRICT halves = reinterpret_cast<uint16_t*>(pixels);
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) {
        const int16_t luma = static_cast<int16_t>(y[i] + 128), b = cb[i], r = cr[i];
        const uint16_t red = to_sample(add(luma, add(r, mul(r, q15(0.402)))));
        const uint16_t green = to_sample(sub(luma, add(mul(b, q15(0.344136)), mul(r, q15(0.714136)))));
        const uint16_t blue = to_sample(add(luma, add(b, mul(b, q15(0.772)))));
        const uint16_t low = static_cast<uint16_t>(red | (green << 8));
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
    for (int64_t i = 0; i < n; ++i) dst[i] = to_sample(static_cast<int16_t>(y[i] + 128));
}

void accumulate(const uint8_t* src, int64_t n, uint16_t* OG_RESTRICT sum) {
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) sum[i] = static_cast<uint16_t>(sum[i] + src[i]);
}

void average(const uint16_t* sum, int64_t n, int count, uint8_t* OG_RESTRICT dst) {
    int shift = 0;  // counts are powers of two
    while ((1 << shift) < count) ++shift;
    OG_IVDEP
    for (int64_t i = 0; i < n; ++i) dst[i] = static_cast<uint8_t>((sum[i] + (count >> 1)) >> shift);
}

}  // namespace

extern const DctKernels dct_kernels;
const DctKernels dct_kernels = {
    rgb_to_ycc, gray_to_y, average_2x2, spread,    gather,     quantise,
    shrink,     repeat_2,  ycc_to_rgb,  y_to_gray, accumulate, average,
};

}  // namespace OG_ISA
}  // namespace og
