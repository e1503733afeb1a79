#include "ondevice_guard/signal.hpp"

#include <array>
#include <cmath>
#include <complex>
#include <tuple>

#include "door.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"
#include "ondevice_guard/random.hpp"

namespace og {
namespace {

constexpr int kBins = 8;
constexpr size_t kPeaks = 4;                // spectral peaks tried per axis, beside the multiples of 1/8
constexpr size_t kRatios = 16;              // pairs of one ratio tried
constexpr double kChance = 1.44;            // mean of an exponential distribution in units of its median
constexpr double kPeakPower = 12;           // of the median around it: noise alone reaches that once in 2^12
constexpr int64_t kEnoughPixels = 1 << 20;  // z of a 10 % payload is above 30 in a fifth of that
constexpr double kEnoughZ = 60;             // beyond, z says no more than that the grid is there
constexpr int64_t kMinSide = 48;            // six periods of the largest ratio
constexpr double kFloor = 0.05;             // s: a flat picture has no ratio
constexpr int64_t kMinCount = 256;          // pixels per part of the picture
constexpr double kLowest = 1.0 / 12;        // frequencies below belong to the picture's content
constexpr double kSpread = 1.83;            // evidence 1 of the spread: log_ratio * sqrt(min(z, kEnoughZ))
constexpr double kShift = 7;                // evidence 1 of the shift, in standard errors
constexpr double kLeastShift = 0.05;        // grey levels; a large smooth picture has little error, and some shift
constexpr double kOwn = 0.6;  // of cross by its share: 244 of 252 attacks are found at 0 as at 0.7, and of 40
                              // simulated sensors 35 at 0, 8 at 0.6
constexpr int kSigned = 0;    // `distance` of the signed residual
constexpr int kLinear = -1;   // and of the linear one, which sees clusters that hide each other, too

/// Luma of the whole picture, every row with two replicated samples on each side.
struct Luma {
    int64_t height, width, stride;
    std::unique_ptr<uint8_t[]> data;

    uint8_t* row(int64_t y) const { return data.get() + y * stride + 2; }
};

Luma luma_of(const ImageView& v, const SignalKernels& k, const Context& context) {
    Luma l{v.height, v.width, v.width + 4, nullptr};
    l.data.reset(new uint8_t[static_cast<size_t>(l.height * l.stride)]);
    parallel_for(context, v.height, grain_rows(v), [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) {
            uint8_t* row = l.row(y);
            if (v.channels == 3) {
                k.luma_row(v.row(y), row, v.width);
            } else {
                std::memcpy(row, v.row(y), static_cast<size_t>(v.width));
            }
            row[-2] = row[-1] = row[0];
            row[v.width] = row[v.width + 1] = row[v.width - 1];
        }
    });
    return l;
}

/// e_d (or the signed residual, as bytes 128 + s) of some rows of the picture with its sums.
struct Residual {
    int64_t height, width;            // of the picture
    std::vector<int64_t> rows;        // which ones, rising
    std::unique_ptr<uint8_t[]> data;  // packed
    std::vector<uint64_t> row_sums;   // of each row of the picture; 0 where it was left out
    uint64_t total = 0, squares = 0;

    const uint8_t* row(size_t i) const { return data.get() + static_cast<int64_t>(i) * width; }
    double pixels() const { return static_cast<double>(rows.size()) * static_cast<double>(width); }
    double mean() const { return static_cast<double>(total) / pixels(); }
    double root_mean_square() const { return std::sqrt(static_cast<double>(squares) / pixels() + kFloor); }
};

Residual residual_of(const Luma& l, int64_t d, const std::vector<int64_t>& rows, const SignalKernels& k,
                     const Context& context) {
    Residual r{l.height, l.width, rows, nullptr, std::vector<uint64_t>(static_cast<size_t>(l.height), 0), 0, 0};
    const int64_t count = static_cast<int64_t>(rows.size());
    r.data.reset(new uint8_t[static_cast<size_t>(count * l.width)]);
    std::vector<uint64_t> squares(rows.size(), 0);
    parallel_for(context, count, std::max<int64_t>(1, 65536 / l.width), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t y = rows[static_cast<size_t>(i)];
            const int64_t reach = std::max<int64_t>(d, 1);
            const uint8_t* above = l.row(std::max<int64_t>(y - reach, 0));
            const uint8_t* below = l.row(std::min(y + reach, l.height - 1));
            uint8_t* to = r.data.get() + i * l.width;
            uint64_t* square = &squares[static_cast<size_t>(i)];
            r.row_sums[static_cast<size_t>(y)] =
                d == kLinear   ? k.linear_row(above, l.row(y), below, to, l.width, square)
                : d == kSigned ? k.signed_row(above, l.row(y), below, to, l.width, square)
                               : k.residual_row(above, l.row(y), below, d, to, l.width, square);
        }
    });
    for (const uint64_t sum : r.row_sums) r.total += sum;
    for (const uint64_t sum : squares) r.squares += sum;
    return r;
}

/// All rows, or of a large picture every n-th band of 64, so that about kEnoughPixels are looked at.
std::vector<int64_t> rows_to_look_at(int64_t height, int64_t width, bool all) {
    const int64_t step = all ? 1 : std::max<int64_t>(1, (height * width + kEnoughPixels - 1) / kEnoughPixels);
    std::vector<int64_t> rows;
    for (int64_t y = 0; y < height; ++y) {
        if (y / 64 % step == 0) rows.push_back(y);
    }
    return rows;
}

int phase_bin(int64_t i, double frequency, int bins = kBins) {
    const double phase = static_cast<double>(i) * frequency;
    // The nudge keeps exact multiples (i f = 3 computed as 2.9999…) in their bin.
    return static_cast<int>((phase - std::floor(phase)) * bins + 1e-6) % bins;
}

using Complex = std::complex<double>;

std::vector<Complex> roots_of_unity(size_t n) {
    std::vector<Complex> roots(n / 2);
    for (size_t i = 0; i < n / 2; ++i) {
        const double angle = -2 * 3.14159265358979323846 * static_cast<double>(i) / static_cast<double>(n);
        roots[i] = {std::cos(angle), std::sin(angle)};
    }
    return roots;
}

/// Discrete Fourier transform in place; the size is a power of two, `roots` are those of that size.
void fft(std::vector<Complex>& a, const std::vector<Complex>& roots) {
    const size_t n = a.size();
    for (size_t i = 1, j = 0; i < n; ++i) {
        size_t bit = n >> 1;
        for (; (j & bit) != 0; bit >>= 1) j ^= bit;
        j ^= bit;
        if (i < j) std::swap(a[i], a[j]);
    }
    for (size_t length = 2; length <= n; length <<= 1) {
        const size_t half = length / 2, step = n / length;
        for (size_t i = 0; i < n; i += length) {
            for (size_t j = 0; j < half; ++j) {
                const double re = a[i + j + half].real(), im = a[i + j + half].imag();
                const double wr = roots[j * step].real(), wi = roots[j * step].imag();
                const std::complex<double> t(re * wr - im * wi, re * wi + im * wr);
                a[i + j + half] = a[i + j] - t;
                a[i + j] += t;
            }
        }
    }
}

/// Discrete Fourier transform of any size (Bluestein's algorithm).
std::vector<Complex> transform(const std::vector<Complex>& x) {
    const size_t n = x.size();
    size_t padded = 64;
    while (padded < 2 * n) padded <<= 1;
    const std::vector<Complex> roots = roots_of_unity(padded);
    std::vector<Complex> chirp(n), a(padded, 0.0), b(padded, 0.0);
    const auto times = [](const Complex& p, const Complex& q) {  // without the checks for infinity of operator*
        return Complex(p.real() * q.real() - p.imag() * q.imag(), p.real() * q.imag() + p.imag() * q.real());
    };
    for (size_t i = 0; i < n; ++i) {
        const double angle = 3.14159265358979323846 * static_cast<double>(i * i % (2 * n)) / static_cast<double>(n);
        chirp[i] = {std::cos(angle), -std::sin(angle)};
        a[i] = times(x[i], chirp[i]);
        b[i] = std::conj(chirp[i]);
        if (i != 0) b[padded - i] = b[i];
    }
    fft(a, roots);
    fft(b, roots);
    for (size_t i = 0; i < padded; ++i)
        a[i] = std::conj(times(a[i], b[i]));  // conjugated, the same transform goes back
    fft(a, roots);
    std::vector<Complex> result(n);
    for (size_t k = 0; k < n; ++k) result[k] = times(std::conj(a[k]), chirp[k]) / static_cast<double>(padded);
    return result;
}

/// A profile beside its moving mean, so that textured parts of the picture do not dominate. Energies count relative to
/// it and are clipped against outliers; a signed profile counts as it is. Only the lines in `valid` (rising) count; the
/// others become 0.
std::vector<double> flattened(const std::vector<uint64_t>& profile, const std::vector<int64_t>& valid, bool energy) {
    const size_t n = valid.size(), reach = std::max<size_t>(12, n / 32);
    std::vector<double> x(profile.size(), 0.0), cumulative(n + 1, 0.0);
    for (size_t i = 0; i < n; ++i)
        cumulative[i + 1] = cumulative[i] + static_cast<double>(profile[static_cast<size_t>(valid[i])]);
    for (size_t i = 0; i < n; ++i) {
        const size_t a = i > reach ? i - reach : 0, b = std::min(n, i + reach + 1),
                     line = static_cast<size_t>(valid[i]);
        const double mean = (cumulative[b] - cumulative[a]) / static_cast<double>(b - a);
        const double value = static_cast<double>(profile[line]);
        x[line] = energy ? std::min(2.0, (value + 1) / (mean + 1) - 1) : value - mean;
    }
    return x;
}

/// Power of two flattened profiles of one axis at the frequencies k / n, relative to the median around each.
std::array<std::vector<double>, 2> spectra_of(const std::vector<double>& x1, const std::vector<double>& x2) {
    const size_t n = x1.size();
    std::vector<Complex> both(n);  // two real signals in one transform
    for (size_t i = 0; i < n; ++i) both[i] = {x1[i], x2[i]};
    const std::vector<Complex> spectrum = transform(both);
    const size_t first = static_cast<size_t>(std::ceil(kLowest * static_cast<double>(n))), last = n / 2;
    std::array<std::vector<double>, 2> relative;
    for (size_t which = 0; which < 2; ++which) {
        std::vector<double>& power = relative[which];
        power.assign(last + 1, 0.0);
        for (size_t k = first; k <= last; ++k) {
            const Complex p = spectrum[k], q = std::conj(spectrum[n - k]);
            power[k] = std::norm(which == 0 ? p + q : p - q) / 4;
        }
        std::vector<double> block;
        constexpr size_t kBlock = 40;  // frequencies that share a median
        for (size_t b = last + 1; b > first;) {
            const size_t a = b - first < 2 * kBlock ? first : b - kBlock;
            block.assign(power.begin() + static_cast<std::ptrdiff_t>(a),
                         power.begin() + static_cast<std::ptrdiff_t>(b));
            const auto middle = block.begin() + static_cast<std::ptrdiff_t>(block.size() / 2);
            std::nth_element(block.begin(), middle, block.end());
            for (size_t k = a; k < b; ++k) power[k] = power[k] > 1e-9 ? power[k] / std::max(*middle, 1e-9) : 0;
            b = a;
        }
    }
    return relative;
}

/// Frequencies k / n of the peaks of a spectrum, strongest first.
std::vector<double> peaks_of(const std::vector<double>& spectrum, int64_t n) {
    std::vector<std::pair<double, size_t>> peaks;
    for (size_t k = 0; k < spectrum.size(); ++k) {
        if (spectrum[k] > kPeakPower) peaks.emplace_back(-spectrum[k], k);
    }
    std::sort(peaks.begin(), peaks.end());
    std::vector<double> found;
    for (size_t i = 0; i < peaks.size() && i < kPeaks; ++i)
        found.push_back(static_cast<double>(peaks[i].second) / static_cast<double>(n));
    return found;
}

/// Sum of a spectrum over the multiples of k, above what chance gives, and their number.
std::pair<double, double> harmonics_of(const std::vector<double>& spectrum, size_t k) {
    double sum = 0, count = 0;
    for (size_t j = k; j < spectrum.size(); j += k) sum += std::min(spectrum[j], kPeakPower) - kChance, count += 1;
    return {sum, count};
}

/// Pairs of frequencies of one ratio, rounded to a size either way, whose multiples stand out most on both axes together:
/// where grain hides every single peak of a faint payload, their sum still shows.
std::vector<std::pair<double, double>> ratios_of(const std::vector<double>& down, int64_t height,
                                                 const std::vector<double>& across, int64_t width) {
    std::vector<std::tuple<double, size_t, size_t>> ranked;
    const double lines = static_cast<double>(height), columns = static_cast<double>(width);
    for (size_t ky = static_cast<size_t>(std::ceil(kLowest * lines)); ky < down.size(); ++ky) {
        const double same = static_cast<double>(ky) * columns / lines;
        const auto [sum_y, count_y] = harmonics_of(down, ky);
        const size_t low = static_cast<size_t>(same), high = static_cast<size_t>(std::ceil(same));
        for (size_t kx = low; kx <= high && kx < across.size(); ++kx) {
            const auto [sum_x, count_x] = harmonics_of(across, kx);
            ranked.emplace_back(-(sum_y + sum_x) / std::sqrt(count_y + count_x), ky, kx);
        }
    }
    std::sort(ranked.begin(), ranked.end());
    std::vector<std::pair<double, double>> found;
    for (size_t i = 0; i < ranked.size() && i < kRatios; ++i)
        found.emplace_back(static_cast<double>(std::get<1>(ranked[i])) / lines,
                           static_cast<double>(std::get<2>(ranked[i])) / columns);
    return found;
}

using Counts = std::array<int64_t, kBins>;
using Table = std::array<std::array<double, kBins>, kBins>;  // [row bin][column bin]

Counts count_bins(const std::vector<int64_t>& lines, double frequency) {
    Counts counts{};
    for (const int64_t i : lines) ++counts[static_cast<size_t>(phase_bin(i, frequency))];
    return counts;
}

/// Spread and shift of the best phase window of one pair of frequencies.
struct Standing {
    double log_ratio = 0, z = 0, shift = 0, shift_z = 0;

    double evidence() const {
        return std::max(log_ratio * std::sqrt(std::min(z, kEnoughZ)) / kSpread, std::abs(shift_z) / kShift);
    }
};

/// A window of phase bins of one axis: how many lines lie in it and beside it, and what they sum to.
struct Window {
    double in = 0, out = 0, sum = 0;
    double per_in = 0, per_out = 0, error = 0;  // 1 / in, 1 / out, root of their sum
};

using Windows = std::array<std::array<Window, kBins>, 3>;  // [bins - 1][first bin]

Windows windows_of(const Counts& counts, const std::array<double, kBins>& sums) {
    Windows windows;
    double all = 0;
    for (const int64_t n : counts) all += static_cast<double>(n);
    for (size_t bins = 1; bins <= windows.size(); ++bins) {
        for (size_t first = 0; first < kBins; ++first) {
            Window& w = windows[bins - 1][first];
            for (size_t i = 0; i < bins; ++i) {
                w.in += static_cast<double>(counts[(first + i) % kBins]);
                w.sum += sums[(first + i) % kBins];
            }
            w.out = all - w.in;
            if (w.in <= 0 || w.out <= 0) continue;
            w.per_in = 1 / w.in, w.per_out = 1 / w.out, w.error = std::sqrt(w.per_in + w.per_out);
        }
    }
    return windows;
}

/// Tries every phase window of one pair of frequencies. `scale`: of e_d its coefficient of variation, of the signed
/// residual (distance kSigned) its standard deviation.
Standing standing_of(const Table& t, const Counts& rows, const Counts& columns, int distance, double scale) {
    std::array<double, kBins> by_row{}, by_column{};
    double total = 0;
    for (size_t i = 0; i < kBins; ++i) {
        for (size_t j = 0; j < kBins; ++j) by_row[i] += t[i][j], by_column[j] += t[i][j], total += t[i][j];
    }
    const Windows down = windows_of(rows, by_row), across = windows_of(columns, by_column);
    Standing best;
    double most = 0;
    for (size_t bins = 1; bins <= down.size(); ++bins) {
        for (size_t y = 0; y < kBins; ++y) {
            const Window& v = down[bins - 1][y];
            std::array<double, kBins> band{};
            for (size_t i = 0; i < bins; ++i) {
                for (size_t j = 0; j < kBins; ++j) band[j] += t[(y + i) % kBins][j];
            }
            for (size_t x = 0; x < kBins; ++x) {
                const Window& h = across[bins - 1][x];
                const double n11 = v.in * h.in;
                if (std::min(std::min(v.out * h.out, v.out * h.in), std::min(v.in * h.out, n11)) < kMinCount) continue;
                double s11 = 0;
                for (size_t j = 0; j < bins; ++j) s11 += band[(x + j) % kBins];
                const double m11 = s11 * v.per_in * h.per_in, m10 = (v.sum - s11) * v.per_in * h.per_out;
                const double m01 = (h.sum - s11) * v.per_out * h.per_in;
                const double m00 = (total - v.sum - h.sum + s11) * v.per_out * h.per_out;
                const double cross = m11 - m10 - m01 + m00, least = kOwn * std::abs(cross), sign = cross > 0 ? 1 : -1;
                const double by_rows = (v.sum * v.per_in - (total - v.sum) * v.per_out) * sign;
                const double by_columns = (h.sum * h.per_in - (total - h.sum) * h.per_out) * sign;
                if (by_rows < least * h.in || by_columns < least * v.in) continue;
                Standing now;
                if (distance <= kSigned) {
                    if (std::abs(cross) < kLeastShift) continue;
                    now.shift = cross;
                    now.shift_z = now.shift / (scale * v.error * h.error);
                } else {
                    // The ratio is the same for both complements, and as large where one part is smoother than the
                    // other three: sampled pixels must stick out of each of them.
                    const double lead = (m11 + kFloor) / (std::max(m00, std::max(m10, m01)) + kFloor);
                    if (lead <= 1) continue;
                    const double ratio =
                        std::min((m11 + kFloor) * (m00 + kFloor) / ((m10 + kFloor) * (m01 + kFloor)), lead * lead);
                    if (ratio <= 1) continue;
                    now.log_ratio = std::log(ratio);
                    now.z = now.log_ratio * std::sqrt(n11) / scale;
                }
                const double evidence = now.evidence();
                if (evidence <= most) continue;
                most = evidence;
                best = now;
            }
        }
    }
    return best;
}

void keep_stronger(SamplingGrid& best, const Standing& s, double fy, double fx) {
    const double evidence = s.evidence();
    if (evidence > best.evidence) best = {evidence, s.log_ratio, s.z, s.shift, s.shift_z, fy, fx};
}

double scale_of(const Residual& r, int distance) {
    return distance <= kSigned ? r.root_mean_square() : r.root_mean_square() / (r.mean() + kFloor);
}

/// Column sums of a residual for each phase bin of the rows.
std::vector<uint32_t> sums_by_row_bin(const Residual& r, double frequency, const SignalKernels& k) {
    std::vector<uint32_t> sums(static_cast<size_t>(kBins * r.width), 0);
    std::vector<uint16_t> parts(static_cast<size_t>(kBins * r.width), 0);
    std::array<int, kBins> rows{};  // in a part
    const auto close = [&](int64_t bin) {
        k.add_part(sums.data() + bin * r.width, parts.data() + bin * r.width, r.width);
        rows[static_cast<size_t>(bin)] = 0;
    };
    for (size_t i = 0; i < r.rows.size(); ++i) {
        const int bin = phase_bin(r.rows[i], frequency);
        k.add_row(parts.data() + bin * r.width, r.row(i), r.width);
        if (++rows[static_cast<size_t>(bin)] == kAddedRows) close(bin);
    }
    for (int64_t bin = 0; bin < kBins; ++bin) close(bin);
    return sums;
}

/// Bins of all columns.
std::vector<uint8_t> column_bins(int64_t width, double frequency) {
    std::vector<uint8_t> bins(static_cast<size_t>(width));
    for (int64_t x = 0; x < width; ++x) bins[static_cast<size_t>(x)] = static_cast<uint8_t>(phase_bin(x, frequency));
    return bins;
}

/// Sums of whole numbers, so that their order is free.
Table table_of(const std::vector<uint32_t>& sums, const std::vector<uint8_t>& bins) {
    Table t{};
    for (size_t b = 0; b < kBins; ++b) {
        std::array<uint64_t, kBins> even{}, odd{};  // two, since neighbours often share a bin
        const uint32_t* row = sums.data() + b * bins.size();
        size_t x = 0;
        for (; x + 1 < bins.size(); x += 2) {
            even[bins[x]] += row[x];
            odd[bins[x + 1]] += row[x + 1];
        }
        if (x < bins.size()) even[bins[x]] += row[x];
        for (size_t i = 0; i < kBins; ++i) t[b][i] = static_cast<double>(even[i] + odd[i]);
    }
    return t;
}

Counts count_bins(const std::vector<uint8_t>& bins) {
    Counts counts{};
    for (const uint8_t bin : bins) ++counts[bin];
    return counts;
}

SamplingGrid grid_of(const ImageView& image, const Context& context) {
    SamplingGrid best;
    if (std::min(image.height, image.width) < kMinSide) return best;
    const SignalKernels& k = *kernels().signal;
    const Packed packed(image);
    const Luma luma = luma_of(packed.view(), k, context);
    const std::vector<int64_t> all_columns = rows_to_look_at(image.width, 1, true);
    const std::vector<int64_t> some_rows = rows_to_look_at(image.height, image.width, false);
    const Counts base_y = count_bins(some_rows, 1.0 / kBins), base_x = count_bins(all_columns, 1.0 / kBins);
    std::array<Residual, 3> residuals{residual_of(luma, kSigned, some_rows, k, context),
                                      residual_of(luma, 1, some_rows, k, context),
                                      residual_of(luma, 2, some_rows, k, context)};
    std::array<std::vector<double>, 3> down, across;
    for (int d = 0; d < 3; ++d) {
        const size_t which = static_cast<size_t>(d);
        const Residual& r = residuals[which];
        // Period 8: its bins, permuted, are those of every multiple of 1/8, and their sum is the column profile.
        const std::vector<uint32_t> eighth = sums_by_row_bin(r, 1.0 / kBins, k);
        std::vector<uint64_t> columns(static_cast<size_t>(r.width), 0);
        for (size_t i = 0; i < eighth.size(); ++i) columns[i % static_cast<size_t>(r.width)] += eighth[i];
        down[which] = flattened(r.row_sums, some_rows, d != kSigned);
        across[which] = flattened(columns, all_columns, d != kSigned);
        const Table base = table_of(eighth, column_bins(r.width, 1.0 / kBins));
        for (size_t m = 1; m <= 4; ++m) {
            Table t{};
            Counts rows{}, cols{};
            for (size_t i = 0; i < kBins; ++i) {
                rows[i * m % kBins] += base_y[i];
                cols[i * m % kBins] += base_x[i];
                for (size_t j = 0; j < kBins; ++j) t[i * m % kBins][j * m % kBins] += base[i][j];
            }
            const double f = static_cast<double>(m) / kBins;
            keep_stronger(best, standing_of(t, rows, cols, d, scale_of(r, d)), f, f);
        }
    }
    const auto signed_down = spectra_of(down[0], down[0]), energy_down = spectra_of(down[1], down[2]);
    const auto signed_across = spectra_of(across[0], across[0]), energy_across = spectra_of(across[1], across[2]);
    const std::array<const std::vector<double>*, 3> downs{&signed_down[0], &energy_down[0], &energy_down[1]};
    const std::array<const std::vector<double>*, 3> acrosses{&signed_across[0], &energy_across[0], &energy_across[1]};
    for (int d = 0; d < 3; ++d) {
        const size_t which = static_cast<size_t>(d);
        std::vector<std::pair<double, double>> pairs;
        if (d == kSigned) pairs = ratios_of(*downs[which], image.height, *acrosses[which], image.width);
        const std::vector<double> peaks_across = peaks_of(*acrosses[which], image.width);
        for (const double fy : peaks_of(*downs[which], image.height)) {
            for (const double fx : peaks_across) pairs.emplace_back(fy, fx);
        }
        std::sort(pairs.begin(), pairs.end());
        pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
        double summed = 0;
        std::vector<uint32_t> sums;
        for (const auto& [fy, fx] : pairs) {
            if (fy != summed) sums = sums_by_row_bin(residuals[which], fy, k), summed = fy;
            const std::vector<uint8_t> columns = column_bins(image.width, fx);
            keep_stronger(best,
                          standing_of(table_of(sums, columns), count_bins(some_rows, fy), count_bins(columns), d,
                                      scale_of(residuals[which], d)),
                          fy, fx);
        }
    }
    return best;
}

}  // namespace

SamplingGrid sampling_grid(const ImageView& image, const Context& context) {
    require_image(image, "image");
    if (image.channels == 4) throw Error(Code::unsupported, "image: expected HxW or HxWx3");
    return grid_of(image, context);
}

namespace {

constexpr int kPhases = 8;          // single taps are looked for at every eighth of a period
constexpr int kMultiple = 4;        // a strong payload shows at up to this multiple of its frequency
constexpr double kHighest = 0.75;   // cycles per pixel: a resize to more than three quarters hides nothing
constexpr double kStretch = 4;      // the ratios of the two axes differ by less than this
constexpr double kAsGood = 0.85;    // of the best fit: half as many taps reach 0.71 of it on one axis
constexpr double kExposed = 0.03;   // of a whole sample: what kept pixels carry is below its square
constexpr double kKept = 0.125;     // share of pixels that must be left to rebuild the others from
constexpr int64_t kGap = 8;         // lines in a row that are read at most: four taps twice
constexpr double kFall = 0.75;      // of the evidence is left at most by a round that is kept: 0.6 on 126 attacks
constexpr double kBicubic = -0.75;  // OpenCV's and torch's
constexpr double kLeastLeft = 0.4;  // a bicubic payload has 0.6 to 1.4, a bilinear one, which leaves nothing, up to 0.2
constexpr double kMostLeft = 1.5;   // clipping drives the outer taps further than least squares would

/// How a resize without antialiasing reads a line: one pixel at floor((i + phase / kPhases) N / n), or the two or four
/// around (i + 1/2) N / n - 1/2.
struct Reader {
    int taps = 1, phase = 0;
};

/// What one sample reads of its axis: two lines or four, beyond the border the last one again.
struct Taps {
    std::array<int64_t, 4> line{};
    std::array<double, 4> weight{};
};

std::vector<Taps> taps_of(int64_t pixels, int64_t samples, int taps) {
    std::vector<Taps> all(static_cast<size_t>(samples));
    const double ratio = static_cast<double>(pixels) / static_cast<double>(samples);
    for (int64_t i = 0; i < samples; ++i) {
        const double centre = (static_cast<double>(i) + 0.5) * ratio - 0.5;
        const int64_t first = static_cast<int64_t>(std::floor(centre)) - taps / 2 + 1;
        for (int64_t t = 0; t < taps; ++t) {
            const double d = std::abs(centre - static_cast<double>(first + t));
            const double a = kBicubic;
            const double weight = taps == 2 ? 1 - d
                                  : d <= 1  ? ((a + 2) * d - (a + 3)) * d * d + 1
                                            : ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
            Taps& sample = all[static_cast<size_t>(i)];
            sample.line[static_cast<size_t>(t)] = std::min(std::max<int64_t>(first + t, 0), pixels - 1);
            sample.weight[static_cast<size_t>(t)] = weight;
        }
    }
    return all;
}

/// The largest absolute weight that each of N pixels has in any of the n samples.
std::vector<double> exposure_of(int64_t pixels, int64_t samples, const Reader& reader) {
    std::vector<double> exposure(static_cast<size_t>(pixels), 0.0);
    for (int64_t i = 0; i < samples && reader.taps == 1; ++i) {
        const int64_t at = (kPhases * i + reader.phase) * pixels, per = kPhases * samples;
        exposure[static_cast<size_t>(std::min(at / per, pixels - 1))] = 1;
        // Whether a place that is a whole number is rounded down to it or to the one before, libraries differ.
        if (at % per == 0 && at > 0 && pixels % samples != 0) exposure[static_cast<size_t>(at / per - 1)] = 1;
    }
    if (reader.taps == 1) return exposure;
    for (const Taps& sample : taps_of(pixels, samples, reader.taps)) {
        for (size_t t = 0; t < sample.line.size(); ++t) {
            double& most = exposure[static_cast<size_t>(sample.line[t])];
            most = std::max(most, std::abs(sample.weight[t]));
        }
    }
    return exposure;
}

/// Sizes that frequencies found on either axis may be multiples or aliases of, for an axis of N pixels.
std::vector<int64_t> sizes_of(const SamplingGrid& grid, int64_t pixels) {
    std::vector<int64_t> sizes;
    for (int m = 1; m <= kMultiple; ++m) {
        for (int j = 0; j <= m; ++j) {
            for (const double found : {grid.frequency_y, -grid.frequency_y, grid.frequency_x, -grid.frequency_x}) {
                const double f = (j + found) / m;
                if (f < kLowest - 1e-9 || f > kHighest) continue;
                const double size = f * static_cast<double>(pixels);
                sizes.push_back(static_cast<int64_t>(std::floor(size + 1e-6)));
                sizes.push_back(static_cast<int64_t>(std::ceil(size - 1e-6)));
            }
        }
    }
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    return sizes;
}

/// A size and a way of reading; how well the residuals fit it, in standard errors.
struct Fit {
    int64_t height = 0, width = 0;
    Reader reader;
    double z = 0;
};

/// The exposure of one axis at the lines that are looked at, with its sums.
struct Pattern {
    std::vector<double> weights;
    double mean = 0, squares = 0, spread = 0;  // spread: sum of squares about the mean

    Pattern(const std::vector<double>& exposure, const std::vector<int64_t>& lines) {
        const double n = static_cast<double>(lines.size());
        for (const int64_t i : lines) {
            weights.push_back(exposure[static_cast<size_t>(i)]);
            mean += weights.back() / n;
            squares += weights.back() * weights.back();
        }
        spread = std::max(squares - n * mean * mean, 1e-9);
    }
};

/// The resize that the residuals speak of: of all that fit nearly as well as the best, the one to the fewest pixels; and the
/// best, which the former is a part of where a payload covers a part of the picture.
std::array<Fit, 2> fits_of(const ImageView& v, const SamplingGrid& grid, const SignalKernels& k,
                           const Context& context) {
    const Luma luma = luma_of(v, k, context);
    const std::vector<int64_t> rows = rows_to_look_at(v.height, v.width, false);
    const std::vector<int64_t> columns = rows_to_look_at(v.width, 1, true);
    std::vector<Reader> readers{{2, 0}, {4, 0}};
    for (int phase = 0; phase < kPhases; ++phase) readers.push_back({1, phase});
    const std::vector<int64_t> heights = sizes_of(grid, v.height), widths = sizes_of(grid, v.width);
    std::vector<Residual> residuals;
    std::vector<std::vector<uint32_t>> totals;  // of every column
    for (const int distance : {kLinear, kSigned, 1, 2}) {
        residuals.push_back(residual_of(luma, distance, rows, k, context));
        totals.push_back(sums_by_row_bin(residuals.back(), 0, k));  // at frequency 0 all rows are in the first bin
        totals.back().resize(static_cast<size_t>(v.width));
    }
    std::vector<std::vector<Pattern>> across(readers.size());
    for (size_t r = 0; r < readers.size(); ++r) {
        for (const int64_t width : widths) across[r].emplace_back(exposure_of(v.width, width, readers[r]), columns);
    }
    // One task a reader and height: its rows summed with their weights, then every width.
    const int64_t tasks = static_cast<int64_t>(readers.size() * heights.size());
    std::vector<std::vector<Fit>> found(static_cast<size_t>(tasks));
    parallel_for(context, tasks, 1, [&](int64_t begin, int64_t end) {
        std::vector<double> sums(static_cast<size_t>(v.width));
        for (int64_t task = begin; task < end; ++task) {
            const size_t which = static_cast<size_t>(task) / heights.size();
            const int64_t height = heights[static_cast<size_t>(task) % heights.size()];
            const Pattern down(exposure_of(v.height, height, readers[which]), rows);
            for (size_t w = 0; w < widths.size(); ++w) {
                const double stretch =
                    static_cast<double>(height * v.width) / static_cast<double>(widths[w] * v.height);
                if (stretch > kStretch || stretch < 1 / kStretch) continue;
                // Two taps of two pixels each read every line: such a payload is an overlay, and hides nothing.
                const bool overlay = std::max(2 * height - v.height, 2 * widths[w] - v.width) >= -2;
                if (readers[which].taps > 1 && overlay) continue;
                found[static_cast<size_t>(task)].push_back({height, widths[w], readers[which], 0});
            }
            for (size_t e = 0; e < residuals.size() && !found[static_cast<size_t>(task)].empty(); ++e) {
                const Residual& r = residuals[e];
                std::fill(sums.begin(), sums.end(), 0.0);
                for (size_t i = 0; i < rows.size(); ++i) {
                    const double weight = down.weights[i];
                    const uint8_t* row = r.row(i);
                    if (weight == 0) continue;
                    for (size_t x = 0; x < sums.size(); ++x) sums[x] += weight * row[x];
                }
                for (Fit& fit : found[static_cast<size_t>(task)]) {
                    const auto w = std::lower_bound(widths.begin(), widths.end(), fit.width) - widths.begin();
                    const Pattern& along = across[which][static_cast<size_t>(w)];
                    double crossing = 0, product = 0;
                    for (size_t x = 0; x < sums.size(); ++x) {
                        crossing += (along.weights[x] - along.mean) * (sums[x] - down.mean * totals[e][x]);
                        product += along.weights[x] * sums[x] - along.mean * down.mean * totals[e][x];
                    }
                    crossing /= std::sqrt(down.spread * along.spread);
                    const double mean = down.mean * along.mean;
                    product /= std::sqrt(std::max(down.squares * along.squares - r.pixels() * mean * mean, 1e-9));
                    // The crossing is the same for both complements, the product counts lines that stand out by
                    // themselves: what is meant has both.
                    const double z = std::min(std::abs(crossing), std::abs(product)) / r.root_mean_square();
                    fit.z = std::max(fit.z, z);
                }
            }
        }
    });
    Fit fewest, best;
    for (const std::vector<Fit>& fits : found)
        for (const Fit& fit : fits)
            if (fit.z > best.z) best = fit;
    for (const std::vector<Fit>& fits : found) {
        for (const Fit& fit : fits) {
            if (fit.z < kAsGood * best.z) continue;
            const int64_t size = fit.height * fit.width, least = fewest.height * fewest.width;
            if (fewest.z == 0 || size < least || (size == least && fit.z > fewest.z)) fewest = fit;
        }
    }
    return {fewest, best};
}

/// How much of each row and each column some resize reads.
struct Sampled {
    std::vector<double> rows, columns;

    bool read(int64_t y, int64_t x) const {
        return rows[static_cast<size_t>(y)] * columns[static_cast<size_t>(x)] > kExposed;
    }
    double kept() const {
        double count = 0;
        for (const double y : rows) {
            for (const double x : columns) count += y * x <= kExposed;
        }
        return count / static_cast<double>(rows.size() * columns.size());
    }
    /// Whether lines that are not read lie everywhere on both axes: one that is interpolated over a wide gap shows nothing of
    /// the picture.
    bool everywhere() const {
        for (const std::vector<double>* axis : {&rows, &columns}) {
            int64_t gap = 0;
            for (const double e : *axis) {
                gap = e <= std::sqrt(kExposed) ? 0 : gap + 1;
                if (gap > kGap) return false;
            }
        }
        return true;
    }
};

/// The pixels to rebuild, and what reads them. A bilinear kernel's core is that of a bicubic one, and of both a single tap
/// in the middle: the widest is taken that leaves enough; none (0 taps) when none does, as at ratio 2, where a payload
/// spares no pixel.
int sampled_by(const Fit& fit, int64_t height, int64_t width, Sampled& s) {
    std::vector<Reader> readers{fit.reader};
    const bool middle = fit.reader.taps > 1 || 2 * fit.reader.phase == kPhases;
    if (middle) readers = {{4, 0}, {2, 0}, {1, kPhases / 2}};
    for (const Reader& reader : readers) {
        s = {exposure_of(height, fit.height, reader), exposure_of(width, fit.width, reader)};
        if (s.kept() >= kKept && (reader.taps == 1 || s.everywhere())) return reader.taps;
        if (reader.taps == fit.reader.taps) break;  // fewer taps than the payload has would only break it up
    }
    return 0;
}

/// Writes over every pixel that is read one of the nearest that are not, drawn by its place: a mean or a median would
/// leave a grid of smooth pixels, which is a sampling grid to whoever looks next.
void draw(const ImageView& v, const MutableImageView& out, const Sampled& s, const Context& context) {
    constexpr size_t kEnough = 5;   // to draw from
    constexpr int64_t kReach = 12;  // the largest period
    parallel_for(context, v.height, grain_rows(v, 1 << 12), [&](int64_t begin, int64_t end) {
        std::vector<const uint8_t*> kept;
        for (int64_t y = begin; y < end; ++y) {
            for (int64_t x = 0; x < v.width; ++x) {
                if (!s.read(y, x)) continue;
                kept.clear();
                for (int64_t reach = 1; reach <= kReach && kept.size() < kEnough; ++reach) {
                    const int64_t y0 = std::max<int64_t>(y - reach, 0), y1 = std::min(y + reach, v.height - 1);
                    const int64_t x0 = std::max<int64_t>(x - reach, 0), x1 = std::min(x + reach, v.width - 1);
                    for (int64_t j = y0; j <= y1; ++j) {
                        const bool edge = j == y - reach || j == y + reach;
                        for (int64_t i = x0; i <= x1; ++i) {
                            const bool ring = edge || i == x - reach || i == x + reach;
                            if (ring && !s.read(j, i)) kept.push_back(v.row(j) + i * v.channels);
                        }
                    }
                }
                if (kept.empty()) continue;
                const int64_t last = static_cast<int64_t>(kept.size()) - 1;
                const int64_t drawn = random_between(0, static_cast<uint64_t>(y * v.width + x), 0, last);
                std::memcpy(out.row(y) + x * v.channels, kept[static_cast<size_t>(drawn)],
                            static_cast<size_t>(v.channels));
            }
        }
    });
}

/// For every line the nearest ones on both sides that no resize reads, and the share of the second.
struct Between {
    int64_t before, after;
    double share;
};

std::vector<Between> between(const std::vector<double>& exposure) {
    const int64_t n = static_cast<int64_t>(exposure.size());
    std::vector<Between> lines(exposure.size(), {-1, -1, 0});
    const auto kept = [&](int64_t i) { return exposure[static_cast<size_t>(i)] <= std::sqrt(kExposed); };
    for (int64_t i = 0, last = -1; i < n; ++i) {
        if (kept(i)) last = i;
        lines[static_cast<size_t>(i)].before = last;
    }
    for (int64_t i = n - 1, next = -1; i >= 0; --i) {
        if (kept(i)) next = i;
        lines[static_cast<size_t>(i)].after = next;
    }
    for (int64_t i = 0; i < n; ++i) {
        Between& b = lines[static_cast<size_t>(i)];
        if (b.before < 0) b.before = b.after;
        if (b.after < 0) b.after = b.before;
        if (b.after > b.before) b.share = static_cast<double>(i - b.before) / static_cast<double>(b.after - b.before);
    }
    return lines;
}

/// The picture at the crossings of the rows and columns that are not read.
struct Lattice {
    std::vector<int64_t> rows, columns;
    std::vector<int64_t> row_at, column_at;  // of every line of the picture its number here, or -1
    int channels;
    std::vector<float> values;

    Lattice(const ImageView& v, const std::vector<Between>& down, const std::vector<Between>& across)
        : row_at(down.size(), -1), column_at(across.size(), -1), channels(v.channels) {
        for (size_t y = 0; y < down.size(); ++y) {
            if (down[y].before != static_cast<int64_t>(y)) continue;
            row_at[y] = static_cast<int64_t>(rows.size());
            rows.push_back(static_cast<int64_t>(y));
        }
        for (size_t x = 0; x < across.size(); ++x) {
            if (across[x].before != static_cast<int64_t>(x)) continue;
            column_at[x] = static_cast<int64_t>(columns.size());
            columns.push_back(static_cast<int64_t>(x));
        }
        values.reserve(rows.size() * columns.size() * static_cast<size_t>(channels));
        for (const int64_t y : rows) {
            for (const int64_t x : columns) {
                const uint8_t* from = v.row(y) + x * channels;
                for (int c = 0; c < channels; ++c) values.push_back(static_cast<float>(from[c]));
            }
        }
    }

    int64_t row_size() const { return static_cast<int64_t>(columns.size()) * channels; }
};

/// Interpolates the picture from a lattice, linearly and one axis after the other: the energy of what comes out is a product
/// of a row and a column pattern, which no one takes for a sampling grid.
void spread(const Lattice& l, const std::vector<Between>& down, const std::vector<Between>& across,
            const MutableImageView& out, const Context& context) {
    const auto row_of = [&](int64_t y) { return l.values.data() + l.row_at[static_cast<size_t>(y)] * l.row_size(); };
    parallel_for(context, out.height, grain_rows(out, 1 << 14), [&](int64_t begin, int64_t end) {
        for (int64_t y = begin; y < end; ++y) {
            const Between& b = down[static_cast<size_t>(y)];
            const float *above = row_of(b.before), *below = row_of(b.after);
            uint8_t* to = out.row(y);
            for (const Between& a : across) {
                const int64_t left = l.column_at[static_cast<size_t>(a.before)] * l.channels,
                              right = l.column_at[static_cast<size_t>(a.after)] * l.channels;
                for (int c = 0; c < l.channels; ++c) {
                    const double top = above[left + c] + a.share * (above[right + c] - above[left + c]);
                    const double bottom = below[left + c] + a.share * (below[right + c] - below[left + c]);
                    const double value = top + b.share * (bottom - top) + 0.5;
                    *to++ = static_cast<uint8_t>(std::min(std::max(value, 0.0), 255.0));
                }
            }
        }
    });
}

/// What the outer taps of a bicubic payload leave in the lattice, to a factor: what the resize reads of the attack and not of
/// the picture rebuilt without it, put back where it was read from (the pseudo-inverse of a kernel whose samples overlap
/// little is its transpose over their squares).
Lattice left_by(const ImageView& attack, const ImageView& rebuilt, const Fit& fit, const Lattice& like,
                const Context& context) {
    const std::vector<Taps> down = taps_of(attack.height, fit.height, 4), across = taps_of(attack.width, fit.width, 4);
    Lattice left = like;
    std::fill(left.values.begin(), left.values.end(), 0.0F);
    const auto square = [](const Taps& t) {
        double sum = 0;
        for (const double w : t.weight) sum += w * w;
        return sum;
    };
    parallel_for(context, like.channels, 1, [&](int64_t begin, int64_t end) {
        std::vector<double> line(static_cast<size_t>(attack.width)), put(like.columns.size());
        for (int64_t c = begin; c < end; ++c) {
            for (const Taps& i : down) {
                std::fill(line.begin(), line.end(), 0.0);
                for (size_t t = 0; t < i.line.size(); ++t) {
                    const uint8_t *a = attack.row(i.line[t]) + c, *b = rebuilt.row(i.line[t]) + c;
                    for (size_t x = 0; x < line.size(); ++x, a += like.channels, b += like.channels)
                        line[x] += i.weight[t] * (*a - *b);
                }
                std::fill(put.begin(), put.end(), 0.0);
                for (const Taps& j : across) {
                    double read = 0;
                    for (size_t t = 0; t < j.line.size(); ++t)
                        read += j.weight[t] * line[static_cast<size_t>(j.line[t])];
                    read /= square(i) * square(j);
                    for (size_t t = 0; t < j.line.size(); ++t) {
                        const int64_t at = like.column_at[static_cast<size_t>(j.line[t])];
                        if (at >= 0) put[static_cast<size_t>(at)] += j.weight[t] * read;
                    }
                }
                for (size_t t = 0; t < i.line.size(); ++t) {
                    const int64_t at = like.row_at[static_cast<size_t>(i.line[t])];
                    if (at < 0) continue;
                    float* to = left.values.data() + at * like.row_size() + c;
                    for (const double value : put) *to += static_cast<float>(i.weight[t] * value), to += like.channels;
                }
            }
        }
    });
    return left;
}

/// How much of `pattern` is in a lattice: the regression of what each value has beyond its four neighbours.
double share_of(const Lattice& pattern, const Lattice& in) {
    const int64_t stride = in.row_size(), step = in.channels;
    double product = 0, power = 0;
    for (int64_t y = 1; y + 1 < static_cast<int64_t>(in.rows.size()); ++y) {
        for (int64_t x = step; x + step < stride; ++x) {
            const int64_t at = y * stride + x;
            const auto beyond = [&](const std::vector<float>& v) {
                const float* p = v.data() + at;
                return p[0] - 0.25 * (static_cast<double>(p[-stride]) + p[stride] + p[-step] + p[step]);
            };
            const double b = beyond(pattern.values);
            product += b * beyond(in.values);
            power += b * b;
        }
    }
    return product / (power + 1e-9);
}

/// Interpolates the picture from the rows and columns that are not read, less what a bicubic payload left there.
void interpolate(const ImageView& v, const MutableImageView& out, const Sampled& s, const Fit& fit,
                 const Context& context) {
    const std::vector<Between> down = between(s.rows), across = between(s.columns);
    if (down[0].before < 0 || across[0].before < 0) return;
    Lattice kept(v, down, across);
    spread(kept, down, across, out, context);
    const Lattice left =
        left_by(v, {out.data, out.height, out.width, out.channels, out.row_stride}, fit, kept, context);
    const double share = std::min(share_of(left, kept), kMostLeft);
    if (share < kLeastLeft) return;
    for (size_t i = 0; i < kept.values.size(); ++i) kept.values[i] -= static_cast<float>(share * left.values[i]);
    spread(kept, down, across, out, context);
}

}  // namespace

SamplingGrid reconstruct(const ImageView& in, const MutableImageView& out, const Context& context) {
    require_image(in, "image");
    require_out(out, in.height, in.width, in.channels);
    if (in.channels == 4) throw Error(Code::unsupported, "image: expected HxW or HxWx3");
    const Packed packed(in, &out);
    const ImageView& v = packed.view();
    const SignalKernels& k = *kernels().signal;
    for (int64_t y = 0; y < v.height; ++y) std::memcpy(out.row(y), v.row(y), static_cast<size_t>(v.samples_per_row()));
    const ImageView now(out.data, out.height, out.width, out.channels, out.row_stride);
    const SamplingGrid first = grid_of(now, context);
    for (SamplingGrid grid = first; grid.evidence > 0;) {
        const Packed packed_before(now, &out);
        const ImageView& before = packed_before.view();
        bool better = false;
        for (const Fit& fit : fits_of(before, grid, k, context)) {
            Sampled sampled;
            const int taps = sampled_by(fit, v.height, v.width, sampled);
            if (taps == 0) continue;
            if (taps == 1) {
                draw(before, out, sampled, context);
            } else {
                interpolate(before, out, sampled, fit, context);
            }
            const SamplingGrid after = grid_of(now, context);
            better = after.evidence < std::max(1.0, kFall * grid.evidence);
            if (better) {
                grid = after;
                break;
            }
            for (int64_t y = 0; y < v.height; ++y)
                std::memcpy(out.row(y), before.row(y), static_cast<size_t>(v.samples_per_row()));
        }
        if (!better || grid.evidence < 1) break;
    }
    return first;
}

namespace {

uint8_t reversed(uint8_t b) {
    b = static_cast<uint8_t>((b & 0xF0) >> 4 | (b & 0x0F) << 4);
    b = static_cast<uint8_t>((b & 0xCC) >> 2 | (b & 0x33) << 2);
    return static_cast<uint8_t>((b & 0xAA) >> 1 | (b & 0x55) << 1);
}

/// The longest run of at least 32 printable bytes with 10 different ones, each byte read as `as[byte]`.
std::string longest_run(const std::vector<uint8_t>& bytes, const std::array<uint8_t, 256>& as) {
    constexpr size_t kLeast = 32, kMost = 4096;
    std::array<bool, 256> printable{};
    for (size_t b = 0; b < 256; ++b)
        printable[b] = (as[b] >= 32 && as[b] < 127) || as[b] == '\n' || as[b] == '\t' || as[b] == '\r';
    size_t best = 0, best_length = 0;
    // A run of 32 covers a multiple of 32, so that looking at those is enough.
    for (size_t probe = 0; probe < bytes.size(); probe += kLeast) {
        if (!printable[bytes[probe]]) continue;
        size_t a = probe, b = probe + 1;
        while (a > 0 && printable[bytes[a - 1]]) --a;
        while (b < bytes.size() && printable[bytes[b]]) ++b;
        if (b - a >= kLeast && b - a > best_length) {
            std::array<bool, 256> seen{};
            int different = 0;
            for (size_t i = a; i < b && i < a + kMost; ++i) {
                if (!seen[bytes[i]]) ++different, seen[bytes[i]] = true;
            }
            if (different >= 10) best = a, best_length = b - a;
        }
        probe = (b - 1) / kLeast * kLeast;
    }
    std::string text;
    for (size_t i = best; i < best + std::min(best_length, kMost); ++i) text.push_back(static_cast<char>(as[bytes[i]]));
    return text;
}

}  // namespace

std::vector<LowBitText> low_bit_text(const ImageView& image) {
    require_image(image, "image");
    if (image.channels == 4) throw Error(Code::unsupported, "image: expected HxW or HxWx3");
    const SignalKernels& k = *kernels().signal;
    const Packed packed(image);
    const ImageView& v = packed.view();
    // One stream of samples; rows of a picture that is not contiguous are joined first.
    std::vector<uint8_t> joined;
    const uint8_t* samples = v.data;
    const int64_t per_row = v.samples_per_row(), total = per_row * v.height;
    if (v.row_stride != per_row && v.height > 1) {
        joined.resize(static_cast<size_t>(total));
        for (int64_t y = 0; y < v.height; ++y)
            std::memcpy(joined.data() + y * per_row, v.row(y), static_cast<size_t>(per_row));
        samples = joined.data();
    }
    std::vector<uint8_t> all(static_cast<size_t>(total / 8));
    k.pack_low_bits(samples, all.data(), total / 8);
    std::vector<LowBitText> found;
    std::array<uint8_t, 256> forward{}, backward{};
    for (size_t b = 0; b < 256; ++b)
        forward[b] = static_cast<uint8_t>(b), backward[b] = reversed(static_cast<uint8_t>(b));
    const auto search = [&](const std::vector<uint8_t>& bytes, const char* order, const char* reverse_order) {
        std::string text = longest_run(bytes, forward);
        if (!text.empty()) found.push_back({order, text});
        text = longest_run(bytes, backward);
        if (!text.empty()) found.push_back({reverse_order, text});
    };
    if (v.channels == 3) {
        // 24 interleaved bits hold 8 bits of each channel: table[j][b] puts the bits of byte j at 16 (R), 8 (G), 0 (B).
        std::array<std::array<uint32_t, 256>, 3> table{};
        for (size_t j = 0; j < 3; ++j) {
            for (size_t b = 0; b < 256; ++b) {
                for (size_t i = 0; i < 8; ++i) {
                    const size_t bit = 8 * j + i;
                    if ((b >> (7 - i) & 1) != 0) table[j][b] |= 1u << ((2 - bit % 3) * 8 + 7 - bit / 3);
                }
            }
        }
        const size_t n = all.size() / 3;
        std::array<std::vector<uint8_t>, 3> channel;
        for (auto& c : channel) c.resize(n);
        for (size_t i = 0; i < n; ++i) {
            const uint32_t bits = table[0][all[3 * i]] | table[1][all[3 * i + 1]] | table[2][all[3 * i + 2]];
            channel[0][i] = static_cast<uint8_t>(bits >> 16);
            channel[1][i] = static_cast<uint8_t>(bits >> 8);
            channel[2][i] = static_cast<uint8_t>(bits);
        }
        search(all, "rgb", "rgb-lsb");
        search(channel[0], "r", "r-lsb");
        search(channel[1], "g", "g-lsb");
        search(channel[2], "b", "b-lsb");
    } else {
        search(all, "grey", "grey-lsb");
    }
    return found;
}

}  // namespace og
