# ruff: noqa: E501, SIM905
"""Write cpp/src/text_tables.inc: the Unicode facts the native text code needs, from Python's unicodedata and the
reference tokenizer, plus a word list counted in the training rows.

    python training/text/unicode_tables.py --data DATA > cpp/src/text_tables.inc

The confusables are a list of our own: letters whose usual glyph equals a Latin letter's. Unicode data is used under the
Unicode licence (https://www.unicode.org/license.txt).
"""

from __future__ import annotations

import argparse
import collections
import math
import re
import sys
import textwrap
import unicodedata
from collections.abc import Iterable

import data as texts
from tokenizers import normalizers, pre_tokenizers

ALL = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]

#: Letters of other scripts, each followed by the Latin letter that it looks like.
CONFUSABLE = dict(
    """
аa вb еe кk мm нh оo рp сc тt уy хx іi јj ѕs ԁd ԛq ԝw һh ӏl ɡg ɑa ʏy ѵv
ѡw АA ВB ЕE КK МM НH ОO РP СC ТT УY ХX ІI ЈJ ЅS ԌG ԚQ ԜW ҮY ҺH ѴV αa βb
εe κk ιi οo νv ρp τt υu χx γy ωw ηn ϲc σo ΑA ΒB ΕE ΖZ ΗH ΙI ΚK ΜM ΝN ΟO
ΡP ΤT ΥY ΧX ϹC ոn սu օo հh զq ցg յj ԼL ՍU ՕO ՏS ᎠD ᎡR ᎢT ᎥI ᎪA ᎫJ ᎬE ᎳW
ᎷM ᎻH ᏀG ᏃZ ᏒR ᏔW ᏕS ᏙV ᏚS ᏞL ᏟC ᏢP ᏦK ᏴB ꓮA ꓐB ꓚC ꓓD ꓰE ꓝF ꓖG ꓧH ꓲI ꓙJ
ꓗK ꓡL ꓟM ꓠN ꓳO ꓑP ꓣR ꓢS ꓔT ꓴU ꓦV ꓪW ꓫX ꓬY ꓜZ ᴀa ʙb ᴄc ᴅd ᴇe ꜰf ɢg ʜh ɪi
ᴊj ᴋk ʟl ᴍm ɴn ᴏo ᴘp ꞯq ʀr ꜱs ᴛt ᴜu ᴠv ᴡw ᴢz
""".split()
) | {chr(base + i): chr(65 + i) for base in (0x1F150, 0x1F170, 0x1F1E6) for i in range(26)}

#: Characters without a glyph that a reader cannot see: dropped, reported when they hide inside text.
INVISIBLE = {
    *map(ord, "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u3164\ufeff\uffa0"),
    *range(0x180B, 0x1810),
    *range(0x200B, 0x2010),
    *range(0x202A, 0x202F),
    *range(0x2060, 0x2070),
    *range(0xFE00, 0xFE10),
    *range(0xFFF0, 0xFFFC),
    *range(0x1BCA0, 0x1BCA4),
    *range(0x1D173, 0x1D17B),
    *range(0xE0000, 0xE1000),
}


def ranges(points: Iterable[int]) -> list[tuple[int, int]]:
    """Return sorted points as inclusive ranges."""
    out: list[list[int]] = []
    for p in sorted(points):
        if out and p == out[-1][1] + 1:
            out[-1][1] = p
        else:
            out.append([p, p])
    return [(a, b) for a, b in out]


def emit(kind: str, name: str, items: list[str], per_line: int) -> None:
    print(f"constexpr {kind} {name}[] = {{")
    for i in range(0, len(items), per_line):
        print(" ", ",".join(items[i : i + per_line]) + ",")
    print("};")


def mapping(name: str, table: dict[int, str]) -> None:
    """A sorted table code point → string: runs of neighbours whose strings are as long as each other, and their pool.

    A row for each code point, and a pool in UTF-32 without its repeats, would take twice the bytes.
    """
    pool: list[int] = []
    runs: list[list[int]] = []
    for c, text in sorted(table.items()):
        code = text.encode("utf-16-le")
        units = [int.from_bytes(code[i : i + 2], "little") for i in range(0, len(code), 2)]
        if runs and c == runs[-1][0] + runs[-1][2] and len(units) == runs[-1][1]:
            runs[-1][2] += 1
        else:
            runs.append([c, len(units), 1, len(pool)])
        pool += units
    emit("Run", name, [f"{{{low:#x},{size},{count},{at}}}" for low, size, count, at in runs], 10)
    emit("char16_t", f"{name}_pool", [f"{u:#x}" for u in pool], 20)


def flags(name: str, points: Iterable[int]) -> None:
    emit("Range", name, [f"{{{a:#x},{b:#x}}}" for a, b in ranges(points)], 10)


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    args = arg.parse_args()
    out = lambda c: unicodedata.category(chr(c))  # noqa: E731
    print(f"// Written by training/text/unicode_tables.py (Unicode {unicodedata.unidata_version}); do not edit.")
    print(
        "// Derived from the Unicode Character Database, copyright Unicode, Inc., https://www.unicode.org/license.txt"
    )
    hangul = range(0xAC00, 0xD7A4)
    mapping(
        "kDecompose", {c: d for c in ALL if c not in hangul and (d := unicodedata.normalize("NFKD", chr(c))) != chr(c)}
    )
    pairs = {}
    for c in ALL:
        parts = unicodedata.decomposition(chr(c)).split()
        if (
            len(parts) == 2
            and not parts[0].startswith("<")
            and c not in hangul
            and unicodedata.normalize("NFC", chr(c)) == chr(c)
        ):
            pairs[int(parts[0], 16), int(parts[1], 16)] = c
    emit("Pair", "kCompose", [f"{{{a:#x},{b:#x},{c:#x}}}" for (a, b), c in sorted(pairs.items())], 8)
    classes = collections.defaultdict(list)
    for c in ALL:
        if unicodedata.combining(chr(c)):
            classes[unicodedata.combining(chr(c))].append(c)
    rows = sorted((a, b, k) for k, v in classes.items() for a, b in ranges(v))
    emit("Classed", "kCombining", [f"{{{a:#x},{b:#x},{k}}}" for a, b, k in rows], 10)

    bert = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=True)
    spaced = normalizers.BertNormalizer(
        clean_text=False, handle_chinese_chars=True, strip_accents=False, lowercase=False
    )
    split = pre_tokenizers.BertPreTokenizer()
    clean = {c: bert.normalize_str(chr(c)) for c in ALL}
    mapping("kClean", {c: t for c, t in clean.items() if t != chr(c) and t and c >= 128 and c not in hangul})
    flags("kDropped", (c for c, t in clean.items() if not t))
    flags("kIdeograph", (c for c in ALL if spaced.normalize_str(chr(c)) != chr(c)))
    flags("kPunctuation", (c for c in ALL if c >= 128 and len(split.pre_tokenize_str("a" + chr(c) + "a")) == 3))
    flags("kSpace", (c for c in ALL if not split.pre_tokenize_str(chr(c))))
    flags("kInvisible", INVISIBLE)
    flags("kLetter", (c for c in ALL if out(c)[0] == "L"))
    flags("kLatin", (c for c in ALL if out(c)[0] == "L" and unicodedata.name(chr(c), "").startswith("LATIN")))
    flags(
        "kJoining",
        (
            c
            for c in ALL
            if c > 0x600
            and re.match(
                "ARABIC|SYRIAC|DEVANAGARI|BENGALI|GURMUKHI|GUJARATI|ORIYA|TAMIL|TELUGU|KANNADA|MALAYALAM|SINHALA|KHMER|MYANMAR|MONGOLIAN|THAANA|NKO|HEBREW|TIBETAN|LAO |THAI",
                unicodedata.name(chr(c), ""),
            )
        ),
    )
    emoji = [
        c
        for c in ALL
        if (out(c) == "So" and c >= 0x203C)
        or 0x1F000 <= c <= 0x1FAFF
        or c in (0x203C, 0x2049, 0x2139, 0x2194, 0x21A9, 0x20E3, 0xA9, 0xAE)
    ]
    flags("kEmoji", emoji)
    for key in CONFUSABLE:
        assert len(key) == 1, key
    emit("Single", "kConfusable", [f"{{{ord(k):#x},{ord(v):#x}}}" for k, v in sorted(CONFUSABLE.items())], 12)

    rows_ = texts.training_rows(texts.data_dir(args.data), generated=20000, seed=1)
    count: collections.Counter[str] = collections.Counter()
    for row in rows_:
        count.update({w for w in re.findall(r"[a-z]+", row["text"].lower()) if 1 <= len(w) <= 14})
    words = [
        w
        for w, n in count.most_common(2600)
        if len(w) > 2
        or w
        in [
            "a",
            "i",
            "an",
            "as",
            "at",
            "be",
            "by",
            "do",
            "go",
            "he",
            "if",
            "in",
            "is",
            "it",
            "me",
            "my",
            "no",
            "of",
            "on",
            "or",
            "so",
            "to",
            "up",
            "us",
            "we",
            "am",
            "ai",
        ]
    ][:2000]
    total = sum(count[w] for w in words)
    lines = textwrap.wrap(" ".join(sorted(words)), 150)
    print("constexpr char kWords[] =")
    print("\n".join(f'  "{line} "' for line in lines[:-1]) + f'\n  "{lines[-1]}";')
    emit("uint8_t", "kWordCosts", [str(round(-8 * math.log2(count[w] / total))) for w in sorted(words)], 32)
    print(f"{len(words)} words", file=sys.stderr)


if __name__ == "__main__":
    main()
