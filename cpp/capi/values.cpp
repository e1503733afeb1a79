#include "capi/values.hpp"

#include <cmath>
#include <cstdint>

#include "ondevice_guard/image.hpp"

namespace og {
namespace capi {
namespace {

constexpr int kDepth = 32;  // deeper nesting is refused, so that the stack cannot run out

/// What both notations share: a place in the text, and complaints about it.
class Reader {
  public:
    Reader(std::string_view text, Code code, const char* what) : text_(text), code_(code), what_(what) {}

  protected:
    [[noreturn]] void fail(const char* why) const {
        size_t line = 1;
        for (size_t i = 0; i < at_ && i < text_.size(); ++i) line += text_[i] == '\n';
        throw Error(code_, std::string(what_) + ", line " + std::to_string(line) + ": " + why);
    }
    bool end() const { return at_ >= text_.size(); }
    char peek() const { return end() ? '\0' : text_[at_]; }
    bool take(char c) {
        if (end() || text_[at_] != c) return false;
        ++at_;
        return true;
    }
    void expect(char c) {
        if (!take(c)) fail(c == '"' ? "a string is missing" : "another character was expected");
    }
    bool word(std::string_view w) {
        if (text_.substr(at_, w.size()) != w) return false;
        at_ += w.size();
        return true;
    }
    static bool digit(char c) { return c >= '0' && c <= '9'; }

    void append(std::string& out, uint32_t point) const {
        if (point >= 0xd800 && point < 0xe000) fail("a surrogate is no character");
        if (point > 0x10ffff) fail("no such character");
        if (point < 0x80) {
            out += static_cast<char>(point);
        } else if (point < 0x800) {
            out += static_cast<char>(0xc0 | point >> 6);
            out += static_cast<char>(0x80 | (point & 63));
        } else if (point < 0x10000) {
            out += static_cast<char>(0xe0 | point >> 12);
            out += static_cast<char>(0x80 | (point >> 6 & 63));
            out += static_cast<char>(0x80 | (point & 63));
        } else {
            out += static_cast<char>(0xf0 | point >> 18);
            out += static_cast<char>(0x80 | (point >> 12 & 63));
            out += static_cast<char>(0x80 | (point >> 6 & 63));
            out += static_cast<char>(0x80 | (point & 63));
        }
    }
    uint32_t hex(int digits) {
        uint32_t value = 0;
        for (int i = 0; i < digits; ++i) {
            const char c = peek();
            const int d = digit(c)               ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
            if (d < 0) fail("a hexadecimal digit was expected");
            value = value << 4 | static_cast<uint32_t>(d);
            ++at_;
        }
        return value;
    }
    /// A string in double quotes with its escapes; `eight` allows \U and eight digits (TOML).
    std::string quoted(bool eight) {
        expect('"');
        std::string out;
        for (;;) {
            if (end()) fail("a string does not end");
            const char c = text_[at_++];
            if (c == '"') return out;
            if (static_cast<unsigned char>(c) < 0x20 && !(eight && c == '\t')) fail("a control character in a string");
            if (c != '\\') {
                out += c;
                continue;
            }
            const char e = peek();
            if (!end()) ++at_;
            switch (e) {
                case '"':
                case '\\':
                    out += e;
                    break;
                case '/':
                    if (eight) fail("an unknown escape");
                    out += e;
                    break;
                case 'b':
                    out += '\b';
                    break;
                case 'f':
                    out += '\f';
                    break;
                case 'n':
                    out += '\n';
                    break;
                case 'r':
                    out += '\r';
                    break;
                case 't':
                    out += '\t';
                    break;
                case 'U':
                    if (!eight) fail("an unknown escape");
                    append(out, hex(8));
                    break;
                case 'u': {
                    uint32_t point = hex(4);
                    if (!eight && point >= 0xd800 && point < 0xdc00 && word("\\u")) {
                        const uint32_t low = hex(4);
                        if (low < 0xdc00 || low > 0xdfff) fail("half a surrogate pair");
                        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
                    }
                    append(out, point);
                    break;
                }
                default:
                    fail("an unknown escape");
            }
        }
    }
    Value numeric(bool underscores) {
        const bool negative = take('-');
        if (!negative && underscores) take('+');
        uint64_t digits = 0;
        int exponent = 0;
        bool whole = true;
        const auto run = [&](bool fraction) {
            bool any = false;
            for (; digit(peek()) ||
                   (underscores && any && peek() == '_' && at_ + 1 < text_.size() && digit(text_[at_ + 1]));
                 ++at_) {
                if (peek() == '_') continue;
                any = true;
                if (digits < 1'000'000'000'000'000'000ull) {
                    digits = digits * 10 + static_cast<uint64_t>(peek() - '0');
                    exponent -= fraction;
                } else {
                    exponent += !fraction;
                }
            }
            if (!any) fail("a number was expected");
        };
        run(false);
        if (take('.')) {
            whole = false;
            run(true);
        }
        if (peek() == 'e' || peek() == 'E') {
            ++at_;
            whole = false;
            const bool below = take('-');
            if (!below) take('+');
            int e = 0;
            if (!digit(peek())) fail("an exponent was expected");
            for (; digit(peek()); ++at_) e = e < 10000 ? e * 10 + (peek() - '0') : e;
            exponent += below ? -e : e;
        }
        // A quotient or product of two exact doubles is correctly rounded; beyond 10^22 an ulp may be lost.
        double value = static_cast<double>(digits);
        const auto power = [](int n) {
            double p = 1.0;
            for (int i = 0; i < n; ++i) p *= 10.0;
            return p;
        };
        for (int left = exponent < 0 ? -exponent : exponent; left > 0 && value != 0 && std::isfinite(value);) {
            const int step = left > 22 ? 22 : left;
            value = exponent < 0 ? value / power(step) : value * power(step);
            left -= step;
        }
        if (!std::isfinite(value)) fail("a number is too large");
        Value v;
        v.kind = Value::Kind::number;
        v.number = negative ? -value : value;
        v.whole = whole;
        return v;
    }

    static Value of(bool truth) {
        Value v;
        v.kind = Value::Kind::truth;
        v.truth = truth;
        return v;
    }

    std::string_view text_;
    size_t at_ = 0;

  private:
    Code code_;
    const char* what_;
};

class Json : Reader {
  public:
    explicit Json(std::string_view text) : Reader(text, Code::model, "JSON") {}
    Value document() {
        Value v = value(0);
        space();
        if (!end()) fail("something follows the value");
        return v;
    }

  private:
    void space() {
        while (peek() == ' ' || peek() == '\n' || peek() == '\r' || peek() == '\t') ++at_;
    }
    Value value(int depth) {
        if (depth > kDepth) fail("nested too deeply");
        space();
        Value v;
        if (word("true")) return of(true);
        if (word("false")) return of(false);
        if (word("null")) return v;
        if (peek() == '"') {
            v.kind = Value::Kind::text;
            v.text = quoted(false);
        } else if (take('[')) {
            v.kind = Value::Kind::list;
            space();
            if (take(']')) return v;
            do {
                v.list.push_back(value(depth + 1));
                space();
            } while (take(','));
            expect(']');
        } else if (take('{')) {
            v.kind = Value::Kind::table;
            space();
            if (take('}')) return v;
            do {
                space();
                std::string key = quoted(false);
                space();
                expect(':');
                v.table.emplace_back(std::move(key), value(depth + 1));
                space();
            } while (take(','));
            expect('}');
        } else {
            v = numeric(false);
        }
        return v;
    }
};

class Toml : Reader {
  public:
    explicit Toml(std::string_view text) : Reader(text, Code::unsupported, "policy") {}
    Value document() {
        Value root;
        root.kind = Value::Kind::table;
        Value* table = &root;
        for (;;) {
            blank();
            if (end()) return root;
            if (take('[')) {
                if (peek() == '[') fail("arrays of tables are not used by policies");
                table = &root;
                do table = inside(*table, key());
                while (take('.'));
                expect(']');
            } else {
                pair(*table, 0);
            }
            space();
            if (peek() == '#') comment();
            if (!end() && !take('\n') && !word("\r\n")) fail("something follows the value");
        }
    }

  private:
    void space() {
        while (peek() == ' ' || peek() == '\t') ++at_;
    }
    void comment() {
        while (!end() && peek() != '\n') ++at_;
    }
    /// White space, line ends and comments.
    void blank() {
        for (;;) {
            space();
            if (peek() == '#') comment();
            if (!take('\n') && !word("\r\n")) return;
        }
    }
    std::string key() {
        space();
        std::string name;
        if (peek() == '"') {
            name = quoted(true);
        } else if (peek() == '\'') {
            name = literal();
        } else {
            const auto bare = [](char c) {
                return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || digit(c) || c == '_' || c == '-';
            };
            while (bare(peek())) name += text_[at_++];
            if (name.empty()) fail("a key was expected");
        }
        space();
        return name;
    }
    std::string literal() {
        expect('\'');
        std::string out;
        while (!end() && peek() != '\'' && peek() != '\n') out += text_[at_++];
        if (!take('\'')) fail("a string does not end");
        return out;
    }
    Value* inside(Value& table, const std::string& name) {
        for (auto& [key, value] : table.table) {
            if (key != name) continue;
            if (value.kind != Value::Kind::table) fail("a key is set twice");
            return &value;
        }
        table.table.emplace_back(name, Value{});
        table.table.back().second.kind = Value::Kind::table;
        return &table.table.back().second;
    }
    void pair(Value& table, int depth) {
        Value* into = &table;
        std::string name = key();
        while (take('.')) {
            into = inside(*into, name);
            name = key();
        }
        if (into->find(name)) fail("a key is set twice");
        expect('=');
        Value v = value(depth);
        into->table.emplace_back(std::move(name), std::move(v));
    }
    Value value(int depth) {
        if (depth > kDepth) fail("nested too deeply");
        space();
        Value v;
        if (word("true")) return of(true);
        if (word("false")) return of(false);
        if (peek() == '"' || peek() == '\'') {
            if (word("\"\"\"") || word("'''")) fail("strings over several lines are not used by policies");
            v.kind = Value::Kind::text;
            v.text = peek() == '"' ? quoted(true) : literal();
        } else if (take('[')) {
            v.kind = Value::Kind::list;
            for (blank(); !take(']'); blank()) {
                v.list.push_back(value(depth + 1));
                blank();
                if (!take(',') && peek() != ']') fail("an array does not end");
            }
        } else if (take('{')) {
            v.kind = Value::Kind::table;
            space();
            if (take('}')) return v;
            do pair(v, depth + 1), space();
            while (take(','));
            expect('}');
        } else {
            const size_t start = at_;
            v = numeric(true);
            const char next = peek();
            if (next == '-' || next == ':' || next == 'x' || next == 'o' || next == 'b' || next == '_')
                fail("dates and numbers in other bases are not used by policies");
            const size_t first = start + (text_[start] == '-' || text_[start] == '+');
            if (text_[first] == '0' && first + 1 < at_ && digit(text_[first + 1])) fail("a number begins with 0");
        }
        return v;
    }
};

}  // namespace

const Value* Value::find(std::string_view key) const {
    if (kind != Kind::table) return nullptr;
    // The last of equal keys wins, as in Python's json.
    for (auto p = table.rbegin(); p != table.rend(); ++p) {
        if (p->first == key) return &p->second;
    }
    return nullptr;
}

const Value& Value::at(std::string_view key) const {
    const Value* v = find(key);
    if (!v) throw Error(Code::model, "config.json: lacks " + std::string(key));
    return *v;
}

double Value::real() const {
    if (kind != Kind::number) throw Error(Code::model, "config.json: a number was expected");
    return number;
}

const std::string& Value::string() const {
    if (kind != Kind::text) throw Error(Code::model, "config.json: a string was expected");
    return text;
}

const std::vector<Value>& Value::items() const {
    if (kind != Kind::list) throw Error(Code::model, "config.json: a list was expected");
    return list;
}

Value parse_json(std::string_view text) {
    return Json(text).document();
}

Value parse_toml(std::string_view text) {
    return Toml(text).document();
}

}  // namespace capi
}  // namespace og
