"""A self-contained HTML page about many verdicts: counts, pictures with boxes, reasons, scores. No script, no address."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence

from .types import Decision
from .verdict import Verdict

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem;color:#1f2328;background:#fff}
h1{font-size:1.4rem} .counts span{display:inline-block;margin-right:1.2rem} article{border-top:1px solid #d0d7de;padding:1rem 0}
table{border-collapse:collapse;margin-top:.4rem} td{padding:.1rem .8rem .1rem 0;vertical-align:top} code{font-size:.9em}
.scores{color:#57606a;font-size:.85em} @media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}}
"""


def page(rows: Sequence[tuple[str, Verdict]]) -> str:
    """Return the report as one HTML document.

    Args:
        rows: (path, verdict) of each picture; everything that came from outside is escaped.
    """
    counts = Counter(str(verdict.decision) for _, verdict in rows)
    summary = "".join(f"<span><b>{counts[str(d)]}</b> {d}</span>" for d in Decision if counts[str(d)])
    totals = sorted(verdict.timings_ms["total"] for _, verdict in rows)
    latency = ""
    if totals:
        p50, p95 = totals[len(totals) // 2], totals[min(len(totals) - 1, int(len(totals) * 0.95))]
        latency = f"<p>Time per picture: median {p50:.1f} ms, 95th percentile {p95:.1f} ms.</p>"
    articles = "".join(_article(path, verdict) for path, verdict in rows)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        f"<title>ondevice-guard report</title><style>{_STYLE}</style></head><body><h1>ondevice-guard report</h1>"
        f'<p class="counts">{summary or "no pictures"}</p>{latency}{articles}</body></html>\n'
    )


def _article(path: str, verdict: Verdict) -> str:
    reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in verdict.reasons)
    scores = ", ".join(f"{html.escape(kind)} {score:.2f}" for kind, score in sorted(verdict.scores.items()) if score >= 0.01)
    return (
        f"<article><code>{html.escape(path)}</code>{verdict._repr_html_()}"
        f"<ul>{reasons}</ul><div class=\"scores\">{scores or 'all scores below 0.01'}</div></article>"
    )
