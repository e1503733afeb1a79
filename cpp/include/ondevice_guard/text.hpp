// Text: what is really written, and how much it looks like an order to a model.
//
// All positions are code points. A text is UTF-32; lone surrogates and values above 0x10FFFF count as U+FFFD.
//
//   normalize   s → s' = fold(NFKC(s without invisible characters)), with origin[i] = position in s of s'[i], and a list
//               of tricks, each with its span in s. Emoji sequences (ZWJ, variation selector, flag tags), joiners inside
//               scripts that need them, and one selector after an ideograph are no tricks. `fold` replaces letters that
//               look Latin in words that mix scripts (or in wholly confusable words of a mostly Latin text).
//               Then the text is read again for payloads, two levels deep: base64, hex, escapes (percent, \x, \u, HTML),
//               ROT13, reversed words, leet, letters spaced apart; at most kPayloads payloads of kPayloadLength each.
//   clean       BERT's uncased normaliser, code point by code point: controls dropped, lower case, accents stripped,
//               ideographs isolated; then words, split at white space and around every punctuation mark.
//   WordPiece   greedy longest match of each word, continuation pieces marked ## (Wu et al. 2016, arXiv 1609.08144).
//   Linear      hashed n-grams, streamed. For a window W of words with the multiset F(W) of features
//                   z_k(W) = bias_k + scale_k * (sum over f in F(W) of q[h(f)][k]) / sqrt(|F(W)|)
//               where q is int8 and h(f) the top `bits` bits of a mixed FNV-1a hash. Features: words, pairs, triples of
//               neighbouring words, and for words of letters or digits all 3- to 5-grams of "<word>". Windows are runs of one
//               to four blocks of 64 words; in texts of more than 64 words also each sentence (4 to 24 words) and each two
//               sentences, so that a short order in a long text is not drowned: z is then lowered by a handicap for each
//               class, since the worst of many sentences is higher than the text itself. The score is the maximum over
//               all windows. Sums are integers: exact on every CPU.
//               (Hashing trick: Weinberger et al. 2009, arXiv 0902.2206.)
//
// Time is linear in the length (words are cut at 100 characters, payloads are bounded); memory a few bytes per character.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace og::text {

constexpr size_t kPayloads = 16;
constexpr size_t kPayloadLength = 16384;

/// How a text was hidden.
enum class Trick { invisible, tags, selectors, bidi, homoglyph, base64, hex, escape, rot13, reversed, leet, spacing };

/// Lower-case name of a trick.
const char* name(Trick trick);

/// One trick: where it is in the source, how many characters take part, and what it hides (normalised; may be empty).
struct Found {
    Trick trick;
    uint32_t begin;
    uint32_t end;
    uint32_t count;
    std::u32string payload;
};

/// The result of `normalize`.
struct Normal {
    std::u32string text;
    std::vector<uint32_t> origin;  ///< text.size() + 1 entries; the last is the source's length
    std::vector<Found> found;      ///< by position
};

/// True for a letter of any script.
bool is_letter(char32_t c);

/// Normalises and unmasks; see the top.
Normal normalize(std::u32string_view source);

/// A word of `clean`: [begin, end) in the cleaned buffer, [first, last) in the input.
struct Word {
    uint32_t begin;
    uint32_t end;
    uint32_t first;
    uint32_t last;
};

/// The result of `clean`.
struct Words {
    std::u32string text;
    std::vector<Word> words;
};

/// Splits a normalised text into words as BERT's uncased tokenizer does.
Words clean(std::u32string_view text);

/// Feature hashes of one window (all words of `words`), in order, with repetitions; each below 2^bits.
std::vector<uint32_t> features(const Words& words, int bits);

/// Greedy WordPiece over a vocabulary that lists one piece per line (its line number is its id).
class WordPiece {
  public:
    /// Throws Code::model when the vocabulary is empty or lacks [UNK].
    explicit WordPiece(std::string_view vocabulary);
    ~WordPiece();
    struct Tokens {
        std::vector<int32_t> ids;
        std::vector<uint32_t> origin;  ///< position in the input where the token's word begins
    };
    /// Tokens of a text, without [CLS] and [SEP].
    Tokens encode(std::u32string_view text) const;

  private:
    struct Table;
    std::unique_ptr<Table> table_;
};

constexpr int kClasses = 3;

/// Scores of a text by the linear model.
struct LinearScore {
    std::array<float, kClasses> logits;                   ///< maximum over windows
    std::array<std::array<uint32_t, 2>, kClasses> spans;  ///< the window that gave it: [begin, end) in the input
};

/// The linear model. Weights: "OGL2", uint32 bits, uint32 classes, float32 bias[classes], float32 scale[classes],
/// float32 handicap[2][classes] (of one sentence, of two), int8 q[2^bits][classes]; little endian.
class Linear {
  public:
    /// Keeps a copy of the weights. Throws Code::model when they are not of this form.
    explicit Linear(std::string_view weights);

    /// Scores a text that arrives in pieces; memory does not grow with its length.
    class Stream {
      public:
        explicit Stream(const Linear& model) : model_(&model) {}
        void push(std::u32string_view piece);
        /// Scores what was pushed so far, its last word included.
        LinearScore score() const;

      private:
        friend class Linear;
        void take(std::u32string_view text);
        void word(const Words& words, const Word& word);
        struct Block {
            int64_t sum[kClasses] = {};
            uint64_t features = 0;
            uint32_t words = 0;
            uint32_t begin = 0;
            uint32_t end = 0;
        };
        void weigh(LinearScore& into, const Block* from, int count, size_t level) const;
        void weigh_long(LinearScore& into) const;
        void weigh_short();
        LinearScore finish();
        const Linear* model_;
        std::u32string rest_;
        std::array<Block, 4> blocks_{};
        std::array<Block, 2> sentence_{};  ///< the last sentence but one, the last
        int filled_ = 0;
        int sentences_ = 0;
        bool closed_ = false;
        uint64_t words_ = 0;
        uint32_t before_ = 0;
        uint32_t last_[2] = {};
        int history_ = 0;
        LinearScore best_{{{-1e30f, -1e30f, -1e30f}}, {}};
        LinearScore inside_{{{-1e30f, -1e30f, -1e30f}}, {}};  ///< over sentences; counts in long texts
    };
    LinearScore score(std::u32string_view text) const;

  private:
    int bits_ = 0;
    float bias_[kClasses] = {};
    float scale_[kClasses] = {};
    float handicap_[3][kClasses] = {};  ///< of blocks (0), of one sentence, of two
    std::vector<int8_t> table_;
};

}  // namespace og::text
