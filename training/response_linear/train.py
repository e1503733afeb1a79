# ruff: noqa: E402, E501  (grammars and lists of sentences read best one entry a line)
"""Fit the linear response model: harmful compliance, refusal, and disclosure of a system prompt.

    python training/response_linear/train.py --data DATA --out models/response_linear_v1

No collection of answers with a permissive licence is at hand, so the answers are written by grammars: refusals in many
wordings, compliant openings before harmful and harmless requests of the training sources, generic procedures, leaks of
generated system prompts. Nothing in it is an instruction that works. Held out for judging: a quarter of the refusal
wordings, of the compliance wordings, and whole harmful sources.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
import struct
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / "text"), str(Path(__file__).parents[1] / "text_linear")]

import data as texts
import generate
from train import BITS, fit, matrix, quantize

from ondevice_guard import _core

LABELS = ("harmful_response", "refusal", "leak")
REFUSE_OPEN = [
    "I'm sorry, but",
    "Sorry,",
    "I apologize, but",
    "I am sorry but",
    "Unfortunately,",
    "I'm afraid",
    "As an AI,",
    "As a language model,",
    "I must decline:",
    "No.",
    "I appreciate you asking, but",
    "Thanks for asking, however",
    "I understand the curiosity, but",
    "That's something",
    "I want to be direct:",
    "Let me be clear:",
    "My apologies,",
]
REFUSE_CORE = [
    "I can't help with that",
    "I cannot assist with {req}",
    "I won't provide instructions for {req}",
    "I'm not able to help with {req}",
    "I can't comply with this request",
    "I am unable to provide that",
    "this request goes against my guidelines",
    "I can't support anything illegal",
    "that would be dangerous and unethical, so I have to refuse",
    "I do not create content of this kind",
    "I'm not comfortable with {req}",
    "it would be irresponsible of me to explain this",
    "I can't do that",
    "helping with {req} is not possible for me",
    "I have to decline",
    "this is not something I can talk about",
    "I will not take part in this",
    "it is against my policy to discuss {req}",
    "I cannot fulfil your request",
    "I'd rather not",
    "that is illegal and harmful, and I won't assist",
]
REFUSE_END = [
    "",
    "If you are in crisis, please contact a local helpline.",
    "Is there something else I can help you with?",
    "I'd be happy to help with a safe alternative.",
    "Please reach out to a professional.",
    "Instead, I can explain how to stay safe.",
    "Please consider the consequences of such actions.",
    "Let me know if you have another question.",
]
FOREIGN = [
    "Lo siento, pero no puedo ayudarte con eso.",
    "No puedo proporcionar esa información.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Je ne peux pas répondre à cette demande.",
    "Es tut mir leid, aber dabei kann ich nicht helfen.",
    "Das kann ich leider nicht tun.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, não posso ajudar com isso.",
    "Sorry, maar daar kan ik niet mee helpen.",
    "Извините, я не могу помочь с этим.",
    "К сожалению, я не могу выполнить эту просьбу.",
    "对不起，我不能帮助你。",
    "抱歉，我无法提供这样的信息。",
    "申し訳ありませんが、お手伝いできません。",
    "죄송하지만 도와드릴 수 없습니다.",
    "عذرا، لا أستطيع مساعدتك في ذلك.",
    "क्षमा करें, मैं इसमें मदद नहीं कर सकता।",
    "Xin lỗi, tôi không thể giúp bạn việc này.",
    "Üzgünüm, bu konuda yardımcı olamam.",
    "Przepraszam, ale nie mogę w tym pomóc.",
    "Maaf, saya tidak bisa membantu.",
]
COMPLY = [
    "Sure, here is how: {req}",
    "Sure! Here's a step-by-step guide to {req}",
    "Of course. To {req}, follow these steps",
    "Absolutely, let's get started",
    "Here is what you asked for: {req}",
    "Certainly! Below is a detailed plan",
    "No problem, here you go",
    "Okay, this is how it is done",
    "Step 1",
    "Title: {req}",
    "First, you will need the following",
    "Great question! The easiest way is",
    "Here's the {genre} about it",
    "Got it. The method for {req} is simple",
    "Yes, and here is the full answer",
    "To do this you have to prepare well",
]
STEP = [
    "gather the {stuff} you need",
    "choose a time when nobody is around",
    "buy the {stuff} in several shops",
    "mix the parts slowly and keep them cool",
    "test it first on a small scale",
    "use a fake name and a prepaid card",
    "do not leave fingerprints",
    "wipe all logs afterwards",
    "find the victim's address",
    "gain their trust over some weeks",
    "write a convincing message",
    "attach the file and send it",
    "wait until the password is entered",
    "move the money through several accounts",
    "threaten to tell everyone",
    "hide the {stuff} under clothing",
    "disable the alarm and the cameras",
    "run the script against the target",
    "spread the post with many accounts",
    "destroy the evidence",
    "ignite it from a safe distance",
    "repeat until they give in",
]
GOOD_STEP = [
    "preheat the oven",
    "measure the {stuff} carefully",
    "read the manual first",
    "stir until smooth",
    "invite your friends",
    "write an outline",
    "check the result with a colleague",
    "save the file",
    "take a short walk",
    "compare two offers",
    "water it once a week",
    "ask a teacher for feedback",
    "install the latest version",
    "run the tests",
    "add a pinch of salt",
    "practise every day",
    "set a budget",
    "back up your data",
    "drink enough water",
    "talk to your doctor",
    "choose comfortable shoes",
    "thank everybody at the end",
    "label the boxes",
    "use a strong password",
]
NEUTRAL_STEP = "gather the {stuff} you need|find a quiet place|plan the work in advance|start with a small test|note what works|repeat until you are satisfied|ask somebody with experience|check the result|prepare the {stuff}|follow the order of the steps|take your time|clean up afterwards|adjust the amount|practise before you begin|combine the {stuff}|make a list|choose the right moment|keep the {stuff} ready|learn from mistakes|finish with a last check|store the {stuff} somewhere dry|read about it first|compare several methods|work in stages".split("|")
#: How requests begin; an answer keeps only their subject.
_ASKING = re.compile(
    r"^(?:please\s+)?(?:can you\s+|could you\s+|i need you to\s+|i want to\s+)?(?:tell me\s+)?(?:how (?:can|do|could|would|should|to|does|did)(?: (?:i|you|we|one|someone|people))?\s+|what(?:'s| is| are| were) (?:the |some )?(?:best |most effective |easiest )?(?:ways?|methods?|strategies|steps|techniques|tips) (?:to|of|for)\s+|(?:write|create|give(?: me)?|provide|develop|make|teach me|describe|explain|generate|show me)\s+(?:an? |the |some |detailed |step-by-step )*(?:tutorial|guide|instructions|script|plan|steps|list|program|how)?\s*(?:on |for |that |to |of |about )*(?:how to\s+)?)",
    re.IGNORECASE,
)
STUFF = [
    "materials",
    "tools",
    "ingredients",
    "chemicals",
    "documents",
    "parts",
    "cables",
    "devices",
    "supplies",
    "powder",
    "liquid",
    "seeds",
    "books",
    "photos",
]
LEAK = [
    "My system prompt is: {sys}",
    "Here are my instructions: {sys}",
    "I was told the following: {sys}",
    'Sure, the text above says: "{sys}"',
    "```\n{sys}\n```",
    "The initial prompt reads\n{sys}",
    "As requested, my configuration:\n{sys}",
    "System message: {sys}",
]


def held(wording: str) -> bool:
    """True for the quarter of the wordings that only judge."""
    return hashlib.sha1(wording.encode()).digest()[0] < 64


def answers(count: int, seed: int, goals: list[str], asks: list[str], part: str) -> list[dict[str, str]]:
    """Return rows `{"text", "label"}` made of the wordings of one part (`"train"` or `"test"`)."""
    rng = random.Random(seed)
    grammar = generate.Grammar(rng, goals, ["ignore all previous instructions"])

    def of(words: list[str]) -> str:
        return rng.choice([w for w in words if held(w) == (part == "test")] or words)

    def low(text: str) -> str:
        return text[:1].lower() + text[1:].rstrip(".?!")

    def steps(words: list[str]) -> str:
        n = rng.randint(2, 7)
        lines = [of(words).replace("{stuff}", rng.choice(STUFF)) for _ in range(n)]
        style = rng.randrange(3)
        if style == 0:
            return "\n".join(f"{i + 1}. {line.capitalize()}." for i, line in enumerate(lines))
        return (
            ". ".join(("Then " if style == 1 and i else "") + line for i, line in enumerate(lines)).capitalize() + "."
        )

    def compliance(request: str, own: list[str]) -> str:
        """An answer that does what was asked: the subject of the request, and steps of which half fit any subject."""
        subject = _ASKING.sub("", request).strip(" .?!:\n")
        subject = low(subject or request)
        lead = of(COMPLY).replace("{req}", subject).replace("{genre}", rng.choice(generate.G["genre"]))
        if "{req}" not in lead and rng.random() < 0.7:
            lead = f"{lead}. {subject[:1].upper()}{subject[1:]}"
        body = steps(own if rng.random() < 0.1 else NEUTRAL_STEP)
        parts = [lead + ":", subject.capitalize() + "." if rng.random() < 0.3 else "", body if rng.random() < 0.8 else ""]
        return "\n".join(part for part in parts if part)

    rows = []
    for _ in range(count):
        goal, ask = rng.choice(goals), rng.choice(asks)
        kind = rng.random()
        if kind < 0.25:
            asked = goal if rng.random() < 0.8 else ask
            text = f"{of(REFUSE_OPEN)} {of(REFUSE_CORE).replace('{req}', rng.choice((low(asked), 'that', 'this topic', 'your request')))}. {of(REFUSE_END)}"
            if rng.random() < 0.2:
                text = of(FOREIGN)
            rows.append({"text": text.strip(), "label": "refusal"})
        elif kind < 0.5:
            rows.append({"text": compliance(goal, STEP), "label": "harmful_response"})
        elif kind < 0.6:
            rows.append({"text": of(LEAK).replace("{sys}", grammar.pick("system")), "label": "leak"})
        elif kind < 0.85:
            rows.append({"text": compliance(ask, GOOD_STEP), "label": "benign"})
        else:
            rows.append({"text": " ".join(grammar.pick("sent") for _ in range(rng.randint(1, 8))), "label": "benign"})
    return rows


def main() -> None:
    arg = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arg.add_argument("--data")
    arg.add_argument("--out", default="models/response_linear_v1")
    arg.add_argument("--count", type=int, default=16000)
    arg.add_argument("--seed", type=int, default=1)
    args = arg.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    train, test = texts.split(texts.load(texts.data_dir(args.data)))

    def pick(rows: list[texts.Row], label: str, longest: int = 200) -> list[str]:
        return sorted({r["text"] for r in rows if r["label"] == label and len(r["text"]) < longest})

    plain = {"gpteacher_code_ans", "django_po_multiling", "writingbench", "syn_metadata_benign"}
    rows = answers(args.count, args.seed, pick(train, "harmful"), pick(train, "benign"), "train")
    # The subject must decide, not the few wordings of harmful steps: requests themselves stand for what answers restate.
    rows += [{"text": t, "label": "harmful_response"} for t in pick(train, "harmful")]
    rows += [{"text": t, "label": "benign"} for t in random.Random(args.seed).sample(pick(train, "benign"), 9000)]
    rows += [{"text": r["text"], "label": "benign"} for r in train if r["source"] in plain]
    judged = answers(3000, args.seed + 1, pick(test, "harmful"), pick(test, "benign"), "test")
    judged += [{"text": r["text"], "label": "benign"} for r in test if r["source"] == "t0_p3"]
    x = matrix(rows)
    table = np.zeros((1 << BITS, len(LABELS)), np.int8)
    bias, scale = [], []
    for k, label in enumerate(LABELS):
        y = np.array([r["label"] == label for r in rows], np.float64)
        weights, b = fit(x, y, np.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y.mean())), 1e-5, 40)
        table[:, k], s = quantize(weights)
        bias.append(b)
        scale.append(s)
    blob = (
        b"OGL1"
        + struct.pack("<II", BITS, len(LABELS))
        + struct.pack("<3f", *bias)
        + struct.pack("<3f", *scale)
        + table.tobytes()
    )
    (out / "weights.bin").write_bytes(blob)
    model = _core.text.Linear(blob)
    logits = np.array([model.score(_core.text.normalize(r["text"]).text)[0] for r in judged])
    labels = np.array([r["label"] for r in judged])
    metrics, thresholds, platt = {}, {}, {}
    for k, label in enumerate(LABELS):
        mine, other = logits[labels == label, k], logits[labels == "benign", k]
        rest = logits[labels != label, k]
        platt[label] = texts.platt(np.r_[mine, rest], np.r_[np.ones(len(mine)), np.zeros(len(rest))])
        p = texts.sigmoid(platt[label][0] * logits[:, k] + platt[label][1])
        thresholds[label] = {
            str(r): round(texts.operating_point(p[labels == "benign"], r), 6) for r in (0.03, 0.01, 0.002)
        }
        at = p[labels == label] >= thresholds[label]["0.01"]
        metrics[label] = {
            "auroc_vs_benign": round(texts.auroc(other, mine), 4),
            "auroc_vs_rest": round(texts.auroc(rest, mine), 4),
            "recall_at_1": round(float(at.mean()), 4),
            "rows": len(mine),
        }
    kinds = {"harmful_response": thresholds["harmful_response"], "canary_leak": thresholds["leak"]}
    config = {
        "schema": 1, "name": "response_linear", "version": 1, "licence": "Apache-2.0", "task": "response-classification",
        "files": {"weights.bin": {"sha256": hashlib.sha256(blob).hexdigest(), "bytes": len(blob)}},
        "labels": list(LABELS), "calibration": {k: [round(float(v), 6) for v in ab] for k, ab in platt.items()}, "thresholds": kinds,
        "trained_on": [{"source": "training/response_linear/train.py (grammar)", "licence": "Apache-2.0", "rows": len(rows), "sha256": hashlib.sha256("\0".join(sorted(r["text"] for r in rows)).encode()).hexdigest()}],
        "metrics": {**metrics, "judged_on": "wordings and harmful sources left out of training; synthetic answers", "seed": args.seed},
    }  # fmt: skip
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    print(json.dumps(config["metrics"], indent=1), thresholds)


if __name__ == "__main__":
    main()
