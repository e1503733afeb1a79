// Arithmetic of the 8x8 transform and of Y, Cb, Cr, shared by the CPU loops and the CUDA kernels.
#pragma once

#include "kernels/common.hpp"

namespace og {
namespace {

// 16-bit arithmetic throughout. Sums wrap, which is harmless: every value that leaves the transforms fits, and every
// operand of a product does (see the ranges in purify.hpp).

OG_FN int16_t add(int16_t a, int16_t b) {
    return static_cast<int16_t>(static_cast<uint16_t>(a) + static_cast<uint16_t>(b));
}
OG_FN int16_t sub(int16_t a, int16_t b) {
    return static_cast<int16_t>(static_cast<uint16_t>(a) - static_cast<uint16_t>(b));
}
OG_FN constexpr int16_t q15(double v) {
    return static_cast<int16_t>(v * 32768.0 + 0.5);
}

/// Factors below one half, see `unknown`.
struct DctFactors {
    int16_t f082 = unknown(q15(0.082392200)), f306 = unknown(q15(0.306562965)), f382 = unknown(q15(0.382683433)),
            f414 = unknown(q15(0.414213562));
};

/// Arai, Agui, Nakajima 1988: the one-dimensional transform with five products, outputs scaled.
OG_FN void forward(int16_t d[8], const DctFactors& f) {
    const int16_t t0 = add(d[0], d[7]), t7 = sub(d[0], d[7]), t1 = add(d[1], d[6]), t6 = sub(d[1], d[6]);
    const int16_t t2 = add(d[2], d[5]), t5 = sub(d[2], d[5]), t3 = add(d[3], d[4]), t4 = sub(d[3], d[4]);
    const int16_t e0 = add(t0, t3), e3 = sub(t0, t3), e1 = add(t1, t2), e2 = sub(t1, t2);
    d[0] = add(e0, e1);
    d[4] = sub(e0, e1);
    const int16_t z1 = mul_q15(add(e2, e3), q15(0.707106781));
    d[2] = add(e3, z1);
    d[6] = sub(e3, z1);
    const int16_t o0 = add(t4, t5), o1 = add(t5, t6), o2 = add(t6, t7);
    const int16_t z5 = mul_q15(sub(o0, o2), f.f382);
    const int16_t z2 = add(mul_q15(o0, q15(0.541196100)), z5);
    const int16_t z4 = add(add(o2, mul_q15(o2, f.f306)), z5);
    const int16_t z3 = mul_q15(o1, q15(0.707106781));
    const int16_t z11 = add(t7, z3), z13 = sub(t7, z3);
    d[5] = add(z13, z2);
    d[3] = sub(z13, z2);
    d[1] = add(z11, z4);
    d[7] = sub(z11, z4);
}

OG_FN void inverse(int16_t c[8], const DctFactors& f) {
    const int16_t e0 = add(c[0], c[4]), e1 = sub(c[0], c[4]), e3 = add(c[2], c[6]);
    const int16_t d26 = sub(c[2], c[6]);
    const int16_t e2 = sub(add(d26, mul_q15(d26, f.f414)), e3);
    const int16_t t0 = add(e0, e3), t3 = sub(e0, e3), t1 = add(e1, e2), t2 = sub(e1, e2);
    const int16_t z13 = add(c[5], c[3]), z10 = sub(c[5], c[3]), z11 = add(c[1], c[7]), z12 = sub(c[1], c[7]);
    const int16_t t7 = add(z11, z13);
    const int16_t d = sub(z11, z13), s = add(z10, z12);
    const int16_t o1 = add(d, mul_q15(d, f.f414));
    const int16_t z5 = add(s, mul_q15(s, q15(0.847759065)));
    const int16_t o0 = sub(add(z12, mul_q15(z12, f.f082)), z5);
    const int16_t o2 = sub(z5, add(add(z10, z10), mul_q15(z10, q15(0.613125930))));
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

/// One scaled coefficient, quantised.
OG_FN int16_t quantised(int16_t c, int16_t recip, int16_t step) {
    return static_cast<int16_t>(mul_q15(c, recip) * step);
}
/// One scaled coefficient, or 0 where it is below `keep`.
OG_FN int16_t shrunk(int16_t c, int16_t keep, int16_t step) {
    const int16_t size = c < 0 ? static_cast<int16_t>(-c) : c;
    const int16_t kept = size >= keep ? c : static_cast<int16_t>(0);
    return mul_q15(kept, step);
}
/// What leaves the inverse transform carries five fractional bits.
OG_FN int16_t descaled(int16_t v) {
    return static_cast<int16_t>(add(v, 16) >> 5);
}

struct Ycc {
    int16_t y, cb, cr;
};
OG_FN Ycc ycc_of(uint16_t r, uint16_t g, uint16_t b) {
    const uint16_t luma = static_cast<uint16_t>(static_cast<uint16_t>(77 * r + 150 * g + 29 * b + 128) >> 8);
    // 128 * 255 + 127 = 32767: the sums fit, and + 127 rounds all but exact halves to nearest
    return {static_cast<int16_t>(luma - 128),
            static_cast<int16_t>(static_cast<int16_t>(128 * b - 43 * r - 85 * g + 127) >> 8),
            static_cast<int16_t>(static_cast<int16_t>(128 * r - 107 * g - 21 * b + 127) >> 8)};
}
/// Of colour differences, whose sum fits.
OG_FN int16_t mean4(int16_t a, int16_t b, int16_t c, int16_t d) {
    return static_cast<int16_t>(add(add(a, b), add(add(c, d), 2)) >> 2);
}

OG_FN uint8_t sample_of(int16_t v) {
    return static_cast<uint8_t>(clamp_to<int16_t>(v, 0, 255));
}

struct Rgb {
    uint16_t r, g, b;
};
/// Factors below one half, see `unknown`.
struct RgbFactors {
    int16_t red = unknown(q15(0.402)), green = unknown(q15(0.344136));
};
OG_FN Rgb rgb_of(int16_t y, int16_t cb, int16_t cr, const RgbFactors& f) {
    const int16_t luma = static_cast<int16_t>(y + 128);
    return {sample_of(add(luma, add(cr, mul_q15(cr, f.red)))),
            sample_of(sub(luma, add(mul_q15(cb, f.green), mul_q15(cr, q15(0.714136))))),
            sample_of(add(luma, add(cb, mul_q15(cb, q15(0.772)))))};
}

/// Mean of 2^shift samples from their sum.
OG_FN uint8_t share_of(uint16_t sum, int count, int shift) {
    return static_cast<uint8_t>((sum + (count >> 1)) >> shift);
}

}  // namespace
}  // namespace og
