#include "ondevice_guard/text.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <unordered_map>

#include "ondevice_guard/image.hpp"

namespace og::text {
namespace {

/// `count` code points from `low` on, each mapped to the next `size` UTF-16 units of a pool that starts at `at`.
struct Run {
    uint32_t low : 24, size : 8;
    uint16_t count, at;
};
struct Pair {
    uint32_t first, second, whole;
};
struct Classed {
    uint32_t low, high;
    uint8_t value;
};
struct Range {
    uint32_t low, high;
};
struct Single {
    uint32_t code, to;
};
#include "text_tables.inc"

template <size_t N>
bool in(const Range (&table)[N], char32_t c) {
    const Range* end = table + N;
    const Range* at = std::upper_bound(table, end, c, [](char32_t v, const Range& r) { return v < r.low; });
    return at != table && c <= at[-1].high;
}

/// The UTF-16 that a table maps a code point to; empty where it has none.
template <size_t N>
std::u16string_view mapped(const Run (&table)[N], const char16_t* pool, char32_t c) {
    const Run* at = std::upper_bound(table, table + N, c, [](char32_t v, const Run& r) { return v < r.low; });
    if (at == table || c - at[-1].low >= at[-1].count) return {};
    return {pool + at[-1].at + (c - at[-1].low) * at[-1].size, at[-1].size};
}

/// Takes the first code point off well-formed UTF-16 that is not empty.
char32_t take(std::u16string_view& units) {
    const char32_t c = units[0];
    const bool pair = c >= 0xD800 && c < 0xDC00;
    const char32_t whole = pair ? 0x10000 + ((c - 0xD800) << 10) + (units[1] - 0xDC00) : c;
    units.remove_prefix(pair ? 2 : 1);
    return whole;
}

uint8_t combining(char32_t c) {
    if (c < 0x300) return 0;
    const Classed* end = kCombining + std::size(kCombining);
    const Classed* at = std::upper_bound(kCombining, end, c, [](char32_t v, const Classed& r) { return v < r.low; });
    return at != kCombining && c <= at[-1].high ? at[-1].value : 0;
}

char32_t confusable(char32_t c) {
    const Single* end = kConfusable + std::size(kConfusable);
    const Single* at = std::lower_bound(kConfusable, end, c, [](const Single& s, char32_t v) { return s.code < v; });
    return at != end && at->code == c ? at->to : 0;
}

// Hangul syllables are algorithmic (Unicode 3.12).
constexpr char32_t kS = 0xAC00, kL = 0x1100, kV = 0x1161, kT = 0x11A7;

char32_t compose(char32_t a, char32_t b) {
    if (a >= kL && a < kL + 19 && b >= kV && b < kV + 21) return kS + ((a - kL) * 21 + (b - kV)) * 28;
    if (a >= kS && a < kS + 11172 && (a - kS) % 28 == 0 && b > kT && b < kT + 28) return a + (b - kT);
    const Pair* end = kCompose + std::size(kCompose);
    const Pair* at = std::lower_bound(kCompose, end, std::make_pair(a, b),
                                      [](const Pair& p, const std::pair<char32_t, char32_t>& v) {
                                          return p.first != v.first ? p.first < v.first : p.second < v.second;
                                      });
    return at != end && at->first == a && at->second == b ? at->whole : 0;
}

bool ascii_letter(char32_t c) {
    return (c | 32) >= 'a' && (c | 32) <= 'z' && c < 128;
}
bool digit(char32_t c) {
    return c >= '0' && c <= '9';
}
char32_t lower(char32_t c) {
    return c >= 'A' && c <= 'Z' ? c + 32 : c;
}
bool letter(char32_t c) {
    return c < 128 ? ascii_letter(c) : in(kLetter, c);
}
bool space(char32_t c) {
    return c <= 32 ? c == 32 || (c >= 9 && c <= 13) : c >= 128 && in(kSpace, c);
}

// ---- words of the language, for everything that asks "is this readable?" ------------------------------------------
const std::unordered_map<std::string_view, int>& lexicon() {
    static const auto* words = [] {
        auto* map = new std::unordered_map<std::string_view, int>;
        // One string, since a pointer for each word would cost 40 bytes more in a shared library.
        std::string_view rest(kWords);
        for (const uint8_t cost : kWordCosts) {
            const size_t end = std::min(rest.find(' '), rest.size());
            map->emplace(rest.substr(0, end), cost);
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
        return map;
    }();
    return *words;
}

bool known(std::string_view word) {
    return lexicon().count(word) != 0;
}

/// Cuts letters without gaps into words by the cheapest path over the lexicon; returns the share of letters it covers.
double segment(const std::string& letters, std::string& out) {
    constexpr int kUnknown = 200;  // 8 * bits of one letter outside any word: dearer than any word of two
    const size_t n = letters.size();
    std::vector<int> cost(n + 1, 0);
    std::vector<uint8_t> step(n + 1, 0);
    const auto& words = lexicon();
    for (size_t i = 1; i <= n; ++i) {
        cost[i] = cost[i - 1] + kUnknown;
        step[i] = 0;
        for (size_t w = 1; w <= 14 && w <= i; ++w) {
            const auto it = words.find(std::string_view(letters).substr(i - w, w));
            if (it != words.end() && cost[i - w] + it->second < cost[i]) {
                cost[i] = cost[i - w] + it->second;
                step[i] = static_cast<uint8_t>(w);
            }
        }
    }
    std::vector<std::pair<size_t, size_t>> parts;
    size_t covered = 0;
    for (size_t i = n; i > 0;) {
        const size_t w = step[i] ? step[i] : 1;
        if (step[i]) covered += w;
        parts.emplace_back(i - w, w);
        i -= w;
    }
    bool loose = false;
    for (auto it = parts.rbegin(); it != parts.rend(); ++it) {
        const bool unknown = step[it->first + it->second] == 0;
        if (!out.empty() && !(unknown && loose)) out += ' ';
        out.append(letters, it->first, it->second);
        loose = unknown;
    }
    return n ? static_cast<double>(covered) / static_cast<double>(n) : 0.0;
}

// ---- first pass: invisible characters -----------------------------------------------------------------------------
struct Piece {
    std::u32string text;
    std::vector<uint32_t> origin;
};

/// Adds a find, joined to the last one of its kind when they are near: one hidden letter after another is one trick.
void add(std::vector<Found>& found, Trick trick, uint32_t begin, uint32_t end) {
    constexpr uint32_t kNear = 24;  // characters; a long word with a hidden one at each end
    for (size_t i = found.size(); i > 0 && i + 4 > found.size(); --i) {
        Found& last = found[i - 1];
        if (last.trick == trick && begin - last.end <= kNear) {
            last.end = end;
            ++last.count;
            return;
        }
    }
    found.push_back({trick, begin, end, 1, {}});
}

Piece visible(std::u32string_view s, std::vector<Found>& found, bool& right_to_left) {
    Piece out;
    out.text.reserve(s.size());
    out.origin.reserve(s.size() + 1);
    std::u32string tags;
    std::string selectors;
    const auto flush = [&] {  // the payload belongs to the find that was last extended
        if (!tags.empty() || !selectors.empty()) {
            for (size_t i = found.size(); i > 0; --i) {
                Found& f = found[i - 1];
                if (f.trick == Trick::tags && !tags.empty()) {
                    if (f.payload.size() < kPayloadLength) f.payload += tags;
                    tags.clear();
                } else if (f.trick == Trick::selectors && !selectors.empty()) {
                    for (const char b : selectors) {
                        if (f.payload.size() < kPayloadLength) f.payload += static_cast<unsigned char>(b);
                    }
                    selectors.clear();
                }
                if (tags.empty() && selectors.empty()) break;
            }
            tags.clear();
            selectors.clear();
        }
    };
    const auto at = [&](size_t i) { return i < s.size() ? s[i] : 0; };
    for (size_t i = 0; i < s.size(); ++i) {
        char32_t c = s[i];
        const uint32_t here = static_cast<uint32_t>(i);
        if (c < 0xAD) {
            flush();
            out.text += c;
            out.origin.push_back(here);
            continue;
        }
        if ((c >= 0xD800 && c < 0xE000) || c > 0x10FFFF) c = 0xFFFD;
        if (!in(kInvisible, c)) {
            flush();
            out.text += c;
            out.origin.push_back(here);
            continue;
        }
        const char32_t before = out.text.empty() ? 0 : out.text.back();
        const char32_t after = at(i + 1);
        bool keep = false;
        if (c == 0x200D) {
            keep = after >= 0xA9 && in(kEmoji, after) && (before == 0xFE0F || in(kEmoji, before));
        } else if (c == 0xFE0F || c == 0xFE0E) {
            keep = (before >= 0xA9 && in(kEmoji, before)) ||
                   ((digit(before) || before == '#' || before == '*') && after == 0x20E3);
        } else if (c >= 0xE0020 && c <= 0xE007F && (before == 0x1F3F4 || (before >= 0xE0020 && before <= 0xE007F))) {
            keep = true;  // a flag of a region, if it ends as one and is short
            if (before == 0x1F3F4) {
                size_t end = i;
                while (at(end) >= 0xE0020 && at(end) <= 0xE007E && end - i < 8) ++end;
                keep = at(end) == 0xE007F;
            }
        }
        if (keep) {
            out.text += c;
            out.origin.push_back(here);
            continue;
        }
        if (c >= 0xE0000 && c <= 0xE007F) {
            add(found, Trick::tags, here, here + 1);
            if (c >= 0xE0020 && c < 0xE007F) tags += c - 0xE0000;
        } else if ((c >= 0xFE00 && c <= 0xFE0F) || (c >= 0xE0100 && c <= 0xE01EF)) {
            const bool more = (after >= 0xFE00 && after <= 0xFE0F) || (after >= 0xE0100 && after <= 0xE01EF);
            if (more || !selectors.empty()) {  // one is typography, a row of them is a hidden message
                add(found, Trick::selectors, here, here + 1);
                selectors += static_cast<char>(c >= 0xE0100 ? c - 0xE0100 + 16 : c - 0xFE00);
            }
        } else if ((c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069)) {
            if (c == 0x202D || c == 0x202E) right_to_left = true;
            add(found, Trick::bidi, here, here + 1);
        } else {
            const bool script = (before > 0x58F && in(kJoining, before)) || (after > 0x58F && in(kJoining, after)) ||
                                (before >= 0x590 && before < 0x900) || (after >= 0x590 && after < 0x900);
            const bool mark = c == 0xFEFF && i == 0;
            const bool soft = c == 0xAD && !(letter(before) && letter(after));
            const bool line_end =
                (c == 0x200B || c == 0x2060) && (i == 0 || after == 0 || after == '\n' || before == '\n');
            if (!script && !mark && !soft && !line_end) add(found, Trick::invisible, here, here + 1);
        }
    }
    flush();
    out.origin.push_back(static_cast<uint32_t>(s.size()));
    return out;
}

// ---- second pass: NFKC ----------------------------------------------------------------------------------------------
Piece nfkc(const Piece& in_) {
    struct Mark {
        char32_t c;
        uint8_t order;
        uint32_t origin;
    };
    Piece out;
    out.text.reserve(in_.text.size());
    out.origin.reserve(in_.text.size() + 1);
    std::vector<Mark> run;  // one starter and its marks
    const auto flush = [&] {
        if (run.empty()) return;
        const size_t head = run[0].order == 0 ? 1 : 0;
        std::stable_sort(run.begin() + static_cast<std::ptrdiff_t>(head), run.end(),
                         [](const Mark& a, const Mark& b) { return a.order < b.order; });
        const size_t base = out.text.size();
        uint8_t blocked = 0;
        for (size_t i = 0; i < run.size(); ++i) {
            if (i > 0 && head == 1 && (blocked < run[i].order)) {
                if (const char32_t whole = compose(out.text[base], run[i].c)) {
                    out.text[base] = whole;
                    continue;
                }
            }
            out.text += run[i].c;
            out.origin.push_back(i == 0 ? run[i].origin : std::max(run[i].origin, out.origin.back()));
            if (i > 0) blocked = run[i].order;
        }
        run.clear();
    };
    const auto push = [&](char32_t c, uint32_t origin) {
        const uint8_t order = combining(c);
        if (order == 0) {
            if (run.size() == 1 && run[0].order == 0) {  // two starters may compose (Hangul, some Indic vowels)
                if (const char32_t whole = c >= 0x900 ? compose(run[0].c, c) : 0) {
                    run[0].c = whole;
                    return;
                }
            }
            flush();
        }
        run.push_back({c, order, origin});
    };
    for (size_t i = 0; i < in_.text.size(); ++i) {
        const char32_t c = in_.text[i];
        const uint32_t origin = in_.origin[i];
        if (c < 0xA0) {
            flush();
            const char32_t next = i + 1 < in_.text.size() ? in_.text[i + 1] : 0;
            if (next < 0x300) {
                out.text += c;
                out.origin.push_back(origin);
            } else {
                run.push_back({c, 0, origin});
            }
        } else if (auto parts = mapped(kDecompose, kDecompose_pool, c); !parts.empty()) {
            while (!parts.empty()) push(take(parts), origin);
        } else {
            push(c, origin);
        }
    }
    flush();
    out.origin.push_back(in_.origin.back());
    return out;
}

// ---- third pass: letters that look Latin ----------------------------------------------------------------------------
void fold(Piece& p, std::vector<Found>& found) {
    size_t ascii = 0, other = 0;
    for (const char32_t c : p.text) {
        if (ascii_letter(c))
            ++ascii;
        else if (c >= 128 && in(kLetter, c))
            ++other;
    }
    if (other == 0 && p.text.find_first_of(U"\U0001F150\U0001F170\U0001F1E6") == std::u32string::npos) {
        bool any = false;
        for (const char32_t c : p.text) any |= c >= 0x1F150 && c <= 0x1F1FF;
        if (!any) return;
    }
    for (size_t i = 0; i < p.text.size();) {
        const auto part = [](char32_t c) {
            return c < 128 ? ascii_letter(c) || digit(c) : in(kLetter, c) || combining(c) || confusable(c);
        };
        if (!part(p.text[i])) {
            ++i;
            continue;
        }
        size_t end = i;
        size_t latin = 0, like = 0, foreign = 0;
        for (; end < p.text.size() && part(p.text[end]); ++end) {
            const char32_t c = p.text[end];
            if (ascii_letter(c))
                ++latin;
            else if (c >= 128 && confusable(c))
                ++like;
            else if (c >= 128 && in(kLatin, c))
                ++latin;
            else if (c >= 128 && in(kLetter, c))
                ++foreign;
        }
        // Regional indicators in pairs are flags; an odd number of them can only spell.
        const auto indicator = [](char32_t c) { return c >= 0x1F1E6 && c <= 0x1F1FF; };
        bool flag = (end - i) % 2 == 0;
        for (size_t k = i; k < end; ++k) flag = flag && indicator(p.text[k]);
        if (like > 0 && !flag && ((latin > 0 && foreign <= latin) || (foreign == 0 && like >= 3 && ascii > other))) {
            for (size_t k = i; k < end; ++k) {
                if (const char32_t to = p.text[k] >= 128 ? confusable(p.text[k]) : 0) p.text[k] = to;
            }
            add(found, Trick::homoglyph, p.origin[i], p.origin[end]);
        }
        i = end;
    }
}

// ---- fourth pass: payloads ------------------------------------------------------------------------------------------
/// Decodes UTF-8 strictly; false on any error.
bool utf8(const std::string& bytes, std::u32string& out) {
    for (size_t i = 0; i < bytes.size();) {
        const auto b = static_cast<unsigned char>(bytes[i]);
        const int size = b < 0x80                ? 1
                         : b >= 0xC2 && b < 0xE0 ? 2
                         : b >= 0xE0 && b < 0xF0 ? 3
                         : b >= 0xF0 && b < 0xF5 ? 4
                                                 : 0;
        if (size == 0 || i + static_cast<size_t>(size) > bytes.size()) return false;
        char32_t c = size == 1 ? b : b & (0x7F >> size);
        for (int k = 1; k < size; ++k) {
            const auto next = static_cast<unsigned char>(bytes[i + static_cast<size_t>(k)]);
            if ((next & 0xC0) != 0x80) return false;
            c = c << 6 | (next & 0x3F);
        }
        if ((c >= 0xD800 && c < 0xE000) || c > 0x10FFFF || (size == 3 && c < 0x800) || (size == 4 && c < 0x10000))
            return false;
        out += c;
        i += static_cast<size_t>(size);
    }
    return true;
}

/// True when it reads as text: no controls, mostly letters and spaces.
bool readable(const std::u32string& s) {
    size_t good = 0;
    for (const char32_t c : s) {
        if (c < 32 ? !(c == '\n' || c == '\r' || c == '\t') : c == 127) return false;
        if (c == ' ' || letter(c)) ++good;
    }
    return s.size() >= 6 && good * 10 >= s.size() * 7;
}

int value64(char32_t c) {
    if (c >= 'A' && c <= 'Z') return static_cast<int>(c - 'A');
    if (c >= 'a' && c <= 'z') return static_cast<int>(c - 'a' + 26);
    if (digit(c)) return static_cast<int>(c - '0' + 52);
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

int value16(char32_t c) {
    if (digit(c)) return static_cast<int>(c - '0');
    const char32_t l = lower(c);
    return l >= 'a' && l <= 'f' ? static_cast<int>(l - 'a' + 10) : -1;
}

class Unmask {
  public:
    Unmask(const Piece& piece, std::vector<Found>& found, size_t budget)
        : p_(piece), s_(piece.text), found_(found), budget_(budget) {}

    void run() {
        base64();
        hex();
        escapes();
        lines();
        spaced();
    }

  private:
    bool add(Trick trick, size_t begin, size_t end, size_t count, std::u32string payload) {
        if (used_ >= budget_) return false;
        ++used_;
        if (payload.size() > kPayloadLength) payload.resize(kPayloadLength);
        found_.push_back({trick, p_.origin[begin], p_.origin[end], static_cast<uint32_t>(count), std::move(payload)});
        return true;
    }

    void base64() {
        for (size_t i = 0; i < s_.size();) {
            if (value64(s_[i]) < 0) {
                ++i;
                continue;
            }
            size_t end = i;
            std::string bytes;
            uint32_t bits = 0;
            int held = 0;
            for (; end < s_.size() && value64(s_[end]) >= 0; ++end) {
                if (bytes.size() >= kPayloadLength) continue;
                bits = bits << 6 | static_cast<uint32_t>(value64(s_[end]));
                held += 6;
                if (held >= 8) {
                    held -= 8;
                    bytes += static_cast<char>(bits >> held & 0xFF);
                }
            }
            std::u32string text;
            if (end - i >= 12 && utf8(bytes, text) && readable(text))
                add(Trick::base64, i, end, end - i, std::move(text));
            i = end;
        }
    }

    void hex() {
        for (size_t i = 0; i + 15 < s_.size();) {
            std::string bytes;
            size_t end = i, at = i;
            while (at + 1 < s_.size()) {
                if (at > i && (s_[at] == ' ' || s_[at] == ':' || s_[at] == ',' || s_[at] == '-')) ++at;
                if (at + 3 < s_.size() && (s_[at] == '\\' || s_[at] == '0') && lower(s_[at + 1]) == 'x') at += 2;
                if (at + 1 >= s_.size() || value16(s_[at]) < 0 || value16(s_[at + 1]) < 0) break;
                if (bytes.size() < kPayloadLength)
                    bytes += static_cast<char>(value16(s_[at]) * 16 + value16(s_[at + 1]));
                at += 2;
                end = at;
            }
            std::u32string text;
            if (bytes.size() >= 8 && utf8(bytes, text) && readable(text))
                add(Trick::hex, i, end, bytes.size(), std::move(text));
            i = bytes.size() >= 2 ? end : i + 1;
        }
    }

    /// Length of an escape at `i` and its value; 0 when there is none.
    size_t escape(size_t i, char32_t& value) const {
        const auto digits = [&](size_t from, size_t n) {
            value = 0;
            for (size_t k = from; k < from + n; ++k) {
                if (k >= s_.size() || value16(s_[k]) < 0) return false;
                value = value * 16 + static_cast<char32_t>(value16(s_[k]));
            }
            return true;
        };
        if (s_[i] == '%' && digits(i + 1, 2)) return 3;
        if (s_[i] == '\\' && i + 1 < s_.size() && lower(s_[i + 1]) == 'x' && digits(i + 2, 2)) return 4;
        if (s_[i] == '\\' && i + 1 < s_.size() && s_[i + 1] == 'u' && digits(i + 2, 4)) return 6;
        if (s_[i] == '&' && i + 2 < s_.size() && s_[i + 1] == '#') {
            const bool base16 = lower(s_[i + 2]) == 'x';
            size_t k = i + (base16 ? 3 : 2);
            const size_t first = k;
            value = 0;
            for (; k < s_.size() && k - first < 7; ++k) {
                const int v = base16 ? value16(s_[k]) : digit(s_[k]) ? static_cast<int>(s_[k] - '0') : -1;
                if (v < 0) break;
                value = value * (base16 ? 16 : 10) + static_cast<char32_t>(v);
            }
            if (k > first && k < s_.size() && s_[k] == ';') return k + 1 - i;
        }
        return 0;
    }

    void escapes() {
        for (size_t i = 0; i < s_.size();) {
            if (space(s_[i])) {
                ++i;
                continue;
            }
            std::u32string text;
            std::string bytes;  // escapes below 256 in a row are UTF-8
            size_t needless = 0, count = 0, end = i;
            const auto flush = [&] {
                std::u32string wide;
                if (utf8(bytes, wide))
                    text += wide;
                else
                    for (const char b : bytes) text += static_cast<unsigned char>(b);
                bytes.clear();
            };
            while (end < s_.size() && !space(s_[end])) {
                char32_t value = 0;
                const size_t size = escape(end, value);
                if (size == 0) {
                    flush();
                    if (text.size() < kPayloadLength) text += s_[end];
                    ++end;
                    continue;
                }
                ++count;
                if (ascii_letter(value) || digit(value)) ++needless;  // nobody needs to escape a letter
                if (text.size() < kPayloadLength) {
                    if (value < 256) {
                        bytes += static_cast<char>(value);
                    } else {
                        flush();
                        text += value <= 0x10FFFF && !(value >= 0xD800 && value < 0xE000) ? value : 0xFFFD;
                    }
                }
                end += size;
            }
            flush();
            if (needless >= 3 || count >= 4) {
                std::replace(text.begin(), text.end(), U'+', U' ');
                add(Trick::escape, i, end, needless, std::move(text));
            }
            i = end;
        }
    }

    struct Token {
        size_t begin, end;
        bool numeral = false;  ///< nothing but stand-ins: "70", "4"
    };

    /// ROT13, reversed and leet are properties of a line: enough of its words must become known ones.
    void lines() {
        for (size_t i = 0; i <= s_.size();) {
            size_t end = s_.find(U'\n', i);
            if (end == std::u32string::npos) end = s_.size();
            if (end > i) line(i, std::min(end, i + kPayloadLength));
            i = end + 1;
        }
    }

    /// The letter that a leet character stands for, itself where there is none.
    static char32_t stand_in(char32_t c) {
        switch (c) {
            case '0':
                return 'o';
            case '1':
            case '!':
            case '|':
                return 'i';
            case '2':
                return 'z';
            case '3':
                return 'e';
            case '4':
            case '@':
                return 'a';
            case '5':
            case '$':
                return 's';
            case '6':
            case '9':
                return 'g';
            case '7':
            case '+':
                return 't';
            case '8':
                return 'b';
            default:
                return c;
        }
    }

    void line(size_t begin, size_t end) {
        std::vector<Token> tokens;
        for (size_t i = begin; i < end;) {
            const auto part = [&](size_t k) {
                return s_[k] > 32 && s_[k] != '-' && s_[k] != '/' && s_[k] != '\'' && s_[k] != 0x2019 &&
                       !(s_[k] >= 127 && space(s_[k]));
            };
            if (!part(i)) {
                ++i;
                continue;
            }
            size_t k = i;
            while (k < end && part(k)) ++k;
            tokens.push_back({i, k});
            i = k;
        }
        size_t plain = 0, rot = 0, back = 0, words = 0, leet = 0, leet_long = 0, woven = 0, dotted = 0, longest = 0;
        std::u32string unleet(s_, begin, end - begin);
        for (Token& t : tokens) {
            std::string word, turned, one, ell;
            for (size_t k = t.begin; k < t.end; ++k) {
                const char32_t c = lower(s_[k]);
                if (c >= 'a' && c <= 'z') {
                    word += static_cast<char>(c);
                    turned += static_cast<char>('a' + (c - 'a' + 13) % 26);
                }
            }
            // leet: the token without outer punctuation must hold letters and stand-ins
            size_t a = t.begin, b = t.end;
            while (a < b && s_[a] < 128 && std::strchr("\"'(<[{.,:;", static_cast<int>(s_[a]))) ++a;
            while (b > a && s_[b - 1] < 128 && std::strchr("\"')>]}.,:;?!", static_cast<int>(s_[b - 1]))) --b;
            bool mixed = false, letters = false, legal = b > a, usual = true, between = false, small = true;
            size_t changes = 0, own = 0;        // from letters to stand-ins and back; letters as they are
            size_t vowels = 0, consonants = 0;  // in a row, as decoded
            bool spoken = true;                 // what is decoded could be said in some language
            for (size_t k = a; k < b; ++k) {
                const char32_t c = lower(s_[k]), to = stand_in(c);
                mixed |= to != c;
                letters |= to == c && letter(c);
                legal &= letter(to);
                usual &= to == c || (c < 128 && std::strchr("013457@$", static_cast<int>(c)));
                small &= k == a || c == s_[k];
                own += to == c;
                const bool vowel = to < 128 && std::strchr("aeiouy", static_cast<int>(to));
                vowels = vowel ? vowels + 1 : 0;
                consonants = ascii_letter(to) && !vowel ? consonants + 1 : 0;
                spoken &= vowels <= 3 && consonants <= 4;
                changes += k > a && (to == c) != (stand_in(s_[k - 1]) == s_[k - 1]);
                if (to != c && k > a && k + 1 < b) {
                    const auto anchor = [&](size_t at) {  // no capital: NH4NO3 is a formula
                        return stand_in(s_[at]) == s_[at] && letter(s_[at]) && lower(s_[at]) == s_[at];
                    };
                    between |= anchor(k - 1) && anchor(k + 1);
                }
                one += to < 128 ? static_cast<char>(to) : '?';  // no word of the lexicon has a question mark
                ell += c == '1' || c == '!' || c == '|' ? 'l' : one.back();
            }
            t.begin = a;
            t.end = b;
            t.numeral = mixed && legal && usual && !letters && b - a <= 3;
            if (mixed && legal && letters) {
                const bool other = !known(one) && known(ell);
                if ((other || known(one)) && one.size() >= 3) {
                    ++leet;
                    if (one.size() >= 6) ++leet_long;
                }
                if (usual && (between || (changes >= 2 && own >= 2 && small && spoken && b - a >= 4))) {
                    ++woven;
                    longest = std::max(longest, b - a);
                }
                dotted += usual;
                for (size_t k = a; k < b; ++k)
                    unleet[k - begin] = other ? static_cast<unsigned char>(ell[k - a]) : stand_in(lower(s_[k]));
            }
            if (word.size() >= 2) {
                ++words;
                plain += known(word);
                rot += known(turned);
                back += known(std::string(word.rbegin(), word.rend()));
            }
        }
        // In languages whose words we do not know, digits among letters in a third of the words say the same, or two such
        // words, one of them long, where half of all hold some digit. Product names, times and formulas stay below.
        if (leet >= 2 || leet_long >= 1 || (woven >= 3 && woven * 3 >= tokens.size()) ||
            (woven >= 2 && longest >= 6 && dotted >= 5 && dotted * 2 >= tokens.size())) {
            for (const Token& t : tokens) {
                for (size_t k = t.begin; t.numeral && k < t.end; ++k) unleet[k - begin] = stand_in(s_[k]);
            }
            add(Trick::leet, begin, end, std::max(leet, woven), unleet);
        }
        // Half of the words must become known while hardly any was before.
        if (words >= 3 && rot * 2 >= words && rot >= 3 && plain * 3 <= rot) {
            std::u32string turned(s_, begin, end - begin);
            for (char32_t& c : turned) {
                if (ascii_letter(c)) c = (c & ~31u) + 1 + ((c & 31) - 1 + 13) % 26;
            }
            add(Trick::rot13, begin, end, rot, std::move(turned));
        }
        if (words >= 3 && back * 2 >= words && back >= 3 && plain * 3 <= back) {
            std::u32string turned(s_, begin, end - begin);
            std::reverse(turned.begin(), turned.end());
            add(Trick::reversed, begin, end, back, std::move(turned));
        }
    }

    /// "i g n o r e": single characters with one separator between them.
    void spaced() {
        for (size_t i = 0; i + 2 < s_.size();) {
            const auto one = [&](size_t k) {
                return k < s_.size() && (ascii_letter(s_[k]) || digit(s_[k]) || s_[k] == '@' || s_[k] == '$');
            };
            const auto gap = [&](size_t k) {
                return k < s_.size() && s_[k] < 128 && std::strchr(" .-_*/|,~+", static_cast<int>(s_[k])) && s_[k] != 0;
            };
            if (!one(i) || (i > 0 && one(i - 1)) || !gap(i + 1)) {
                ++i;
                continue;
            }
            std::string letters, words;
            std::vector<size_t> cuts;
            size_t end = i;
            const char32_t mark = s_[i + 1];
            while (one(end) && !one(end + 1)) {
                letters += static_cast<char>(lower(s_[end]));
                ++end;
                size_t next = end;
                while (gap(next) && next - end < 4) ++next;
                if (next == end || !one(next)) break;
                if (next - end > 1 || s_[end] != mark) cuts.push_back(letters.size());
                if (one(next + 1)) break;
                end = next;
            }
            if (letters.size() >= 6) {
                const auto alphabetic = static_cast<size_t>(
                    std::count_if(letters.begin(), letters.end(), [](char c) { return c >= 'a' && c <= 'z'; }));
                double covered;
                if (cuts.empty()) {
                    covered = segment(letters, words);
                } else {
                    size_t from = 0, good = 0;
                    cuts.push_back(letters.size());
                    for (const size_t cut : cuts) {
                        const std::string word = letters.substr(from, cut - from);
                        if (known(word)) good += word.size();
                        words += (words.empty() ? "" : " ") + word;
                        from = cut;
                    }
                    covered = static_cast<double>(good) / static_cast<double>(letters.size());
                }
                // Tables and initials stay below: their single letters do not spell words.
                if (covered >= 0.6 && alphabetic * 4 >= letters.size() * 3 && words.find(' ') != words.rfind(' ')) {
                    add(Trick::spacing, i, std::min(end, s_.size()), letters.size(),
                        std::u32string(words.begin(), words.end()));
                } else if (covered >= 0.8 && alphabetic == letters.size() && cuts.size() <= 2) {
                    add(Trick::spacing, i, std::min(end, s_.size()), letters.size(),
                        std::u32string(words.begin(), words.end()));
                }
            }
            i = std::max(end, i + 1);
        }
    }

    const Piece& p_;
    const std::u32string& s_;
    std::vector<Found>& found_;
    size_t budget_;
    size_t used_ = 0;
};

Normal normalize_to(std::u32string_view source, int depth) {
    Normal result;
    bool turned = false;
    Piece piece = visible(source, result.found, turned);
    for (Found& f : result.found) {
        if (f.payload.empty()) continue;
        if (f.trick == Trick::selectors) {
            std::string bytes(f.payload.begin(), f.payload.end());
            std::u32string text;
            f.payload = utf8(bytes, text) ? text : std::u32string();
        }
    }
    piece = nfkc(piece);
    fold(piece, result.found);
    if (turned) {  // an override shows the text from right to left: read it that way too
        std::u32string back(piece.text.substr(0, kPayloadLength));
        std::reverse(back.begin(), back.end());
        for (Found& f : result.found) {
            if (f.trick == Trick::bidi && f.payload.empty()) {
                f.payload = back;
                break;
            }
        }
    }
    const size_t simple = result.found.size();
    Unmask(piece, result.found, kPayloads).run();
    if (depth > 0) {
        size_t budget = kPayloads;
        const size_t end = result.found.size();
        for (size_t i = 0; i < end && budget > 0; ++i) {
            if (result.found[i].payload.empty()) continue;
            if (i >= simple || result.found[i].trick != Trick::bidi) {
                Normal inner = normalize_to(result.found[i].payload, depth - 1);
                result.found[i].payload = inner.text;
                for (Found& f : inner.found) {
                    if (f.payload.empty() || budget == 0) continue;
                    --budget;
                    result.found.push_back(
                        {f.trick, result.found[i].begin, result.found[i].end, f.count, std::move(f.payload)});
                }
            }
        }
    }
    std::stable_sort(result.found.begin(), result.found.end(),
                     [](const Found& a, const Found& b) { return a.begin < b.begin; });
    result.text = std::move(piece.text);
    result.origin = std::move(piece.origin);
    return result;
}

// ---- hashes ---------------------------------------------------------------------------------------------------------
constexpr uint32_t kFnv = 2166136261u, kPrime = 16777619u;

uint32_t mix(uint32_t h) {
    h ^= h >> 16;
    h *= 0x7FEB352Du;
    h ^= h >> 15;
    h *= 0x846CA68Bu;
    return h ^ h >> 16;
}

/// Calls emit(hash) for every feature that ends with this word; `last` holds the hashes of the two words before.
template <class Emit>
void word_features(const char32_t* w, size_t n, uint32_t (&last)[2], int& history, Emit&& emit) {
    uint32_t h = kFnv;
    for (size_t i = 0; i < n; ++i) h = (h ^ w[i]) * kPrime;
    emit(mix(h));
    if (history >= 1) emit(mix(last[0] * 0x9E3779B1u + h + 1));
    if (history >= 2) emit(mix((last[1] * 0x85EBCA77u + last[0]) * 0x9E3779B1u + h + 2));
    last[1] = last[0];
    last[0] = h;
    history = std::min(history + 1, 2);
    if (n < 2) return;
    for (size_t i = 0; i < n; ++i) {  // i = 0 stands for the opening bracket, so grams start at i - 1
        uint32_t g = kFnv ^ 0x5BD1E995u;
        for (size_t k = 0; k < 5 && i + k < n + 2; ++k) {
            const size_t at = i + k;
            const char32_t c = at == 0 ? U'\x02' : at == n + 1 ? U'\x03' : w[at - 1];
            g = (g ^ c) * kPrime;
            if (k >= 2) emit(mix(g + static_cast<uint32_t>(k)));
        }
    }
}

}  // namespace

const char* name(Trick trick) {
    static constexpr const char* names[] = {"invisible", "tags",   "selectors", "bidi",     "homoglyph", "base64",
                                            "hex",       "escape", "rot13",     "reversed", "leet",      "spacing"};
    return names[static_cast<int>(trick)];
}

bool is_letter(char32_t c) {
    return letter(c);
}

Normal normalize(std::u32string_view source) {
    if (source.size() > 0xFFFFFFFEu) throw Error(Code::limit, "text: longer than 2^32 - 2 characters");
    return normalize_to(source, 1);
}

Words clean(std::u32string_view text) {
    Words out;
    out.text.reserve(text.size());
    uint32_t begin = 0, first = 0;
    const auto close = [&](uint32_t last) {
        const auto end = static_cast<uint32_t>(out.text.size());
        if (end > begin) out.words.push_back({begin, end, first, last});
        begin = end;
    };
    const auto put = [&](char32_t c, uint32_t here) {
        if (out.text.size() == begin) first = here;
        out.text += c;
    };
    for (size_t i = 0; i < text.size(); ++i) {
        const char32_t c = text[i];
        const auto here = static_cast<uint32_t>(i);
        if (c < 128) {
            if ((c >= 'a' && c <= 'z') || digit(c))
                put(c, here);
            else if (c >= 'A' && c <= 'Z')
                put(c + 32, here);
            else if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
                close(here);
            else if (c > 32 && c < 127) {
                close(here);
                put(c, here);
                close(here + 1);
            }
            continue;
        }
        if (in(kDropped, c)) continue;
        if (in(kSpace, c)) {
            close(here);
        } else if (in(kIdeograph, c)) {
            close(here);
            auto parts = mapped(kClean, kClean_pool, c);
            if (parts.empty()) put(c, here);
            while (!parts.empty()) put(take(parts), here);
            close(here + 1);
        } else if (c >= kS && c < kS + 11172) {
            const char32_t s = c - kS;
            put(kL + s / 588, here);
            put(kV + s % 588 / 28, here);
            if (s % 28) put(kT + s % 28, here);
        } else {
            auto parts = mapped(kClean, kClean_pool, c);
            do {
                const char32_t d = parts.empty() ? c : take(parts);
                if (d == ' ' || (d >= 128 && in(kSpace, d))) {
                    close(here);
                } else if (d < 128 ? !(ascii_letter(d) || digit(d)) && d > 32 : in(kPunctuation, d)) {
                    close(here);
                    put(d, here);
                    close(here + 1);
                } else {
                    put(d, here);
                }
            } while (!parts.empty());
        }
    }
    close(static_cast<uint32_t>(text.size()));
    return out;
}

std::vector<uint32_t> features(const Words& words, int bits) {
    std::vector<uint32_t> out;
    uint32_t last[2] = {};
    int history = 0;
    for (const auto& w : words.words) {
        const size_t n = std::min<size_t>(w.end - w.begin, 100);
        word_features(words.text.data() + w.begin, n, last, history,
                      [&](uint32_t h) { out.push_back(h >> (32 - bits)); });
    }
    return out;
}

// ---- WordPiece ------------------------------------------------------------------------------------------------------
struct WordPiece::Table {
    std::unordered_map<std::u32string, int32_t> start, inside;
    size_t longest = 0;
    int32_t unknown = -1;
};

WordPiece::WordPiece(std::string_view vocabulary) : table_(std::make_unique<Table>()) {
    int32_t id = 0;
    for (size_t i = 0; i < vocabulary.size(); ++id) {
        size_t end = vocabulary.find('\n', i);
        if (end == std::string_view::npos) end = vocabulary.size();
        const std::string line(vocabulary.substr(i, end - i));
        std::u32string piece;
        if (!utf8(line, piece))
            throw Error(Code::model, "vocabulary: line " + std::to_string(id + 1) + " is not UTF-8");
        if (line == "[UNK]") table_->unknown = id;
        const bool continues = piece.size() > 2 && piece[0] == '#' && piece[1] == '#';
        if (continues) piece.erase(0, 2);
        table_->longest = std::max(table_->longest, piece.size());
        (continues ? table_->inside : table_->start).emplace(std::move(piece), id);
        i = end + 1;
    }
    if (table_->unknown < 0) throw Error(Code::model, "vocabulary: has no [UNK]");
}

WordPiece::~WordPiece() = default;

WordPiece::Tokens WordPiece::encode(std::u32string_view text) const {
    constexpr size_t kLongestWord = 100;  // as the reference: longer words become [UNK]
    const Words words = clean(text);
    Tokens out;
    std::u32string key;
    for (const auto& w : words.words) {
        const size_t before = out.ids.size();
        bool bad = w.end - w.begin > kLongestWord;
        for (uint32_t i = w.begin; !bad && i < w.end;) {
            const auto& table = i == w.begin ? table_->start : table_->inside;
            size_t size = std::min<size_t>(w.end - i, table_->longest);
            for (; size > 0; --size) {
                key.assign(words.text, i, size);
                const auto it = table.find(key);
                if (it != table.end()) {
                    out.ids.push_back(it->second);
                    break;
                }
            }
            bad = size == 0;
            i += static_cast<uint32_t>(size);
        }
        if (bad) {
            out.ids.resize(before);
            out.ids.push_back(table_->unknown);
        }
        out.origin.resize(out.ids.size(), w.first);
    }
    return out;
}

// ---- linear ---------------------------------------------------------------------------------------------------------
namespace {
constexpr uint32_t kBlockWords = 64;
constexpr uint32_t kSentenceLeast = 4, kSentenceMost = 24;
}  // namespace

Linear::Linear(std::string_view weights) {
    struct Header {
        char magic[4];
        uint32_t bits, classes;
        float bias[kClasses], scale[kClasses], handicap[2][kClasses];
    } header;
    if (weights.size() < sizeof header) throw Error(Code::model, "linear weights: too short");
    std::memcpy(&header, weights.data(), sizeof header);
    if (std::memcmp(header.magic, "OGL2", 4) != 0 || header.classes != kClasses || header.bits < 8 ||
        header.bits > 24) {
        throw Error(Code::model, "linear weights: not an OGL2 file of three classes");
    }
    const size_t size = (size_t{1} << header.bits) * kClasses;
    if (weights.size() != sizeof header + size) throw Error(Code::model, "linear weights: wrong size");
    for (int k = 0; k < kClasses; ++k) {
        bool finite = std::isfinite(header.bias[k]) && std::isfinite(header.scale[k]);
        for (int level = 0; level < 2; ++level) {
            finite &= std::isfinite(header.handicap[level][k]);
            handicap_[level + 1][k] = header.handicap[level][k];
        }
        if (!finite) throw Error(Code::model, "linear weights: not finite");
        bias_[k] = header.bias[k];
        scale_[k] = header.scale[k];
    }
    bits_ = static_cast<int>(header.bits);
    table_.resize(size);
    std::memcpy(table_.data(), weights.data() + sizeof header, size);
}

void Linear::Stream::weigh(LinearScore& into, const Block* from, int count, size_t level) const {
    int64_t sum[kClasses] = {};
    uint64_t n = 0;
    for (int b = 0; b < count; ++b) {
        for (int k = 0; k < kClasses; ++k) sum[k] += from[b].sum[k];
        n += from[b].features;
    }
    if (n == 0) return;
    const double root = std::sqrt(static_cast<double>(n));
    for (size_t k = 0; k < kClasses; ++k) {
        const auto z = static_cast<float>(model_->bias_[k] + model_->scale_[k] * (static_cast<double>(sum[k]) / root) -
                                          model_->handicap_[level][k]);
        if (z > into.logits[k]) {
            into.logits[k] = z;
            into.spans[k] = {from[0].begin, from[count - 1].end};
        }
    }
}

void Linear::Stream::weigh_long(LinearScore& into) const {
    for (int b = filled_ - 1; b >= 0; --b)
        weigh(into, &blocks_[static_cast<size_t>(b)], filled_ - b, 0);  // the last block alone, the last two, … all
}

void Linear::Stream::weigh_short() {
    for (int n = 1; n <= std::min(sentences_, 2); ++n)
        weigh(inside_, &sentence_[static_cast<size_t>(2 - n)], n, static_cast<size_t>(n));
}

void Linear::Stream::word(const Words& words, const Word& w) {
    if (filled_ == 0 || blocks_[static_cast<size_t>(filled_ - 1)].words == kBlockWords) {
        if (filled_ > 0) weigh_long(best_);
        if (filled_ == 4) {
            std::move(blocks_.begin() + 1, blocks_.end(), blocks_.begin());
            filled_ = 3;
        }
        blocks_[static_cast<size_t>(filled_)] = Block{};
        blocks_[static_cast<size_t>(filled_)].begin = before_ + w.first;
        ++filled_;
    }
    if (sentences_ == 0 || closed_) {
        sentence_[0] = sentence_[1];
        sentence_[1] = Block{};
        sentence_[1].begin = before_ + w.first;
        sentences_ = std::min(sentences_ + 1, 2);
        closed_ = false;
    }
    const int8_t* table = model_->table_.data();
    const int shift = 32 - model_->bits_;
    int32_t sum[kClasses] = {};  // one word has at most 3 + 300 features of 8 bits
    uint32_t n = 0;
    word_features(words.text.data() + w.begin, std::min<size_t>(w.end - w.begin, 100), last_, history_,
                  [&](uint32_t h) {
                      const int8_t* q = table + static_cast<size_t>(h >> shift) * kClasses;
                      for (int k = 0; k < kClasses; ++k) sum[k] += q[k];
                      ++n;
                  });
    for (Block* block : {&blocks_[static_cast<size_t>(filled_ - 1)], &sentence_[1]}) {
        ++block->words;
        block->end = before_ + w.last;
        for (int k = 0; k < kClasses; ++k) block->sum[k] += sum[k];
        block->features += n;
    }
    ++words_;
    const char32_t c = w.end - w.begin == 1 ? words.text[w.begin] : 0;
    const bool stop =
        c == '.' || c == '!' || c == '?' || c == ':' || c == 0x3002 || c == 0xFF01 || c == 0xFF1F || c == 0x0964;
    if ((stop && sentence_[1].words >= kSentenceLeast) || sentence_[1].words == kSentenceMost) {
        weigh_short();
        closed_ = true;
    }
}

void Linear::Stream::take(std::u32string_view text) {
    const Words words = clean(text);
    for (const auto& w : words.words) word(words, w);
    before_ += static_cast<uint32_t>(text.size());
}

void Linear::Stream::push(std::u32string_view piece) {
    constexpr size_t kHold = 4096;  // characters kept back while no white space has ended the last word
    rest_.append(piece);
    size_t cut = rest_.size();
    while (cut > 0 && !(rest_[cut - 1] == ' ' || rest_[cut - 1] == '\n')) --cut;
    if (cut == 0 && rest_.size() >= kHold) cut = rest_.size();
    if (cut == 0) return;
    take(std::u32string_view(rest_).substr(0, cut));
    rest_.erase(0, cut);
}

LinearScore Linear::Stream::finish() {
    if (!rest_.empty()) take(rest_);
    weigh_long(best_);
    if (sentences_ > 0 && !closed_) weigh_short();
    LinearScore result = best_;
    for (size_t k = 0; k < kClasses; ++k) {
        if (words_ > kBlockWords && inside_.logits[k] > result.logits[k]) {
            result.logits[k] = inside_.logits[k];
            result.spans[k] = inside_.spans[k];
        }
        if (result.logits[k] < -1e29f) result.logits[k] = model_->bias_[k];  // no word at all
    }
    return result;
}

LinearScore Linear::Stream::score() const {
    return Stream(*this).finish();
}

LinearScore Linear::score(std::u32string_view text) const {
    Stream stream(*this);
    stream.take(text);
    return stream.finish();
}

}  // namespace og::text
