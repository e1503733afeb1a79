"""Guard a chat request before it goes to any local model: six dialects in, the same out.

python examples/messages.py examples/photos/cat.jpg "What is this?"
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path

from ondevice_guard import Guard


def main() -> int:
    picture, question = sys.argv[1], sys.argv[2]
    data = base64.b64encode(Path(picture).read_bytes()).decode()
    messages = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": question},
                {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{data}"}},
            ],
        }
    ]
    verdict = Guard().check_messages(messages)
    print(verdict.to_json(indent=2))
    if not verdict:
        return 1
    safe = verdict.messages[0]["content"][1]["image_url"]["url"]
    print(f"send {len(safe)} characters of fresh {safe[5:14]} in place of {len(data)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
