"""What the message walker and the proxy cost, and how often they are wrong. Writes benchmarks/results/pipelines.json.

    python benchmarks/pipelines.py [ROW ...] [--photos examples/photos]

Rows:

* `overhead`: a chat request with a 336x336 PNG, never seen before: time through the proxy, minus time straight to the
  same upstream, minus the guard's verdicts about the request (the proxy reports them as `Server-Timing`). So writing the
  picture anew, parsing and writing JSON, hops between threads and screening the answer all count as overhead. Median of
  interleaved repeats; proxy and upstream run as processes of their own. Each of the dozen times that one of them wakes
  another counts: `overhead_one_cpu` is the same on one processor, which hands over where another has to wake up first
  (on a virtual machine that is idle, up to milliseconds).
* `concurrent`: 200 requests at once; how many come back, and how fast.
* `overblocking`: 300 benign conversations of several turns (`benchmarks/conversations.py`); how many are blocked, how
  many pictures are changed, and what for. `overblocking_report`: 300 made of the half of the sentences whose mistakes
  nobody read while the text models were trained.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import collections
import io
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from conversations import conversations
from guard import cpu_name
from PIL import Image

from ondevice_guard import Guard, Policy, _core

ROOT = Path(__file__).parents[1]
UPSTREAM = """
import sys, uvicorn
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def chat(request):
    await request.body()
    message = {"role": "assistant", "content": "A cat sits on a sofa. It is grey."}
    return JSONResponse({"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                         "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
app = Starlette(routes=[Route("/v1/chat/completions", chat, methods=["POST"]), Route("/", lambda r: JSONResponse({}))])
uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
"""


def request(rng: np.random.Generator, photos: list[Path], side: int = 336) -> dict[str, Any]:
    """A chat request with a picture nobody has seen: a random crop of a photograph."""
    with Image.open(photos[int(rng.integers(len(photos)))]) as opened:
        image = opened.convert("RGB")
    edge = int(rng.integers(min(side, *image.size), min(image.size) + 1))
    left, top = int(rng.integers(image.width - edge + 1)), int(rng.integers(image.height - edge + 1))
    out = io.BytesIO()
    image.resize((side, side), box=(left, top, left + edge, top + edge)).save(out, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
    text = {"type": "text", "text": f"What is in picture {int(rng.integers(1 << 30))}?"}
    content = [text, {"type": "image_url", "image_url": {"url": address}}]
    return {"model": "m", "messages": [{"role": "user", "content": content}]}


class Processes:
    """The fake model server and the proxy in front of it."""

    def __init__(self, policy: str, port: int = 18650) -> None:
        self.direct, self.proxy = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port + 1}"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        serve = [
            "-m",
            "ondevice_guard",
            "serve",
            "--upstream",
            self.direct,
            "--port",
            str(port + 1),
            "--policy",
            policy,
            "--quiet",
        ]
        self._running = [
            subprocess.Popen([sys.executable, *arguments], env=environment)
            for arguments in (["-c", UPSTREAM, str(port)], serve)
        ]
        for address in (f"{self.direct}/", f"{self.proxy}/healthz"):
            for _ in range(600):
                try:
                    httpx.get(address, timeout=5)
                    break
                except httpx.HTTPError:
                    time.sleep(0.1)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: Any) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            process.wait(20)


def overhead(photos: list[Path], policy: str, repeat: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    rows: list[tuple[float, float, float, float]] = []
    with Processes(policy) as servers, httpx.Client(timeout=60) as client:
        for i in range(repeat + 3):
            body = request(rng, photos)
            times = []
            for base in (servers.direct, servers.proxy):
                start = time.perf_counter()
                answer = client.post(f"{base}/v1/chat/completions", json=body)
                times.append((time.perf_counter() - start) * 1e3)
                assert answer.status_code == 200, answer.text
            spent = dict(part.split(";dur=") for part in answer.headers["server-timing"].split(", "))
            if i >= 3:
                rows.append((times[0], times[1], float(spent["guard"]), float(spent["encode"])))
    beyond = [proxy - direct - guard for direct, proxy, guard, _ in rows]
    return {
        "policy": policy,
        "repeats": repeat,
        "direct_ms": round(statistics.median(r[0] for r in rows), 2),
        "proxy_ms": round(statistics.median(r[1] for r in rows), 2),
        "guard_ms": round(statistics.median(r[2] for r in rows), 2),
        "overhead_ms": round(statistics.median(beyond), 2),
        "of_which_encode_ms": round(statistics.median(r[3] for r in rows), 2),
        "overhead_p95_ms": round(sorted(beyond)[int(0.95 * len(beyond))], 2),
    }


def one_cpu(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run a row with this process, and those that it starts, on the last processor."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        return call()
    finally:
        os.sched_setaffinity(0, before)


def concurrent(photos: list[Path], policy: str, count: int = 200) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    bodies = [request(rng, photos) for _ in range(count)]

    async def storm(base: str) -> tuple[list[int], float]:
        async with httpx.AsyncClient(timeout=240, limits=httpx.Limits(max_connections=None)) as client:
            start = time.perf_counter()
            answers = await asyncio.gather(*(client.post(f"{base}/v1/chat/completions", json=body) for body in bodies))
            return [a.status_code for a in answers], time.perf_counter() - start

    with Processes(policy, port=18660) as servers:
        codes, seconds = asyncio.run(storm(servers.proxy))
    return {"policy": policy, "requests": count, "answered": codes.count(200), "seconds": round(seconds, 2)}


def overblocking(photos: Path, policy: str, count: int, part: str = "all") -> dict[str, Any]:
    guard = Guard(policy)
    decisions: collections.Counter[str] = collections.Counter()
    kinds: collections.Counter[str] = collections.Counter()
    examples: list[Any] = []
    pictures = changed = 0
    for i, messages in enumerate(conversations(photos, count, part=part)):
        verdict = guard.check_messages(messages)
        decisions[str(verdict.decision)] += 1
        pictures += verdict.images_scanned
        changed += sum(str(v.decision) == "SANITIZED" for _, v in verdict.images)
        kinds.update(f.kind for _, f in verdict.counted)
        if not verdict:
            examples.append({"conversation": i, "reasons": list(verdict.reasons)[:3]})
    blocked = decisions["BLOCK"] + decisions["ERROR"]
    return {
        "policy": policy,
        "part": part,
        "conversations": count,
        "blocked": blocked,
        "rate": round(blocked / count, 4),
        "decisions": dict(decisions),
        "pictures": pictures,
        "pictures_changed": changed,
        "counted": dict(kinds.most_common()),
        "blocked_examples": examples[:20],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=[], help="rows (default all)")
    parser.add_argument("--photos", type=Path, default=ROOT / "examples" / "photos")
    parser.add_argument("--policy", default="balanced")
    parser.add_argument("--repeat", type=int, default=60)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "pipelines.json")
    options = parser.parse_args()
    Policy.load(options.policy)
    photos = sorted(options.photos.glob("*.jpg"))
    calls = {
        "overhead": lambda: overhead(photos, options.policy, options.repeat),
        "overhead_one_cpu": lambda: one_cpu(lambda: overhead(photos, options.policy, options.repeat)),
        "concurrent": lambda: concurrent(photos, options.policy),
        "overblocking": lambda: overblocking(options.photos, options.policy, options.count),
        "overblocking_report": lambda: overblocking(options.photos, options.policy, options.count, "report"),
    }
    table: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    table["machine"] = {
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "backend": _core.backend.active(),
    }
    for name in options.rows or calls:
        table[name] = calls[name]()
        print(name, json.dumps({k: v for k, v in table[name].items() if k != "blocked_examples"}))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
