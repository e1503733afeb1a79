#include "ondevice_guard/png.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>

#include "door.hpp"
#include "kernels/kernels.hpp"
#include "ondevice_guard/backend.hpp"

namespace og {
namespace {

// ---- bytes and bits
// --------------------------------------------------------------------------------------------------

using CrcTables = std::array<std::array<uint32_t, 256>, 8>;

/// tables[k][b]: the CRC of byte b followed by k zero bytes, so that eight bytes are taken at once.
constexpr CrcTables crc_tables() {
    CrcTables t{};
    for (uint32_t b = 0; b < 256; ++b) {
        uint32_t c = b;
        for (int i = 0; i < 8; ++i) c = (c >> 1) ^ (c & 1 ? 0xedb88320u : 0u);
        t[0][b] = c;
    }
    for (size_t k = 1; k < 8; ++k) {
        for (uint32_t b = 0; b < 256; ++b) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 255];
    }
    return t;
}

uint32_t crc32(const uint8_t* p, size_t n) {
    static constexpr CrcTables t = crc_tables();
    uint32_t c = ~0u;
    for (; n >= 8; n -= 8, p += 8) {
        c ^= p[0] | static_cast<uint32_t>(p[1]) << 8 | static_cast<uint32_t>(p[2]) << 16 |
             static_cast<uint32_t>(p[3]) << 24;
        c = t[7][c & 255] ^ t[6][(c >> 8) & 255] ^ t[5][(c >> 16) & 255] ^ t[4][c >> 24] ^ t[3][p[4]] ^ t[2][p[5]] ^
            t[1][p[6]] ^ t[0][p[7]];
    }
    for (; n; --n, ++p) c = (c >> 8) ^ t[0][(c ^ *p) & 255];
    return ~c;
}

/// The file as it grows. `room` makes space ahead, so that bits are written without a check.
class Output {
  public:
    explicit Output(size_t expected) : bytes_(new uint8_t[expected]), most_(expected) {}

    void room(size_t more) {
        if (most_ >= size_ + more) return;
        most_ = std::max(2 * most_, size_ + more);
        std::unique_ptr<uint8_t[]> larger(new uint8_t[most_]);
        std::memcpy(larger.get(), bytes_.get(), size_);
        bytes_ = std::move(larger);
    }
    void put(std::initializer_list<int> bytes) {
        room(bytes.size());
        for (const int b : bytes) bytes_[size_++] = static_cast<uint8_t>(b);
    }
    void put_be32(uint32_t v) {
        room(4);
        for (int shift = 24; shift >= 0; shift -= 8) bytes_[size_++] = static_cast<uint8_t>(v >> shift);
    }
    void put_be32_at(size_t i, uint32_t v) {
        for (int shift = 24; shift >= 0; shift -= 8) bytes_[i++] = static_cast<uint8_t>(v >> shift);
    }
    void put_name(const char* name) { put({name[0], name[1], name[2], name[3]}); }

    /// The bits that do not fill a byte yet, apart from the file: a copy of it stays in registers.
    struct Bits {
        uint8_t* at;
        uint64_t held;
        int count;

        /// Adds at most 57 bits, lowest first, counting those that are held.
        void add(uint64_t value, int more) {
            held |= value << count;
            count += more;
        }
        /// Moves whole bytes out: at most 7 bits are held afterwards. Needs room for 8 bytes.
        void flush() {
            std::memcpy(at, &held, 8);  // little-endian, like every target we build for
            at += count >> 3;
            held >>= count & ~7;
            count &= 7;
        }
    };
    Bits bits() { return {&bytes_[size_], held_, held_bits_}; }
    void bits(const Bits& b) {
        size_ = static_cast<size_t>(b.at - bytes_.get());
        held_ = b.held;
        held_bits_ = b.count;
    }
    void align() {
        Bits b = bits();
        b.add(0, -b.count & 7);
        b.flush();
        bits(b);
    }

    struct Mark {
        size_t size;
        uint64_t held;
        int held_bits;
    };
    Mark mark() const { return {size_, held_, held_bits_}; }
    void rewind(const Mark& m) {
        size_ = m.size;
        held_ = m.held;
        held_bits_ = m.held_bits;
    }

    size_t size() const { return size_; }
    void advance(size_t n) { size_ += n; }
    uint8_t* at(size_t i) { return &bytes_[i]; }
    /// Appends what another one holds, in whole bytes, and empties it.
    void move(Output& other) {
        room(other.size_);
        std::memcpy(&bytes_[size_], other.bytes_.get(), other.size_);
        size_ += other.size_;
        other.size_ = 0;
    }
    std::vector<uint8_t> all() const { return {bytes_.get(), bytes_.get() + size_}; }

  private:
    std::unique_ptr<uint8_t[]> bytes_;  ///< not a vector, which would fill it first
    size_t most_, size_ = 0;
    uint64_t held_ = 0;
    int held_bits_ = 0;
};

// ---- Huffman codes
// ---------------------------------------------------------------------------------------------------

constexpr int kLiterals = 286, kDistances = 30, kLengths = 19, kEnd = 256;

/// Canonical code of up to 286 symbols: bits with the first one lowest, and how many.
struct Code {
    struct Entry {
        uint16_t bits, length;
    };
    Entry of[kLiterals] = {};
};

/// Huffman's code lengths for `count` symbols, none above `limit`. At least two symbols get one, as decoders expect.
void make_code(const uint32_t* frequency, int count, int limit, Code& out) {
    struct Leaf {
        uint32_t weight;
        int symbol;
    };
    Leaf leaves[kLiterals];
    int used = 0;
    for (int s = 0; s < count; ++s) {
        if (frequency[s]) leaves[used++] = {frequency[s], s};
    }
    for (int s = 0; used < 2; ++s) {
        if (!frequency[s]) leaves[used++] = {1, s};
    }
    std::sort(leaves, leaves + used, [](const Leaf& a, const Leaf& b) {
        return a.weight != b.weight ? a.weight < b.weight : a.symbol < b.symbol;
    });
    // Two queues, both sorted: leaves, and the nodes made of the two lightest of either (van Leeuwen 1976).
    uint32_t weight[kLiterals];
    int parent_of_leaf[kLiterals], parent_of_node[kLiterals], depth[kLiterals], leaf = 0, node = 0;
    for (int made = 0; made < used - 1; ++made) {
        uint32_t sum = 0;
        for (int side = 0; side < 2; ++side) {
            if (node >= made || (leaf < used && leaves[leaf].weight <= weight[node])) {
                sum += leaves[leaf].weight;
                parent_of_leaf[leaf++] = made;
            } else {
                sum += weight[node];
                parent_of_node[node++] = made;
            }
        }
        weight[made] = sum;
    }
    int of_length[33] = {};
    depth[used - 2] = 0;
    for (int n = used - 3; n >= 0; --n) depth[n] = depth[parent_of_node[n]] + 1;
    for (int i = 0; i < used; ++i) ++of_length[std::min(depth[parent_of_leaf[i]] + 1, limit)];
    // Shortening the longest codes to `limit` took more room than there is: split shorter ones until it fits.
    uint64_t room = 0;
    for (int l = 1; l <= limit; ++l) room += static_cast<uint64_t>(of_length[l]) << (limit - l);
    for (; room > uint64_t{1} << limit; --room) {
        int l = limit - 1;
        while (!of_length[l]) --l;
        --of_length[limit];
        --of_length[l];
        of_length[l + 1] += 2;
    }
    std::memset(out.of, 0, sizeof out.of);
    for (int l = limit, i = 0; l >= 1; --l) {
        for (int k = 0; k < of_length[l]; ++k) out.of[leaves[i++].symbol].length = static_cast<uint16_t>(l);
    }
    uint32_t next[16] = {};
    for (int l = 1; l < limit; ++l) next[l + 1] = (next[l] + static_cast<uint32_t>(of_length[l])) << 1;
    for (int s = 0; s < count; ++s) {
        Code::Entry& e = out.of[s];
        uint32_t forward = e.length ? next[e.length]++ : 0, back = 0;
        for (int i = 0; i < e.length; ++i, forward >>= 1) back = back << 1 | (forward & 1);
        e.bits = static_cast<uint16_t>(back);
    }
}

/// A symbol and the bits that follow its code.
struct Symbol {
    int symbol, extra_bits;
    uint32_t extra;
};

/// With n the place of the highest bit of v, symbols step by v's next `fine` bits; the bits below those are sent as
/// they are.
constexpr Symbol stepped(uint32_t v, int fine) {
    int n = 0;
    while (v >> (n + 1)) ++n;
    const int below = n - fine;
    if (below <= 0) return {static_cast<int>(v), 0, 0};
    return {((below << fine) + static_cast<int>(v >> below)), below, v & ((1u << below) - 1)};
}

/// Tables of RFC 1951, 3.2.5: lengths 0 .. 258; distances up to 256 by their value less 1, longer ones by its upper
/// bits.
struct Symbols {
    Symbol length[259], near[256], far[256];
};

constexpr Symbols symbols() {
    Symbols t{};
    for (int l = 3; l < 258; ++l) {
        t.length[l] = stepped(static_cast<uint32_t>(l - 3), 2);
        t.length[l].symbol += 257;
    }
    t.length[258] = {285, 0, 0};
    for (uint32_t i = 0; i < 256; ++i) {
        t.near[i] = stepped(i, 1);
        t.far[i] = stepped(i << 7, 1);
    }
    return t;
}

constexpr Symbols kSymbols = symbols();

const Symbol& length_symbol(size_t length) {
    return kSymbols.length[length];
}

Symbol distance_symbol(uint32_t distance_less_1) {
    if (distance_less_1 < 256) return kSymbols.near[distance_less_1];
    Symbol s = kSymbols.far[distance_less_1 >> 7];
    s.extra |= distance_less_1 & 127;
    return s;
}

// ---- deflate
// ---------------------------------------------------------------------------------------------------------

constexpr size_t kWindow = 1 << 15, kBlock = 1 << 16, kGroup = 1 << 18;
constexpr int kHashBits = 14, kShortest = 6, kLongest = 258, kLiteralLimit = 14;
constexpr uint64_t kSixBytes = (uint64_t{1} << 48) - 1;

uint64_t load_word64(const uint8_t* p) {
    uint64_t v;
    std::memcpy(&v, p, 8);
    return v;
}

/// One block of a deflate stream, from memory into memory; used again for the next one.
class Deflater {
  public:
    Deflater() : table_(new uint32_t[1 << kHashBits]) {}

    /// Writes bytes [start, end) of `base`, which may repeat what stands in the window before them. Ends on a whole byte.
    void block(const uint8_t* base, size_t start, size_t end, bool last, Output& out) {
        base_ = base, start_ = start, end_ = end;
        std::memset(table_.get(), 0, sizeof(uint32_t) << kHashBits);
        for (size_t at = start - std::min(start, kWindow); at + 8 <= start; at += 4)
            table_[slot_of(load_word64(base + at) & kSixBytes)] = static_cast<uint32_t>(at);
        out.room(2 * (end - start) + 1024);  // 14 bits a literal and the codes are less
        const Output::Mark mark = out.mark();
        find_matches();
        coded(last, out);
        if (last) {
            out.align();
        } else {
            empty(out);
        }
        if (out.size() - mark.size > end - start + 5 * ((end - start) / 65535 + 1)) {
            out.rewind(mark);
            stored(last, out);
        }
    }

  private:
    struct Match {
        uint32_t literals;  ///< bytes before it
        uint16_t length, distance_less_1;
    };

    /// Fills `matches_`, `literal_`, `distance_`. Where table_ holds no position it says 0, and what lies there is compared.
    void find_matches() {
        matches_.clear();
        std::memset(literal_, 0, sizeof literal_);
        std::memset(distance_, 0, sizeof distance_);
        const uint8_t* base = base_;
        size_t at = start_, anchor = start_;
        uint32_t misses = 0;
        while (at + 8 <= end_) {
            const uint64_t six = load_word64(base + at) & kSixBytes;
            uint32_t& slot = table_[slot_of(six)];
            size_t from = slot;
            slot = static_cast<uint32_t>(at);
            if (from >= at || at - from > kWindow || (load_word64(base + from) & kSixBytes) != six) {
                at += 1 + (misses++ >> 1);
                continue;
            }
            misses = 0;
            size_t length = kShortest;
            const size_t longest = std::min<size_t>(kLongest, end_ - at);
            while (length < longest && base[from + length] == base[at + length]) ++length;
            while (at > anchor && from > 0 && length < kLongest && base[from - 1] == base[at - 1]) {
                --at;
                --from;
                ++length;
            }
            const uint32_t distance = static_cast<uint32_t>(at - from) - 1;
            matches_.push_back(
                {static_cast<uint32_t>(at - anchor), static_cast<uint16_t>(length), static_cast<uint16_t>(distance)});
            ++literal_[length_symbol(length).symbol];
            ++distance_[distance_symbol(distance).symbol];
            count(base + anchor, at - anchor);
            at += length;
            anchor = at;
            if (at + 7 <= end_) table_[slot_of(load_word64(base + at - 1) & kSixBytes)] = static_cast<uint32_t>(at - 1);
        }
        rest_ = end_ - anchor;
        count(base + anchor, rest_);
        literal_[kEnd] = 1;
    }

    static size_t slot_of(uint64_t six) { return static_cast<size_t>((six * 0x9e3779b97f4a7c15u) >> (64 - kHashBits)); }

    void count(const uint8_t* p, size_t n) {
        size_t i = 0;
        if (n >= 64) {  // neighbours are often equal: counting into one table would wait for itself
            uint32_t more[3][256] = {};
            for (; i + 4 <= n; i += 4) {
                ++literal_[p[i]];
                ++more[0][p[i + 1]];
                ++more[1][p[i + 2]];
                ++more[2][p[i + 3]];
            }
            for (int s = 0; s < 256; ++s) literal_[s] += more[0][s] + more[1][s] + more[2][s];
        }
        for (; i < n; ++i) ++literal_[p[i]];
    }

    void coded(bool last, Output& out) {
        make_code(literal_, kLiterals, kLiteralLimit, literal_code_);
        make_code(distance_, kDistances, 15, distance_code_);
        Output::Bits bits = out.bits();
        bits.add(last ? 5 : 4, 3);  // dynamic codes
        describe_codes(bits);
        const uint8_t* p = base_ + start_;
        for (const Match& m : matches_) {
            literals(bits, p, m.literals);
            p += m.literals + m.length;
            add(bits, literal_code_, length_symbol(m.length));
            add(bits, distance_code_, distance_symbol(m.distance_less_1));  // at most 14 + 5 + 15 + 13 bits, and 7 held
            bits.flush();
        }
        literals(bits, p, rest_);
        bits.add(literal_code_.of[kEnd].bits, literal_code_.of[kEnd].length);
        bits.flush();
        out.bits(bits);
    }

    /// A stored block of nothing: what follows starts on a whole byte.
    static void empty(Output& out) {
        Output::Bits bits = out.bits();
        bits.add(0, 3);
        out.bits(bits);
        out.align();
        out.put({0, 0, 255, 255});
    }

    static void add(Output::Bits& bits, const Code& code, const Symbol& s) {
        const Code::Entry e = code.of[s.symbol];
        bits.add(e.bits | static_cast<uint64_t>(s.extra) << e.length, e.length + s.extra_bits);
    }

    void literals(Output::Bits& out, const uint8_t* p, size_t n) const {
        const Code::Entry* of = literal_code_.of;
        Output::Bits bits = out;
        for (; n >= 4; n -= 4, p += 4) {  // 4 * 14 + 7 < 64
            for (int k = 0; k < 4; ++k) bits.add(of[p[k]].bits, of[p[k]].length);
            bits.flush();
        }
        for (; n; --n, ++p) bits.add(of[*p].bits, of[*p].length);
        bits.flush();
        out = bits;
    }

    /// The lengths of both codes, run-length coded under a third code (RFC 1951, 3.2.7).
    void describe_codes(Output::Bits& bits) {
        int literals = kLiterals, distances = kDistances;
        while (literals > 257 && !literal_code_.of[literals - 1].length) --literals;
        while (distances > 1 && !distance_code_.of[distances - 1].length) --distances;
        const int total = literals + distances;
        int lengths[kLiterals + kDistances];
        for (int i = 0; i < total; ++i)
            lengths[i] = (i < literals ? literal_code_.of[i] : distance_code_.of[i - literals]).length;
        Symbol runs[kLiterals + kDistances];
        uint32_t frequency[kLengths] = {};
        int count = 0;
        for (int i = 0; i < total;) {
            int run = 1;
            while (i + run < total && lengths[i + run] == lengths[i]) ++run;
            Symbol s{lengths[i], 0, 0};
            int taken = 1;
            if (!lengths[i] && run >= 3) {
                taken = std::min(run, 138);
                s = taken < 11 ? Symbol{17, 3, static_cast<uint32_t>(taken - 3)}
                               : Symbol{18, 7, static_cast<uint32_t>(taken - 11)};
            } else if (i && lengths[i] == lengths[i - 1] && run >= 3) {
                taken = std::min(run, 6);
                s = {16, 2, static_cast<uint32_t>(taken - 3)};
            }
            runs[count++] = s;
            ++frequency[s.symbol];
            i += taken;
        }
        Code code;
        make_code(frequency, kLengths, 7, code);
        static const uint8_t order[kLengths] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
        int sent = kLengths;
        while (sent > 4 && !code.of[order[sent - 1]].length) --sent;
        bits.add(static_cast<uint64_t>(literals - 257) | static_cast<uint64_t>(distances - 1) << 5, 10);
        bits.add(static_cast<uint64_t>(sent - 4), 4);
        bits.flush();
        for (int i = 0; i < sent; ++i) {
            bits.add(code.of[order[i]].length, 3);
            bits.flush();
        }
        for (int i = 0; i < count; ++i) {
            add(bits, code, runs[i]);
            bits.flush();
        }
    }

    void stored(bool last, Output& out) {
        size_t at = start_;
        do {
            const size_t n = std::min<size_t>(end_ - at, 65535);
            Output::Bits bits = out.bits();
            bits.add(last && at + n == end_ ? 1 : 0, 3);
            out.bits(bits);
            out.align();
            out.put({static_cast<int>(n & 255), static_cast<int>(n >> 8), static_cast<int>(~n & 255),
                     static_cast<int>((~n >> 8) & 255)});
            std::memcpy(out.at(out.size()), base_ + at, n);
            out.advance(n);
            at += n;
        } while (at < end_);
    }

    std::unique_ptr<uint32_t[]> table_;
    const uint8_t* base_ = nullptr;
    size_t start_ = 0, end_ = 0, rest_ = 0;
    std::vector<Match> matches_;
    uint32_t literal_[kLiterals], distance_[kDistances];
    Code literal_code_, distance_code_;
};

/// Rows [first, last) of a picture as filtered lines of n + 1 bytes.
void filter_rows(const ImageView& in, int64_t first, int64_t last, uint8_t* lines) {
    const size_t n = static_cast<size_t>(in.samples_per_row()), bpp = static_cast<size_t>(in.channels);
    // Two rows behind bpp zeros each, and four residuals.
    const size_t pitch = (bpp + n + 63) & ~size_t{63};
    const Scratch memory(6 * pitch);
    std::memset(memory.data(), 0, 2 * pitch);
    uint8_t *row = memory.data() + bpp, *up = memory.data() + pitch + bpp, *residuals[4];
    for (size_t f = 0; f < 4; ++f) residuals[f] = memory.data() + (2 + f) * pitch;
    if (first) std::memcpy(up, in.row(first - 1), n);
    for (int64_t y = first; y < last; ++y, lines += n + 1) {
        std::memcpy(row, in.row(y), n);
        uint64_t cost[5];
        kernels().png->filter_row(row, up, static_cast<int64_t>(n), in.channels, residuals, cost);
        const int best = static_cast<int>(std::min_element(cost, cost + 5) - cost);
        lines[0] = static_cast<uint8_t>(best);
        std::memcpy(lines + 1, best ? residuals[best - 1] : row, n);
        std::swap(row, up);
    }
}

/// Adler-32 (RFC 1950) of a stream that grows.
class Adler {
  public:
    void add(const uint8_t* data, size_t n) {
        for (size_t done = 0; done < n;) {
            const size_t part = std::min<size_t>(n - done, 5552);
            kernels().png->adler(data + done, static_cast<int64_t>(part), &a_, &b_);
            a_ %= 65521;
            b_ %= 65521;
            done += part;
        }
    }
    uint32_t value() const { return b_ << 16 | a_; }

  private:
    uint32_t a_ = 1, b_ = 0;
};

}  // namespace

namespace {

/// Undoes one row's filter; `up` is the row above, `n` a multiple of B. A pixel depends on the one before it: what vectors
/// cannot shorten, straight code without branches does.
template <int B>
bool unfilter_row(int filter, const uint8_t* in, const uint8_t* up, uint8_t* out, size_t n) {
    if (filter == 0) {
        std::memcpy(out, in, n);
        return true;
    }
    if (filter == 2) {
        for (size_t i = 0; i < n; ++i) out[i] = static_cast<uint8_t>(in[i] + up[i]);
        return true;
    }
    int a[B] = {}, c[B] = {};  // left, above left
    if (filter == 1) {
        for (size_t i = 0; i < n; i += B) {
            for (int k = 0; k < B; ++k) a[k] = out[i + k] = static_cast<uint8_t>(in[i + k] + a[k]);
        }
    } else if (filter == 3) {
        for (size_t i = 0; i < n; i += B) {
            for (int k = 0; k < B; ++k) a[k] = out[i + k] = static_cast<uint8_t>(in[i + k] + (a[k] + up[i + k]) / 2);
        }
    } else if (filter == 4) {
        for (size_t i = 0; i < n; i += B) {
            for (int k = 0; k < B; ++k) {
                const int b = up[i + k], p = b - c[k], q = a[k] - c[k];
                const int left = p < 0 ? -p : p, above = q < 0 ? -q : q, corner = p + q < 0 ? -(p + q) : p + q;
                int best = above <= corner ? b : c[k];
                best = left <= above && left <= corner ? a[k] : best;
                c[k] = b;
                a[k] = out[i + k] = static_cast<uint8_t>(in[i + k] + best);
            }
        }
    } else {
        return false;
    }
    return true;
}

}  // namespace

bool unfilter_png(const uint8_t* rows, int64_t height, int64_t width, int channels, uint8_t* out) {
    const size_t n = static_cast<size_t>(width) * static_cast<size_t>(channels);
    const auto undo = channels == 1   ? unfilter_row<1>
                      : channels == 2 ? unfilter_row<2>
                      : channels == 3 ? unfilter_row<3>
                                      : unfilter_row<4>;
    const std::vector<uint8_t> zeros(n, 0);
    const uint8_t* up = zeros.data();
    for (int64_t y = 0; y < height; ++y, rows += n + 1, out += n) {
        if (!undo(rows[0], rows + 1, up, out, n)) return false;
        up = out;
    }
    return true;
}

std::vector<uint8_t> encode_png(const ImageView& image, const Context& context) {
    require_image(image, "image");
    const Packed packed(image);
    const ImageView& in = packed.view();
    const size_t line = static_cast<size_t>(in.samples_per_row()) + 1;
    Output out(line * static_cast<size_t>(in.height) / 2 + 4096);
    out.put({0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'});
    const size_t header = out.size();
    out.put_be32(13);
    out.put_name("IHDR");
    out.put_be32(static_cast<uint32_t>(in.width));
    out.put_be32(static_cast<uint32_t>(in.height));
    out.put({8, in.channels == 1 ? 0 : in.channels == 3 ? 2 : 6, 0, 0, 0});
    out.put_be32(crc32(out.at(header + 4), 17));

    // A group of rows at a time, behind the window of what came before it.
    const int64_t rows = std::max<int64_t>(1, static_cast<int64_t>(kGroup / line));
    const size_t most = static_cast<size_t>(std::min(rows, in.height)) * line;
    const std::unique_ptr<uint8_t[]> buffer(new uint8_t[kWindow + most]);
    uint8_t* lines = &buffer[kWindow];
    std::vector<Output> blocks;
    Adler adler;
    size_t known = 0;  // bytes of the window that hold something
    for (int64_t y = 0; y < in.height; y += rows) {
        const int64_t end = std::min(in.height, y + rows);
        const bool last = end == in.height;
        const size_t bytes = static_cast<size_t>(end - y) * line;
        parallel_for(context, end - y, 64, [&](int64_t from, int64_t to) {
            filter_rows(in, y + from, y + to, lines + static_cast<size_t>(from) * line);
        });
        adler.add(lines, bytes);
        const size_t count = (bytes + kBlock - 1) / kBlock;  // blocks of about the same size
        while (blocks.size() < count) blocks.emplace_back(2 * kBlock + 2048);
        parallel_for(context, static_cast<int64_t>(count), 1, [&](int64_t from, int64_t to) {
            Deflater deflater;
            Output& here = blocks[static_cast<size_t>(from)];
            for (size_t k = static_cast<size_t>(from); k < static_cast<size_t>(to); ++k)
                deflater.block(lines - known, known + bytes * k / count, known + bytes * (k + 1) / count,
                               last && k + 1 == count, here);
        });
        const size_t chunk = out.size();
        out.put_be32(0);
        out.put_name("IDAT");
        if (!y) out.put({0x78, 0x01});  // 32 KiB window, fastest algorithm
        for (size_t k = 0; k < count; ++k) out.move(blocks[k]);
        if (last) out.put_be32(adler.value());
        out.put_be32_at(chunk, static_cast<uint32_t>(out.size() - chunk - 8));
        out.put_be32(crc32(out.at(chunk + 4), out.size() - chunk - 4));
        const size_t kept = std::min(kWindow, known + bytes);
        std::memmove(lines - kept, lines + bytes - kept, kept);
        known = kept;
    }
    out.put_be32(0);
    out.put_name("IEND");
    out.put_be32(0xae426082u);
    return out.all();
}

}  // namespace og
