// Tables as text: JSON (the models' config.json) and the TOML that policies are written in.
//
// TOML: comments, [table] and [table.sub] headers, bare and quoted and dotted keys, strings ("…" with escapes, '…' without),
// whole numbers (underscores allowed), floats, booleans, arrays over several lines, inline tables. Not: dates, arrays of
// tables, multi-line strings, numbers in other bases; those are errors and never ignored.
//
// Numbers are read without the locale: up to 19 digits times a power of ten, correctly rounded up to 15 digits.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace og {
namespace capi {

/// One value of a table; tables keep the order in which their keys were written.
struct Value {
    enum class Kind { none, truth, number, text, list, table };
    Kind kind = Kind::none;
    bool truth = false;
    bool whole = false;  ///< a number that was written without point and exponent
    double number = 0.0;
    std::string text;
    std::vector<Value> list;
    std::vector<std::pair<std::string, Value>> table;

    /// The value of a key, or null.
    const Value* find(std::string_view key) const;
    /// The value of a key; throws `Code::model` where there is none.
    const Value& at(std::string_view key) const;
    /// A number, a string, a list; each throws `Code::model` for another kind.
    double real() const;
    const std::string& string() const;
    const std::vector<Value>& items() const;
};

/// Throw `Code::model` for what is not JSON, `Code::unsupported` for what is not TOML of the subset above.
Value parse_json(std::string_view text);
Value parse_toml(std::string_view text);

}  // namespace capi
}  // namespace og
