"""The one composer: bytes → decode → views → detectors → policy → sanitize → Verdict."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import inputs, sanitize, views
from .accelerator import Accelerator
from .detectors import build
from .detectors.crossmodal import DelegationDetector, split_payload
from .errors import GuardError, ImageError, InputError, ModelError, UnsupportedInput
from .policy import Outcome, Policy
from .types import KINDS, Decision, Detector, Finding, Image, Pixels, Plan, Quad, TextDetector, Views
from .verdict import Verdict

if TYPE_CHECKING:
    from .messages import MessagesVerdict, VerdictCache
    from .responses import ResponseVerdict


class Guard:
    """Judges pictures and prompts before a local multimodal model sees them.

    A guard is immutable after construction, safe to share between threads, and loads its models on first use
    (or at once with `warm_up`).

    Args:
        policy: `"permissive"`, `"balanced"`, `"strict"`, a `Policy`, a mapping, or a path to a TOML file.
        profiles: What the model will see: names from `ondevice_guard.views.PROFILES`; None takes the policy's.
        detectors: Extra detectors for pictures, run after the built-in ones.
        text_detectors: Extra detectors for text.
        response_detectors: Extra detectors for a model's answers.
        models: Directory with model folders; None searches the usual places (see `runtime`).
        threads: Threads for native kernels and models inside one call.
        seed: Seed of the random purification preset; written into every verdict.
        device: Where pictures are purified: `"cpu"`, `"cuda"` or `"cuda:N"` (must work), or `"auto"`. Detectors and verdicts
            do not depend on it; `Verdict.backend` says what computed, and why not the device.

    Raises:
        PolicyError: the policy cannot be used.
        ModelError: a model that the policy needs is missing or altered.
        BackendError: `device="cuda"`, and there is no plugin or no device.

    Example:
        >>> guard = Guard(policy="balanced")
        >>> verdict = guard.check("photo.jpg", text="What is this?")
        >>> if verdict:
        ...     answer = model(verdict.image, "What is this?")
    """

    def __init__(
        self,
        policy: str | Path | Policy | Mapping[str, Any] = "balanced",
        *,
        profiles: Sequence[str] | None = None,
        detectors: Sequence[Detector] = (),
        text_detectors: Sequence[TextDetector] = (),
        response_detectors: Sequence[TextDetector] = (),
        models: str | Path | None = None,
        threads: int = 1,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        self.policy = Policy.load(policy)
        if profiles is not None:
            self.policy = self.policy.replace(profiles=list(profiles))
        for profile in self.policy.profiles:
            views.profile(profile)  # an unknown name fails here, not on the first picture
        if threads < 1:
            raise UnsupportedInput(f"threads must be at least 1, got {threads!r}")
        self.threads = threads
        self.seed = seed
        self.accelerator = Accelerator(device)
        self._verdicts: VerdictCache | None = None
        self._suite = _Suite(
            self.policy, models, threads, tuple(detectors), tuple(text_detectors), tuple(response_detectors)
        )

    def with_policy(self, **changes: Any) -> Guard:
        """Return a guard with some fields of the policy changed (see `Policy.replace`); loaded models are shared.

        Raises:
            PolicyError: an unknown key or value.
            UnsupportedInput: a change that needs other models (`detectors`, `fpr`, `rates`): make a new guard.
        """
        if {"detectors", "fpr", "rates"} & set(changes):
            raise UnsupportedInput("detectors, fpr and rates decide which models are loaded: make a new Guard")
        other = copy.copy(self)
        other.policy = self.policy.replace(**changes)
        other._verdicts = None
        return other

    def warm_up(self) -> Guard:
        """Load every model now; returns self. Raises `ModelError` when one cannot be used."""
        self._suite.load()
        return self

    @property
    def thresholds(self) -> dict[str, float]:
        """kind → the threshold in force (loads the models, whose operating points count)."""
        return self.policy.effective_thresholds(self._suite.load().operating_points)

    def fingerprint(self) -> str:
        """Return a hash of policy, models and seed: equal fingerprints give equal verdicts for equal bytes."""
        loaded = self._suite.load()
        names = [*(d.name for d in loaded.pictures), *(d.name for d in loaded.texts)]
        parts = (repr(self.policy), sorted(loaded.models.items()), names, self.seed)
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    # ------------------------------------------------------------------ one request

    def check(
        self,
        image: Any = None,
        text: str | None = None,
        *,
        claimed: str | None = None,
        value_range: tuple[float, float] | None = None,
        layout: str | None = None,
    ) -> Verdict:
        """Judge one picture, one text, or both together.

        Args:
            image: Path, bytes, binary file, data URI, PIL image, numpy array (HxW, HxWx1/3/4), torch tensor, DLPack or
                array-interface object. Addresses (`http://`, `file://`) are refused; nothing is ever fetched.
            text: The prompt that goes with the picture.
            claimed: File name or MIME type the sender stated; a mismatch with the bytes is a finding.
            value_range: (low, high) of a float array, e.g. `(0.0, 1.0)`.
            layout: `"HWC"` or `"CHW"` where an array could be either.

        Returns:
            The verdict. Hostile or damaged bytes give BLOCK with the reason; a failing detector gives ERROR.

        Raises:
            InputError: the call itself is wrong (type, shape, dtype, address, unreadable path); names the remedy.
        """
        if image is None and text is None:
            raise UnsupportedInput("nothing to check: pass image=, text= or both")
        if text is not None and not isinstance(text, str):
            raise UnsupportedInput(f"text must be a str, got {type(text).__name__}")
        run = _Run(self)
        picture: Image | None = None
        source: inputs.Source | None = None
        if image is not None:
            try:
                with run.stage("decode"):
                    picture, source = inputs.read(
                        image, self.policy.limits, claimed=claimed, value_range=value_range, layout=layout
                    )
            except ImageError as error:
                return run.refused(error)
        try:
            return self._judge(run, picture, source, text)
        except (InputError, ModelError):
            raise
        except Exception as error:  # fail closed: whatever broke, nothing is handed out
            return run.failed(error)

    def _judge(self, run: _Run, picture: Image | None, source: inputs.Source | None, text: str | None) -> Verdict:
        with run.stage("load"):
            loaded = self._suite.load()
        findings: list[Finding] = []
        seen: Views | None = None
        if picture is not None:
            seen, found = self._look(run, loaded, picture)
            findings += [*picture.findings, *found]
        with run.stage("text"):
            for reader in loaded.texts:
                findings += reader(text) if text else ()
                for item in picture.metadata if picture is not None else ():
                    findings += (_from_carrier(f, item.carrier) for f in reader(item.text))
        if picture is not None and text:
            with run.stage("crossmodal"):
                findings += loaded.relation(text, findings)
        original = pixels = seen.original.pixels if seen is not None else None

        def again(plan: Plan) -> Sequence[Finding]:
            nonlocal pixels
            assert picture is not None and original is not None  # only a finding about a picture remakes it
            pixels, found = self._remake(run, loaded, picture, original, plan)
            return found

        with run.stage("policy"):
            outcome, remade = settle(self.policy, findings, loaded.operating_points, again)
        findings += remade
        if outcome.decision is Decision.BLOCK:
            pixels = None
        elif pixels is not None:
            with run.stage("sanitize"):
                pixels = sanitize.apply(
                    pixels, outcome.plan, self.seed, self.threads, self.accelerator, self._suite.models_dir
                )
        return run.decided(outcome, findings, loaded, picture, text, pixels, source)

    def _look(self, run: _Run, loaded: _Loaded, picture: Image) -> tuple[Views, list[Finding]]:
        """Return the views of a picture and what every detector says about them, QR codes' texts included."""
        findings: list[Finding] = []
        with run.stage("views"):
            profiles = self.policy.profiles if loaded.profiles else ()
            seen = views.build(picture, profiles, self.policy.background, self.threads)
        for detector in loaded.pictures:
            with run.stage(detector.name):
                findings += detector(seen)
        with run.stage("text"):
            for regions, said in _qr_texts(seen, findings) if loaded.texts else ():
                for reader in loaded.texts:
                    findings += (_from_qr(f, regions) for f in reader(said))
        return seen, findings

    def _remake(
        self, run: _Run, loaded: _Loaded, picture: Image, pixels: Pixels, plan: Plan
    ) -> tuple[Pixels, list[Finding]]:
        """Return the picture that the plan makes of this one (`sanitize.remake`), and what every detector says about it."""
        with run.stage("sanitize"):
            made = sanitize.remake(picture, pixels, plan, self.threads)
        return made, self._look(run, loaded, Image(made))[1]

    def remake(self, image: Any, plan: Plan, **options: Any) -> tuple[Pixels, list[Finding]]:
        """Return what `check` looks at a second time under this plan: the picture that was made, and what was found in it.

        For those who replay decisions (`evaluate`).

        Args:
            image: As in `check`.
            plan: One that remakes pictures.
            **options: `claimed`, `value_range`, `layout`, as in `check`.

        Raises:
            InputError: as in `check`.
            ImageError: the bytes cannot be decoded safely.
        """
        picture, _ = inputs.read(image, self.policy.limits, **options)
        pixels = views.build(picture, (), self.policy.background, self.threads).original.pixels
        return self._remake(_Run(self), self._suite.load(), picture, pixels, plan)

    def check_together(self, verdicts: Sequence[Verdict], text: str = "") -> Verdict:
        """Judge what shows only in a request as a whole: text that delegates to a picture, orders split over pictures.

        Args:
            verdicts: Safe verdicts about the pictures of one request, in its order.
            text: What the user says beside them.

        Returns:
            A verdict without a picture. Pictures that give orders by themselves were dealt with before, and are left out.

        Raises:
            GuardBlocked: one of the verdicts is not safe.
        """
        run = _Run(self)
        pixels = [v.raise_if_blocked().to_numpy() for v in verdicts]
        alone = [any(f.kind == "typographic" for f in v.counted) for v in verdicts]
        try:
            loaded = self._suite.load()
            with run.stage("crossmodal"):
                findings = list(loaded.relation(text, [f for v in verdicts for f in v.findings]))
            readers = [d for d in loaded.pictures if "typographic" in d.kinds]
            if readers:
                with run.stage("together"):
                    parts = [p for p, a in zip(pixels, alone, strict=True) if not a]
                    for layout, seen in views.together(parts, self.threads):
                        for reader in readers:
                            findings += split_payload(reader(seen), layout, len(parts))
            points = loaded.operating_points
            outcome = self.policy.decide(findings, {"split_payload": points.get("typographic", 0.5), **points})
            return run.whole(outcome, findings, loaded, len(pixels) > 1)
        except (InputError, ModelError):
            raise
        except Exception as error:  # fail closed
            return run.failed(error)

    def check_messages(self, messages: Any, *, encoding: str = "png") -> MessagesVerdict:
        """Judge every picture and text of a chat request; see `ondevice_guard.messages.check`.

        Verdicts are kept by content, so that a replayed history costs nothing.

        Args:
            messages: A list of messages, one message, a request body or a prompt, in any known dialect.
            encoding: `"png"` or `"jpeg"`, for pictures that go inline.

        Returns:
            The verdict; `.messages` is the same shape with safe pictures inline.

        Raises:
            UnsupportedInput: `messages` is nothing of the kind.
        """
        from . import messages as dialects

        if self._verdicts is None:
            self._verdicts = dialects.VerdictCache()
        return dialects.check(self, messages, cache=self._verdicts, encoding=encoding)

    async def acheck_messages(self, messages: Any, *, encoding: str = "png") -> MessagesVerdict:
        """`check_messages` on a worker thread."""
        return await asyncio.to_thread(self.check_messages, messages, encoding=encoding)

    @property
    def response_kinds(self) -> tuple[str, ...]:
        """What its `response_detectors` look for in answers."""
        return tuple(dict.fromkeys(k for d in self._suite.load().responses for k in d.kinds))

    def response_findings(self, text: str) -> tuple[Sequence[Finding], Mapping[str, float]]:
        """Return what the `response_detectors` say about an answer, and the operating points they recorded."""
        loaded = self._suite.load()
        return [f for reader in loaded.responses for f in reader(text)], loaded.operating_points

    def check_response(
        self,
        text: str,
        *,
        prompt: str = "",
        system: str | None = None,
        canary: str | None = None,
        tools: bool = False,
        action: str = "replace",
    ) -> ResponseVerdict:
        """Judge a model's answer; see `ondevice_guard.responses.check`. For answers in pieces: `responses.Stream`."""
        from . import responses

        return responses.check(self, text, prompt=prompt, system=system, canary=canary, tools=tools, action=action)

    def sanitize(self, image: Any, **options: Any) -> Any:
        """Return the safe picture alone, as the kind of object that came in.

        Args:
            image: As in `check`.
            **options: `claimed`, `value_range`, `layout`, as in `check`.

        Raises:
            GuardBlocked: the picture is blocked; `.verdict` says why.
            InputError: as in `check`.
        """
        return self.check(image, **options).raise_if_blocked().image

    def preview(self, image: Any, profile: str | None = None, **options: Any) -> Pixels:
        """Return what a model with this preprocessing profile would see of the picture, uint8 hxwx3.

        Args:
            image: As in `check`.
            profile: A name from `ondevice_guard.views.PROFILES`; None takes the guard's first.
            **options: `claimed`, `value_range`, `layout`, as in `check`.

        Raises:
            InputError: the call is wrong, or the profile unknown.
            ImageError: the bytes cannot be decoded safely.
        """
        picture, _ = inputs.read(image, self.policy.limits, **options)
        name = profile or self.policy.profiles[0]
        return views.build(picture, (name,), self.policy.background, self.threads)[name].pixels

    # ------------------------------------------------------------------ many requests

    def check_many(
        self, images: Iterable[Any], texts: Iterable[str] | None = None, workers: int = 2
    ) -> Iterator[Verdict]:
        """Judge many pictures in order, with at most `2 * workers` of them in memory.

        A picture that cannot be used (unreadable path, wrong type …) gives a verdict `ERROR` with the reason; it never
        stops or drops another.

        Args:
            images: Inputs as in `check`, consumed lazily.
            texts: One prompt for each picture, or None.
            workers: Pictures judged at the same time; each uses the guard's `threads`.

        Yields:
            One verdict for each input, in the order of the input.
        """
        if workers < 1:
            raise UnsupportedInput(f"workers must be at least 1, got {workers!r}")
        pairs: Iterator[tuple[Any, str | None]]
        pairs = ((image, None) for image in images) if texts is None else zip(images, texts, strict=True)
        pending: deque[Future[Verdict]] = deque()
        with ThreadPoolExecutor(workers, thread_name_prefix="ondevice-guard") as pool:
            try:
                for image, text in pairs:
                    pending.append(pool.submit(self.check_or_error, image, text))
                    if len(pending) >= 2 * workers:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:
                for future in pending:
                    future.cancel()

    def check_or_error(self, image: Any = None, text: str | None = None, **options: Any) -> Verdict:
        """Like `check`, but misuse gives a verdict `ERROR` in place of an exception (for batches and servers)."""
        try:
            return self.check(image, text, **options)
        except GuardError as error:
            return _Run(self).failed(error)

    async def acheck(self, image: Any = None, text: str | None = None, **options: Any) -> Verdict:
        """`check` on a worker thread, so that an event loop is never blocked (native code releases the GIL)."""
        return await asyncio.to_thread(self.check, image, text, **options)

    async def asanitize(self, image: Any, **options: Any) -> Any:
        """`sanitize` on a worker thread."""
        return await asyncio.to_thread(self.sanitize, image, **options)

    async def acheck_many(
        self, images: Iterable[Any], texts: Iterable[str] | None = None, workers: int = 2
    ) -> AsyncIterator[Verdict]:
        """`check_many` on worker threads."""
        verdicts = self.check_many(images, texts, workers)
        done = object()
        while (verdict := await asyncio.to_thread(next, verdicts, done)) is not done:
            yield verdict  # type: ignore[misc]


def settle(
    policy: Policy,
    findings: Sequence[Finding],
    operating_points: Mapping[str, float] | None,
    again: Callable[[Plan], Sequence[Finding]],
) -> tuple[Outcome, list[Finding]]:
    """Decide; where the plan remakes the picture, look again and decide again, until the plan makes the picture looked at.

    A later look can only add `descale` to what remakes the picture (see `Policy.decide`): there are two at most.

    Args:
        policy: Decides.
        findings: About the original.
        operating_points: As in `Policy.decide`.
        again: Plan → what every detector finds in the picture that it remakes.

    Returns:
        The outcome, and what counts of the later looks, restated as findings about a picture that was remade.
    """
    looks: list[Sequence[Finding]] = []
    made = None
    outcome = policy.decide(findings, operating_points)
    while outcome.plan.remakes and outcome.plan.remade != made:
        made = outcome.plan.remade
        looks.append(again(outcome.plan))
        outcome = policy.decide(findings, operating_points, looks)
    counted = [f for look in looks for f in look if f.score >= outcome.thresholds[f.kind]]
    return outcome, [replace(f, view=f"remade {f.view}") for f in counted]


def _from_carrier(finding: Finding, carrier: str) -> Finding:
    """Restate a finding in text as one about the carrier, so that the policy can drop the carrier alone."""
    return Finding(
        finding.kind,
        finding.score,
        f"Text in {carrier} of the file: {finding.why}",
        finding.detector,
        view=f"metadata:{carrier}",
        detail={**finding.detail, "carrier": carrier},
    )


def _qr_texts(seen: Views | None, findings: Sequence[Finding]) -> list[tuple[tuple[Quad, ...], str]]:
    """Return what the QR codes that were found say (with the extra `opencv`), and where the codes are."""
    codes = [f for f in findings if f.kind == "qr_code" and f.regions]
    if seen is None or not codes:
        return []
    from .detectors.typographic import read_qr

    return [(codes[0].regions, said) for said in read_qr(seen.original.pixels)]


def _from_qr(finding: Finding, regions: tuple[Quad, ...]) -> Finding:
    """Restate a finding in text as one about the QR code that says it, so that the policy can fill the code."""
    why = f"Text of a QR code: {finding.why}"
    return Finding(finding.kind, finding.score, why, finding.detector, regions, "qr:opencv", detail=finding.detail)


class _Run:
    """One call of `check`: its clock, and the verdicts it can end with."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._start = time.perf_counter()
        self._timings: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings[name] = self._timings.get(name, 0.0) + (time.perf_counter() - start) * 1e3

    def decided(
        self,
        outcome: Outcome,
        findings: Sequence[Finding],
        loaded: _Loaded,
        picture: Image | None,
        text: str | None,
        pixels: Pixels | None,
        source: inputs.Source | None,
    ) -> Verdict:
        """The policy decided: the verdict with the safe pixels, if there are any."""
        scores = dict.fromkeys(loaded.kinds(picture is not None, bool(text)), 0.0)
        return self._verdict(
            outcome.decision,
            findings,
            outcome.reasons,
            outcome.thresholds,
            scores,
            models=loaded.models,
            size=(picture.width, picture.height) if picture is not None else None,
            format=picture.format if picture is not None else None,
            _pixels=pixels,
            _source=source,
        )

    def whole(self, outcome: Outcome, findings: Sequence[Finding], loaded: _Loaded, several: bool) -> Verdict:
        """The verdict about a request as a whole."""
        kinds = ("delegation", "split_payload") if several else ("delegation",)
        scores = dict.fromkeys(kinds, 0.0)
        decision = Decision.BLOCK if outcome.decision is Decision.BLOCK else Decision.ALLOW
        return self._verdict(decision, findings, outcome.reasons, outcome.thresholds, scores, models=loaded.models)

    def refused(self, error: ImageError) -> Verdict:
        """The decoder refused the bytes: BLOCK, with its reason."""
        finding = Finding(error.kind, 1.0, str(error), "decode", detail={"error": type(error).__name__})
        thresholds = self._guard.policy.effective_thresholds()
        return self._verdict(Decision.BLOCK, [finding], [f"{error.kind} (block): {error}"], thresholds, {})

    def failed(self, error: Exception) -> Verdict:
        """Something broke: ERROR, nothing is handed out."""
        message = str(error) if isinstance(error, GuardError) else f"internal error: {type(error).__name__}: {error}"
        return self._verdict(Decision.ERROR, [], [message], self._guard.policy.effective_thresholds(), {})

    def _verdict(
        self,
        decision: Decision,
        findings: Sequence[Finding],
        reasons: Sequence[str],
        thresholds: Mapping[str, float],
        scores: dict[str, float],
        **more: Any,
    ) -> Verdict:
        for finding in findings:
            scores[finding.kind] = max(scores.get(finding.kind, 0.0), finding.score)
        self._timings["total"] = (time.perf_counter() - self._start) * 1e3
        return Verdict(
            decision=decision,
            findings=tuple(sorted(findings, key=lambda f: -f.score)),
            scores=scores,
            thresholds=thresholds,
            reasons=tuple(reasons),
            policy=self._guard.policy.name,
            timings_ms=self._timings,
            backend=self._guard.accelerator.backend,
            seed=self._guard.seed,
            **more,
        )


class _Suite:
    """The detectors a policy asks for, made once, on first use; extra ones run after them.

    Beyond its protocol a detector may offer `models` (name → version and checksum) and `operating_points(fpr)`
    (kind → threshold), which end up in the verdict and in the policy's decision. One with `profiles = False` does not
    look at what model profiles would see; when none does, those views are not made.
    """

    def __init__(
        self,
        policy: Policy,
        models: str | Path | None,
        threads: int,
        extra: tuple[Detector, ...],
        extra_text: tuple[TextDetector, ...],
        extra_responses: tuple[TextDetector, ...],
    ) -> None:
        self._policy = policy
        self.models_dir = models
        self._threads = threads
        self._extra = extra
        self._extra_text = extra_text
        self._extra_responses = extra_responses
        self._lock = threading.Lock()
        self._loaded: _Loaded | None = None

    def load(self) -> _Loaded:
        """Return everything that is loaded, loading it on the first call."""
        with self._lock:
            if self._loaded is None:
                made = [(name, build(name, self.models_dir, self._threads)) for name in self._policy.detectors]
                pictures = tuple(d for name, d in made if name not in ("text", "response"))
                texts = tuple(d for name, d in made if name == "text")
                answers = tuple(d for name, d in made if name == "response")
                loaded = _Loaded(
                    (*pictures, *self._extra),
                    (*texts, *self._extra_text),
                    (*answers, *self._extra_responses),
                    self._policy.fpr,
                    self._policy.rates,
                )
                if "adversarial" in self._policy.detectors:  # no other finding of ours leads to purification
                    loaded.models |= sanitize.models_of(self._policy.purify, self.models_dir, self._threads)
                self._loaded = loaded
            return self._loaded


class _Loaded:
    """Loaded detectors, and what they say about themselves."""

    def __init__(
        self,
        pictures: tuple[Detector, ...],
        texts: tuple[TextDetector, ...],
        responses: tuple[TextDetector, ...],
        fpr: float,
        rates: Mapping[str, float],
    ) -> None:
        self.pictures = pictures
        self.texts = texts
        self.responses = responses
        self.profiles = any(getattr(d, "profiles", True) for d in pictures)
        self.relation = DelegationDetector()
        self.models: dict[str, str] = {}
        self.operating_points: dict[str, float] = {}
        for detector in (*pictures, *texts, *responses):
            self.models.update(getattr(detector, "models", {}))
            points: Callable[[float], Mapping[str, float]] = getattr(detector, "operating_points", lambda _: {})
            for rate in {fpr, *rates.values()}:
                self.operating_points.update({k: v for k, v in points(rate).items() if rates.get(k, fpr) == rate})

    def kinds(self, picture: bool, text: bool) -> list[str]:
        """Every kind that was looked for."""
        asked = [k for d in self.pictures for k in d.kinds] if picture else []
        asked += [k for k, stage in KINDS.items() if stage == "decode"] if picture else []
        asked += [k for d in self.texts for k in d.kinds] if text else []
        asked += self.relation.kinds if picture and text else ()
        return list(dict.fromkeys(asked))
