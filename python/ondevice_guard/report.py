"""What a run says about itself: lines for a terminal, JSON, JSONL, CSV, and one self-contained HTML page.

All of them are made from the journal's records, one at a time, so that a report on a million pictures needs the memory
of one on a thousand. The page loads nothing, runs no script (its filters are CSS), and holds nothing that came from
outside without escaping it: names, sentences and numbers alike go through `_e`.
"""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import campaign
from .batch import LocalPlace, Summary
from .types import KINDS, Decision

Record = Mapping[str, Any]

#: Rows with pictures on one page; a browser still scrolls 400 thumbnails of 5 kB smoothly, and the rest is in the JSONL.
_ROWS = 400
_SHOWN_PATHS = 8
_COLOURS = {"ALLOW": "#1a7f37", "SANITIZED": "#9a6700", "BLOCK": "#cf222e", "ERROR": "#6e7781"}


# ---------------------------------------------------------------------- text


def line(record: Record, output: str | None) -> str:
    """Return the lines for one picture: decision, path, where its copy is, and the reasons."""
    arrow = f"  → {_plain(output)}" if output else ""
    reasons = "".join(f"          · {_plain(reason)}\n" for reason in record["verdict"]["reasons"])
    return f"{record['decision']:9} {_plain(record['path'])}{arrow}\n{reasons}"


def closing(summary: Summary) -> str:
    """Return the summary of a run, without a newline at its end."""
    total = sum(summary.decisions.values())
    parts = ", ".join(f"{summary.decisions[str(d)]} {d}" for d in Decision if summary.decisions[str(d)])
    lines = [f"{total} pictures: {parts}" if total else "no pictures found"]
    if summary.skipped:
        lines.append(f"{summary.skipped} were done before, {summary.done} now")
    if summary.reconfigured:
        lines.append(f"{summary.reconfigured} done again: policy, models or encoding changed since")
    if summary.changed:
        lines.append(f"{summary.changed} done again: the file changed since, or its copy was gone")
    if summary.stopped:
        lines.append("stopped before the end; run again with --resume")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text for a terminal: a file name cannot move the cursor or forge a line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" if ord(c) < 256 else "�" for c in str(text))


# ---------------------------------------------------------------------- all forms


def row(record: Record) -> dict[str, Any]:
    """Return one row of the JSON forms: path, output and the whole verdict (see `Verdict.to_dict`)."""
    about = {k: record.get(k) for k in ("path", "output", "quarantined", "sha256", "dhash", "phash")}
    return {**about, **record["verdict"]}


def parts(form: str, records: Iterable[Record], summary: Summary) -> Iterator[str]:
    """Yield a report in pieces.

    Args:
        form: `text`, `json`, `jsonl`, `csv` or `html`.
        records: Complete records (`Journal.records`).
        summary: What the run did.
    """
    if form == "json":
        before = "[\n"
        for record in records:
            yield before + json.dumps(row(record), indent=2, ensure_ascii=False)
            before = ",\n"
        yield "[]\n" if before == "[\n" else "\n]\n"
    elif form == "jsonl":
        for record in records:
            yield json.dumps(row(record), ensure_ascii=False) + "\n"
    elif form == "csv":
        yield _csv(["path", "decision", "output", "quarantined", "sha256", "total_ms", "reasons", *KINDS])
        for record in records:
            yield _csv(_cells(record))
    elif form == "html":
        yield page(records, summary)
    else:
        for record in records:
            yield line(record, record["output"])
        yield closing(summary) + "\n"


def save(path: Path, form: str, records: Callable[[], Iterable[Record]], summary: Summary) -> None:
    """Write a report to a file, whole or not at all; beside an HTML page lie a JSONL and a CSV with every picture.

    Raises:
        OutputError: the file cannot be written.
    """
    wanted = [(path, form)]
    if form == "html":
        wanted += [(path.with_suffix(".jsonl"), "jsonl"), (path.with_suffix(".csv"), "csv")]
    for file, kind in wanted:
        with LocalPlace(file.parent).create(file.name) as out:
            for part in parts(kind, records(), summary):
                out.write(part.encode("utf-8", "replace"))


def _cells(record: Record) -> list[str]:
    verdict = record["verdict"]
    scores = [f"{verdict['scores'][k]:.4f}" if k in verdict["scores"] else "" for k in KINDS]
    known = [
        record["path"],
        record["decision"],
        record["output"] or "",
        record.get("quarantined") or "",
        record["sha256"] or "",
    ]
    return [*map(_cell, known), f"{verdict['timings_ms']['total']:.2f}", _cell(" | ".join(verdict["reasons"])), *scores]


def _cell(text: str) -> str:
    """A cell that a spreadsheet cannot take for a formula (file names come from outside)."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv(cells: Iterable[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


# ---------------------------------------------------------------------- the page


class _Durations:
    """Percentiles of many durations in constant memory: bins that are 2 % wide, from 1 µs to 3 hours."""

    _RATIO = math.log(1.02)

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()
        self.count = 0
        self.total = 0.0

    def add(self, ms: float) -> None:
        self._bins[round(math.log(max(ms, 1e-3)) / self._RATIO)] += 1
        self.count += 1
        self.total += ms

    def at(self, share: float) -> float:
        left = math.ceil(share * self.count)
        for index in sorted(self._bins):
            left -= self._bins[index]
            if left <= 0:
                return math.exp(index * self._RATIO)
        return 0.0


class _Facts:
    """Everything the page says, gathered in one pass over the records."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.decisions: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.scores: dict[str, Counter[int]] = {}
        self.thresholds: dict[str, float] = {}
        self.models: dict[str, str] = {}
        self.policies: Counter[str] = Counter()
        self.backends: Counter[str] = Counter()
        self.times: dict[str, _Durations] = {}
        self.rows: list[Record] = []
        self.notable = 0
        self.groups = campaign.Groups()
        self.residuals = campaign.Residuals()
        for record in records:
            self._add(record)

    def _add(self, record: Record) -> None:
        verdict = record["verdict"]
        self.decisions[record["decision"]] += 1
        self.kinds.update(verdict["counted"])
        self.policies[verdict["policy"]] += 1
        self.backends[verdict["backend"]] += 1
        self.thresholds.update(verdict["thresholds"])
        self.models.update(verdict["models"])
        for kind, score in verdict["scores"].items():
            self.scores.setdefault(kind, Counter())[min(int(score * 20), 19)] += 1
        for stage, ms in verdict["timings_ms"].items():
            self.times.setdefault(stage, _Durations()).add(ms)
        if record.get("sketch"):
            self.residuals.add(record["sketch"], record["path"])
        if record["decision"] == "ALLOW" and not verdict["counted"]:
            return
        self.notable += 1
        group = self.groups.add(record)
        if group is not None and len(self.rows) < _ROWS:  # the first of its kind stands for all that look like it
            self.rows.append(record)


def page(records: Iterable[Record], summary: Summary) -> str:
    """Return the report as one HTML document.

    Args:
        records: Complete records.
        summary: What the run did.
    """
    facts = _Facts(records)
    total = sum(facts.decisions.values())
    counts = "".join(
        f'<div class="card" style="border-color:{_COLOURS[str(d)]}"><b>{facts.decisions[str(d)]}</b>{d}</div>'
        for d in Decision
        if facts.decisions[str(d)]
    )
    said = "".join(f"<li>{_e(s)}</li>" for s in closing(summary).split("\n")[1:])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>ondevice-guard report</title><style>{_STYLE}{_filter_rules(facts)}</style></head><body>"
        f"<h1>ondevice-guard report</h1><p>{total} pictures, policy {_e(', '.join(sorted(facts.policies)))}, "
        f"backend {_e(', '.join(sorted(filter(None, facts.backends))))}</p>"
        f'<div class="cards">{counts or "no pictures"}</div><ul class="said">{said}</ul>'
        f"{_hint(facts)}{_campaigns(facts)}{_pictures(facts)}{_histograms(facts)}{_latency(facts)}{_models(facts)}</body></html>\n"
    )


def _e(value: Any) -> str:
    """Escape for HTML text and quoted attributes; unpaired surrogates (undecodable file names) become question marks."""
    return html.escape(str(value).encode("utf-8", "replace").decode())


def _hint(facts: _Facts) -> str:
    found = facts.residuals.hint()
    if found is None:
        return ""
    names = "".join(f"<li><code>{_e(name)}</code></li>" for name in found.examples[:_SHOWN_PATHS])
    return (
        f'<section class="warn"><h2>One residual recurs</h2><p>{found.carriers} of {found.pictures} pictures that look '
        f"different carry nearly the same fine pattern (coherence {found.coherence:.1f}, 1.0 is expected by chance). That is "
        f"what a universal perturbation looks like; a sensor's or a printer's pattern can, too.</p><ul>{names}</ul></section>"
    )


def _campaigns(facts: _Facts) -> str:
    groups = [g for g in facts.groups.largest() if g.count > 1]
    if not groups:
        return ""
    rows = "".join(
        f'<tr><td>{_thumb(g.first)}</td><td class="n">{g.count}</td><td>{_e(", ".join(f"{n} {d}" for d, n in g.decisions.most_common()))}</td>'
        f"<td>{_e(', '.join(k for k, _ in g.kinds.most_common(4)))}</td>"
        f"<td>{'<br>'.join(f'<code>{_e(p)}</code>' for p in g.examples)}{'<br>…' if g.count > len(g.examples) else ''}</td></tr>"
        for g in groups[:50]
    )
    return (
        "<section><h2>Look-alikes</h2><p>Pictures with findings whose perceptual hashes nearly agree: most likely one picture, "
        f"sent again and again.</p><table><tr><th></th><th>pictures</th><th>decisions</th><th>findings</th><th>such as</th></tr>{rows}</table></section>"
    )


def _pictures(facts: _Facts) -> str:
    if not facts.rows:
        return ""
    decisions = [str(d) for d in Decision if any(r["decision"] == str(d) for r in facts.rows)]
    kinds = sorted({k for r in facts.rows for k in r["verdict"]["counted"]})
    chosen = "".join(
        f'<label><input type="radio" name="{name}" id="{name}-{_e(v)}"{" checked" if v == "all" else ""}>{_e(v)}</label>'
        for name, values in (("d", ["all", *decisions]), ("k", ["all", *kinds]))
        for v in values
    ).replace('<label><input type="radio" name="k" id="k-all"', '<br><label><input type="radio" name="k" id="k-all"')
    left = facts.notable - len(facts.rows)
    more = (
        f"<p>{left} more with findings are look-alikes of these or past the first {_ROWS}; the JSONL and CSV have all.</p>"
        if left
        else ""
    )
    articles = "".join(_article(r, facts) for r in facts.rows)
    return f'<section><h2>Pictures with findings</h2><div class="filters">{chosen}</div>{more}<div class="list">{articles}</div></section>'


def _article(record: Record, facts: _Facts) -> str:
    verdict = record["verdict"]
    thresholds = verdict["thresholds"]
    classes = " ".join([f"d-{record['decision']}", *(f"k-{k}" for k in verdict["counted"])])
    found = "".join(
        f"<tr><td>{_e(f['kind'])}</td><td>{f['score']:.2f} ≥ {thresholds.get(f['kind'], 0):.2f}</td><td>{_e(f['why'])}</td></tr>"
        for f in verdict["findings"]
        if f["kind"] in verdict["counted"] and f["score"] >= thresholds.get(f["kind"], 2)
    )
    reasons = found or "".join(f'<tr><td colspan="3">{_e(r)}</td></tr>' for r in verdict["reasons"])
    where = record.get("output") or record.get("quarantined")
    again = facts.groups.count_like(record) - 1
    return (
        f'<article class="{_e(classes)}">{_thumb(record)}<div><b style="color:{_COLOURS[record["decision"]]}">{_e(record["decision"])}</b> '
        f"<code>{_e(record['path'])}</code>{f' → <code>{_e(where)}</code>' if where else ''}"
        f"{f' <i>and {again} look-alikes</i>' if again > 0 else ''}<table>{reasons}</table></div></article>"
    )


def _thumb(record: Record) -> str:
    """The small picture with the boxes of what was found, drawn in the original's coordinates."""
    verdict = record["verdict"]
    if not record.get("thumb") or not verdict["size"]:
        return '<svg class="thumb" viewBox="0 0 4 3"><rect width="4" height="3" fill="#8884"/></svg>'
    width, height = verdict["size"]
    boxes = "".join(
        f'<polygon points="{" ".join(f"{float(x):.1f},{float(y):.1f}" for x, y in quad)}"/>'
        for f in verdict["findings"]
        if f["kind"] in verdict["counted"] and f["score"] >= verdict["thresholds"].get(f["kind"], 2)
        for quad in f["regions"]
    )
    return (
        f'<svg class="thumb" viewBox="0 0 {int(width)} {int(height)}"><image href="data:image/jpeg;base64,{_e(record["thumb"])}" '
        f'width="{int(width)}" height="{int(height)}" preserveAspectRatio="none"/>'
        f'<g fill="none" stroke="#cf222e" stroke-width="{max(width, height) / 120:.1f}">{boxes}</g></svg>'
    )


def _histograms(facts: _Facts) -> str:
    charts = "".join(
        _histogram(kind, bins, facts.thresholds.get(kind))
        for kind, bins in sorted(facts.scores.items())
        if set(bins) - {0}
    )
    if not charts:
        return ""
    note = "Pictures by score, on a logarithmic scale; the line is the threshold."
    return f'<section><h2>Scores</h2><p>{note}</p><div class="charts">{charts}</div></section>'


def _histogram(kind: str, bins: Counter[int], threshold: float | None) -> str:
    top = math.log1p(max(bins.values()))
    bars = "".join(
        f'<rect x="{i * 10 + 1}" y="{60 - 58 * math.log1p(n) / top:.1f}" width="8" height="{58 * math.log1p(n) / top:.1f}">'
        f"<title>{i / 20:.2f} to {(i + 1) / 20:.2f}: {n}</title></rect>"
        for i, n in sorted(bins.items())
    )
    mark = f'<path d="M{threshold * 200:.1f} 0V60"/>' if threshold is not None else ""
    return f'<figure><svg viewBox="0 0 200 60">{bars}{mark}</svg><figcaption>{_e(kind)}</figcaption></figure>'


def _latency(facts: _Facts) -> str:
    rows = "".join(
        f"<tr><td>{_e(stage)}</td>"
        + "".join(f'<td class="n">{d.at(p):.1f}</td>' for p in (0.5, 0.9, 0.95, 0.99, 1.0))
        + "</tr>"
        for stage, d in sorted(facts.times.items(), key=lambda item: -item[1].total)
    )
    head = "".join(f"<th>{p}</th>" for p in ("stage", "median", "90 %", "95 %", "99 %", "longest"))
    return f"<section><h2>Milliseconds a picture</h2><table><tr>{head}</tr>{rows}</table></section>" if rows else ""


def _models(facts: _Facts) -> str:
    rows = "".join(f"<tr><td>{_e(n)}</td><td><code>{_e(v)}</code></td></tr>" for n, v in sorted(facts.models.items()))
    return f"<section><h2>Models</h2><table>{rows}</table></section>" if rows else ""


def _filter_rules(facts: _Facts) -> str:
    """`:has` hides the rows that a chosen filter does not name; kinds and decisions are our own words, never input."""
    names = [("d", str(d)) for d in Decision] + [("k", k) for k in KINDS]
    return "".join(f"body:has(#{n}-{v}:checked) article:not(.{n}-{v}){{display:none}}" for n, v in names)


_STYLE = """
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;
color:#1f2328;background:#fff}h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:2rem 0 .3rem}code{font-size:.88em;
overflow-wrap:anywhere}.cards{display:flex;gap:.8rem;flex-wrap:wrap}.card{border-left:5px solid;padding:.3rem 1rem;background:#8881;
border-radius:4px}.card b{display:block;font-size:1.5rem}.said{padding-left:1.1rem}table{border-collapse:collapse}td,th{padding:.15rem
.9rem .15rem 0;vertical-align:top;text-align:left}.n{text-align:right;font-variant-numeric:tabular-nums}article{display:flex;gap:1rem;
border-top:1px solid #8884;padding:.7rem 0}.thumb{width:160px;height:120px;flex:none;background:#8882}.filters label{margin-right:.9rem;
white-space:nowrap}.charts{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:200px}figure svg{width:100%;background:#8881}
rect{fill:#0969da}.thumb rect{fill:#8884}path{stroke:#cf222e;stroke-width:1.5}figcaption{font-size:.85em}.warn{border:1px solid #cf222e;
border-radius:6px;padding:0 1rem}@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}}
"""
