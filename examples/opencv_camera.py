"""Judge every tenth frame of a camera or a video. Needs opencv-python.

python examples/opencv_camera.py 0            # the first camera
python examples/opencv_camera.py clip.mp4
"""

from __future__ import annotations

import sys

import cv2

from ondevice_guard import Guard
from ondevice_guard.integrations.opencv import frames


def main() -> int:
    source = sys.argv[1]
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    if not capture.isOpened():
        print(f"cannot open {source}", file=sys.stderr)
        return 3
    for frame in frames(capture, Guard().warm_up(), stride=10):
        print(f"{frame.index:6} {frame.verdict.decision} {'; '.join(frame.verdict.reasons)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
