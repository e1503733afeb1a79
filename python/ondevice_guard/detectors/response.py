# ruff: noqa: E501  (one language a line)
"""A model's answer: is it harmful, and is it a refusal?

The linear model (`models/response_linear_v1`, native, microseconds) gives three calibrated probabilities: harmful
compliance, refusal, and disclosure of a system prompt. Refusals are also recognised by a lexicon in twenty languages,
since a plain list is a strong baseline for them (AUROC .96 where a linear model alone reached .84 to .99).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from .. import _core, runtime
from ..errors import ModelError
from ..types import Finding
from .text import sigmoid

LABELS = ("harmful_response", "refusal", "leak")
#: An answer refuses at its start; further in, the same words may be quoted or be part of a story.
_HEAD = 300  # characters

_REFUSAL = re.compile(
    r"""
    \bi(?:\s+am|'m)\s+(?:really\s+|very\s+|so\s+|truly\s+)?(?:sorry|afraid)\b(?=.{0,80}\b(?:can|could|not|unable|but)\b)
    | \bi\s+apologi[sz]e\b(?=.{0,80}\b(?:can|not|unable|but)\b)
    | \b(?:i|we)\s+(?:can(?:'t|not|\s+not)|won't|will\s+not|must\s+not|am\s+unable\s+to|(?:'m|am)\s+not\s+able\s+to|do\s+not|don't)\s+
      (?:\w+\s+){0,2}(?:help|assist|provide|comply|support|fulfil|fulfill|create|generate|write|share|give|discuss|engage|answer|do\s+that|participate|offer)\b
    | \b(?:i|we)\s+(?:must|have\s+to|need\s+to)\s+(?:decline|refuse)\b
    | \b(?:against|violates?)\s+(?:my|our|the)\s+(?:\w+\s+){0,2}(?:guidelines|policy|policies|principles|programming|rules)\b
    | \bas\s+an?\s+(?:ai|language\s+model|assistant)\b(?=.{0,120}\b(?:can't|cannot|not\s+able|unable|won't|must\s+not)\b)
    | \bno\s+puedo\s+(?:\w+\s+){0,2}(?:ayudar|proporcionar|cumplir|responder|dar|ofrecer)|\blo\s+siento\b(?=.{0,60}\bno\b)
    | \bje\s+(?:ne\s+)?(?:peux|suis)\s+(?:pas|désolée?)\b(?=.{0,80}\b(?:pas|aider|répondre|fournir|mais)\b)
    | \b(?:es\s+)?tut\s+mir\s+(?:sehr\s+)?leid\b|\b(?:dabei|damit|das)\s+kann\s+ich\s+(?:\w+\s+){0,3}(?:nicht|helfen)|\bich\s+kann\s+(?:\w+\s+){0,4}nicht\s+(?:helfen|beantworten|geben|unterstützen)
    | \bnon\s+posso\s+(?:\w+\s+){0,2}(?:aiut|forni|rispond|soddisf)|\bmi\s+dispiace\b(?=.{0,60}\bnon\b)
    | \bnão\s+posso\s+(?:\w+\s+){0,2}(?:ajud|forne|respond|atender)|\b(?:desculpe|sinto\s+muito)\b(?=.{0,60}\bnão\b)
    | \b(?:ik\s+kan|kan\s+ik)\s+(?:\w+\s+){0,4}niet\s+(?:\w+\s+)?helpen\b
    | \bне\s+мог[уе]\w*\s+(?:\w+\s+){0,3}(?:помо|предостав|выполн|ответ|обсужд)|\bизвините\b(?=.{0,60}\bне\b)
    | \bnie\s+mogę\s+(?:\w+\s+){0,3}(?:pomóc|udzielić|odpowiedzieć|spełnić)
    | \b(?:üzgünüm|maalesef)\b(?=.{0,80}\b(?:yardımcı\s+olamam|yapamam|veremem|edemem)\b)
    | \b(?:saya\s+)?(?:tidak\s+(?:bisa|dapat))\s+(?:\w+\s+){0,2}(?:membantu|memberikan|memenuhi)
    | \bkhông\s+thể\s+(?:\w+\s+){0,3}(?:giúp|cung\s+cấp|hỗ\s+trợ|trả\s+lời|đáp\s+ứng)
    | 抱歉.{0,12}(?:不能|无法|無法)|对不起.{0,12}(?:不能|无法)|我(?:不能|无法|無法)(?:帮|協|协|提供|满足|回答|支持)
    | (?:お手伝い|お答え|ご提供|対応).{0,6}(?:できません|いたしかねます)|申し訳.{0,20}(?:できません|かねます)
    | (?:도와드릴|도울|제공할|답변할)\s*수\s*없
    | (?:لا\s+(?:أستطيع|يمكنني)|لن\s+أ)\s*(?:\w+\s+){0,2}(?:مساعد|تقديم|الإجابة|توفير)
    | (?:मैं\s+)?(?:इस|इसमें|यह|आपकी)?.{0,20}(?:मदद|सहायता|जानकारी).{0,12}नहीं\s+(?:कर|दे)\s+सकता
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


class ResponseDetector:
    """Scores an answer before it is shown or acted upon.

    Args:
        models: Directory with model folders; None searches the usual places.
        threads: Accepted for symmetry; the model is native and uses the calling thread.

    Raises:
        ModelError: The model is missing or altered.
    """

    name = "response"
    kinds: tuple[str, ...] = ("harmful_response",)

    def __init__(self, models: str | Path | None = None, threads: int = 1) -> None:
        self._model = runtime.load("response_linear", models, threads)
        if tuple(self._model.labels) != LABELS:
            raise ModelError(f"{self._model.name}: labels must be {', '.join(LABELS)}, in this order")
        try:
            fit = self._model.config["calibration"]
            self._fit = [(float(fit[k][0]), float(fit[k][1])) for k in LABELS]
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ModelError(f"{self._model.name}: config.json lacks the calibration: {error!r}") from None
        self._linear = _core.text.Linear(self._model.file("weights.bin"))

    @property
    def models(self) -> dict[str, str]:
        """Model name → version tag with checksum, for the verdict."""
        return {self._model.name: self._model.tag}

    def operating_points(self, fpr: float) -> Mapping[str, float]:
        """Return kind → threshold at a false-positive rate on ordinary answers."""
        return {kind: t for kind, t in self._model.points(fpr).items() if kind in self.kinds}

    def probabilities(self, text: str) -> dict[str, float]:
        """Return `harmful_response`, `refusal` and `leak`, each a probability in [0, 1]; they need not sum to one."""
        normal = _core.text.normalize(text).text
        logits, _ = self._linear.score(normal)
        result = {k: sigmoid(a * z + b) for k, (a, b), z in zip(LABELS, self._fit, logits, strict=True)}
        if _REFUSAL.search(normal[:_HEAD]):
            result["refusal"] = max(result["refusal"], 0.95)
        return result

    def __call__(self, text: str) -> list[Finding]:
        """Return one finding; `detail` holds the probabilities of refusal and of a disclosed system prompt."""
        p = self.probabilities(text)
        _, spans = self._linear.score(text)
        detail = {"refusal": round(p["refusal"], 4), "leak": round(p["leak"], 4)}
        why = "The answer complies with a harmful request."
        return [Finding("harmful_response", p["harmful_response"], why, "response", span=spans[0], detail=detail)]
