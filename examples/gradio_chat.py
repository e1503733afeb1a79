"""A Gradio chat with a guarded picture upload, in front of a local Ollama server. Needs gradio and ollama.

python examples/gradio_chat.py llava
"""

from __future__ import annotations

import sys
from typing import Any

import gradio
import ollama

from ondevice_guard import Guard
from ondevice_guard.integrations.ollama import protected

guard = Guard().warm_up()
client = protected(guard, host="http://127.0.0.1:11434")


def answer(message: dict[str, Any], history: list[dict[str, Any]]) -> str:
    """Ask the model; what the guard refuses is said, not sent."""
    turn = {"role": "user", "content": message["text"], "images": list(message["files"])}
    try:
        return str(client.chat(model=sys.argv[1], messages=[turn]).message.content)
    except ollama.ResponseError as error:
        return f"Not sent: {error.error}"


if __name__ == "__main__":
    gradio.ChatInterface(answer, type="messages", multimodal=True, title="Guarded chat").launch()
