# ruff: noqa: E501  (a lexicon reads best one language a line)
"""Answers: does the model help with something harmful, or does it decline? Microseconds, so that a stream can be screened.

A linear model of hashed n-grams gives three logits (helps with harm, declines, speaks of a harmful subject), and a lexicon
in many languages says whether the answer declines. A score is the calibrated probability

    p = sigmoid(a . [harmful, declines, subject, lexicon] + b)        p_refusal = sigmoid(c . [declines, lexicon] + d)

Coefficients and operating points are in `config.json`; they were fitted on answers about subjects that the models which
scored them had not been trained on. The prompt encoder was tried beside it and found no more (models/CHANGELOG.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import _core, runtime
from ..errors import ModelError
from ..types import Finding
from .text import sigmoid

LABELS = ("harmful_response", "refusal", "risky_subject")
_HEAD = 300  # characters: a refusal opens the answer; later the same words are often quoted
#: How answers decline, by language; matched on lower-case text with plain apostrophes. Verbs of declining together with
#: what is declined, rather than apologies alone: "I'm sorry to hear that" helps.
_DECLINES = re.compile(
    r"\b(?:i|we)(?:'m| am|'re| are)? (?:really |simply |just |also |truly |ethically |unfortunately )?"
    r"(?:can(?:no|')?t|can not|won't|will not|wouldn't|would not|unable to|not able to|not going to|not willing to|not comfortable(?: with)?|refuse to) "
    r"(?:be able to |directly |in good conscience |fulfil |fulfill )?(?:help|assist|provide|comply|support|engage|create|creating|write|writing|generate|generating|share|sharing|give|giving|answer|discuss|discussing|participate|do that|do this|continue|offer|produce|explain|describe|take part|feel right|talk about|say|your|that|this|with)\b"
    r"|\b(?:i|we)(?:'ll| will| must| have to|'d have to| need to|'m going to| am going to)(?: \w+)? (?:decline|refuse|pass on|say no|stop here)\b"
    r"|against my (?:guidelines|policy|policies|programming|principles|values)|(?:not|isn't) something (?:that )?(?:i|we) (?:can|will|could|may)|(?:goes|is) against (?:my|our|the) (?:content )?(?:guidelines|policy|policies)"
    r"|i(?:'d| would) rather not|no puedo (?:ayudar|proporcionar|responder|hacer|cumplir|dar)|no me es posible|lo siento, (?:pero )?no"
    r"|je ne peux pas|je ne suis pas en mesure|il m'est impossible|dabei kann ich (?:\w+ )?nicht|kann ich (?:\w+ ){0,3}nicht (?:helfen|tun|beantworten|geben)|ich kann (?:\w+ ){0,3}nicht helfen|solche anleitungen"
    r"|non posso (?:aiutar|rispond|forn)|non sono in grado|não posso (?:ajudar|responder|fornecer)|não consigo ajudar|kan ik (?:\w+ ){0,3}niet (?:mee )?helpen"
    r"|не могу (?:помочь|выполнить|ответить|предоставить)|nie mogę (?:\w+ ){0,2}pomóc|yardımcı olamam|không thể (?:giúp|trả lời|cung cấp)|tidak (?:bisa|dapat) membantu"
    r"|我(?:不能|无法)(?:帮助|提供|回答|满足|答应|协助)|(?:请求|要求)我(?:不能|无法)|お(?:手伝い|答え)(?:は)?できません|応じ(?:ることは|られ)(?:できません|ません)|도와드릴 수 없|답변(?:해 )?드릴 수 없"
    r"|لا (?:أستطيع|يمكنني) (?:مساعد|تقديم|الإجابة)|मदद नहीं कर सकता"
)


def declines(answer: str) -> bool:
    """True when the first sentences of an answer say that it will not do what was asked."""
    head = re.sub(r"\s+", " ", answer[: 2 * _HEAD]).strip().lower().replace("\u2019", "'")[:_HEAD]
    return bool(_DECLINES.search(head))


class ResponseDetector:
    """Scores an answer, or a part of one while it is being written.

    Args:
        models: Directory with model folders; None searches the usual places.
        threads: Not used; scoring takes microseconds.

    Raises:
        ModelError: The model is missing or altered.
    """

    name = "response"
    kinds: tuple[str, ...] = ("harmful_response",)

    def __init__(self, models: str | Path | None = None, threads: int = 1) -> None:
        self._model = runtime.load("response_linear", models, threads)
        if tuple(self._model.labels) != LABELS:
            raise ModelError(f"the response model must have the labels {', '.join(LABELS)}, in this order")
        try:
            fit = self._model.config["calibration"]
            *self._harm, self._harm_bias = (float(v) for v in fit["harmful_response"])
            *self._refuse, self._refuse_bias = (float(v) for v in fit["refusal"])
            if (len(self._harm), len(self._refuse)) != (4, 2):
                raise ValueError("harmful_response needs 5 numbers, refusal 3")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{self._model.name}: config.json lacks the calibration: {error!r}") from None
        self._linear = _core.text.Linear(self._model.file("weights.bin"))

    @property
    def models(self) -> dict[str, str]:
        """Model name → version tag with checksum, for the verdict."""
        return {self._model.name: self._model.tag}

    def operating_points(self, fpr: float) -> Mapping[str, float]:
        """Return kind → threshold at a false-positive rate on harmless, cautionary and declining answers."""
        return self._model.points(fpr)

    def __call__(self, text: str) -> list[Finding]:
        """Return one finding, `harmful_response`; `detail` holds the probability that the answer is a refusal.

        Args:
            text: Any string; its length is not limited, time is linear in it.
        """
        normal = _core.text.normalize(text)
        logits, spans = self._linear.score(normal.text)
        lexicon = float(declines(normal.text))
        harm = sum(a * z for a, z in zip(self._harm, (*logits, lexicon), strict=True)) + self._harm_bias
        refuse = sum(a * z for a, z in zip(self._refuse, (logits[1], lexicon), strict=True)) + self._refuse_bias
        detail: dict[str, Any] = {name: round(z, 4) for name, z in zip(LABELS, logits, strict=True)}
        detail["refusal_probability"] = round(sigmoid(refuse), 4)
        begin, end = spans[0]
        where = (int(normal.origin[begin]), int(normal.origin[end]))
        why = "The answer helps to do harm, or is hateful or abusive."
        return [Finding("harmful_response", sigmoid(harm), why, self.name, span=where, detail=detail)]
