"""A desktop window that guards pictures: open or drop one, see what was found and what a model would be given.

    python examples/desktop.py [picture …]        needs Tk (Debian: python3-tk); dropping files needs `pip install tkinterdnd2`

Left the picture with a box around every finding that counts, right what is safe to hand on. Judging runs beside the window,
which therefore never freezes; a picture that is blocked is not shown at all, only its reasons are.
"""

from __future__ import annotations

import base64
import queue
import sys
import threading
import tkinter as tk
from pathlib import Path
from tkinter import filedialog, ttk

import numpy as np
from PIL import Image

from ondevice_guard import Guard, GuardError, Verdict
from ondevice_guard.decode import encode

EDGE = 480  # pixels of the longer side on screen
COLOURS = {"ALLOW": "#2e7d32", "SANITIZED": "#b26a00", "BLOCK": "#b71c1c", "ERROR": "#b71c1c"}


class Window:
    """The window and the one thread that judges for it.

    Args:
        root: The Tk root.
        guard: Who judges.
    """

    def __init__(self, root: tk.Tk, guard: Guard) -> None:
        self.root, self.guard = root, guard
        self.verdict: Verdict | None = None
        self._asked: queue.Queue[Path] = queue.Queue()
        self._answers: queue.Queue[tuple[Path, Verdict | str]] = queue.Queue()
        root.title("ondevice_guard")
        bar = ttk.Frame(root, padding=8)
        bar.pack(fill="x")
        ttk.Button(bar, text="Open …", command=self._choose).pack(side="left")
        self.headline = tk.Label(bar, text="Open or drop a picture.", font=("TkDefaultFont", 12, "bold"))
        self.headline.pack(side="left", padx=12)
        self.left, self.right = (tk.Canvas(root, width=EDGE, height=EDGE, background="#888888") for _ in range(2))
        columns = ("kind", "score", "threshold", "why")
        self.table = ttk.Treeview(root, columns=columns, show="headings", height=9)
        for name, width in zip(columns, (130, 60, 70, 700), strict=True):
            self.table.heading(name, text=name)
            self.table.column(name, width=width, stretch=name == "why")
        self.table.pack(side="bottom", fill="x")
        self.left.pack(side="left", padx=8, pady=8)
        self.right.pack(side="left", padx=8, pady=8)
        self._shown: list[tk.PhotoImage] = []  # Tk forgets pictures that Python lets go
        threading.Thread(target=self._judge, daemon=True).start()
        self._poll()

    def open(self, path: str | Path) -> None:
        """Judge a file and show what comes of it."""
        self.headline.configure(text=f"{Path(path).name} …", foreground="black")
        self._asked.put(Path(path))

    def _choose(self) -> None:
        path = filedialog.askopenfilename(
            filetypes=[("Pictures", "*.png *.jpg *.jpeg *.webp *.gif *.bmp"), ("All", "*")]
        )
        if path:
            self.open(path)

    def _judge(self) -> None:
        while True:
            path = self._asked.get()
            try:
                self._answers.put((path, self.guard.check(path)))
            except GuardError as error:  # an unreadable path, a missing model
                self._answers.put((path, str(error)))

    def _poll(self) -> None:
        try:
            path, answer = self._answers.get_nowait()
        except queue.Empty:
            pass
        else:
            self._show(path, answer)
        self.root.after(50, self._poll)

    def _show(self, path: Path, answer: Verdict | str) -> None:
        for canvas in (self.left, self.right):
            canvas.delete("all")
        self.table.delete(*self.table.get_children())
        self._shown.clear()
        if isinstance(answer, str):
            self.verdict = None
            self.headline.configure(text=f"{path.name}: {answer}", foreground=COLOURS["ERROR"])
            return
        self.verdict = answer
        name = answer.decision.name
        why = answer.reasons[0] if answer.reasons else "nothing found"
        self.headline.configure(text=f"{path.name}: {name} - {why}"[:140], foreground=COLOURS[name])
        for finding in answer.findings:
            counts = finding in answer.counted
            row = (finding.kind, f"{finding.score:.3f}", f"{answer.thresholds[finding.kind]:.3f}", finding.why)
            self.table.insert("", "end", values=row, tags=("counts",) if counts else ())
        self.table.tag_configure("counts", foreground=COLOURS["BLOCK"])
        if not answer:
            return  # nothing of a blocked picture is decoded for the screen
        scale = self._paint(self.left, self.guard.preview(path, "original"))
        self._paint(self.right, answer.to_numpy())
        for finding in answer.counted:
            for quad in finding.regions:
                points = [c * scale for point in quad for c in point]
                self.left.create_polygon(*points, outline="#ff1744", fill="", width=2, tags="box")

    def _paint(self, canvas: tk.Canvas, pixels: np.ndarray) -> float:
        """Show uint8 HxWx3 pixels at most EDGE a side; returns the scale."""
        picture = Image.fromarray(pixels)
        scale = min(1.0, EDGE / max(picture.size))
        if scale < 1:
            picture = picture.resize([max(1, round(n * scale)) for n in picture.size])
        image = tk.PhotoImage(master=self.root, data=base64.b64encode(encode(np.asarray(picture))))
        self._shown.append(image)
        canvas.create_image(0, 0, anchor="nw", image=image)
        return scale


def main() -> None:
    """Open the window, and the pictures that the command line names."""
    try:
        from tkinterdnd2 import DND_FILES, TkinterDnD

        root = TkinterDnD.Tk()
    except ImportError:
        root, DND_FILES = tk.Tk(), None
    window = Window(root, Guard())
    if DND_FILES:
        root.drop_target_register(DND_FILES)
        root.dnd_bind("<<Drop>>", lambda event: [window.open(p) for p in root.tk.splitlist(event.data)])
    for path in sys.argv[1:]:
        window.open(path)
    root.mainloop()


if __name__ == "__main__":
    main()
