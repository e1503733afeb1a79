"""A media connector for vLLM: every picture is judged before vLLM decodes it.

    from ondevice_guard.integrations import vllm
    vllm.register(guard)            # before the engine starts; then VLLM_MEDIA_CONNECTOR=ondevice_guard

The address that vLLM is asked for is replaced by the safe picture inline, so vLLM itself fetches nothing. Videos are
refused unless the policy's `allow_parts` holds `"video_url"`, embeddings in place of pictures unless it holds
`"image_embeds"` or `"video_embeds"`: nobody can see what they show. Texts do not pass a connector: put the proxy in front of
the server, or judge messages before they are sent.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ..errors import UnsupportedInput
from ..guard import Guard

NAME = "ondevice_guard"


def register(guard: Guard) -> type:
    """Register the connector under `NAME` and return its class.

    Args:
        guard: Judges pictures; its policy says which hosts may be fetched from.
    """
    try:
        from vllm.multimodal.media.connector import MEDIA_CONNECTOR_REGISTRY, MediaConnector
    except ImportError:  # vLLM before 0.16
        from vllm.multimodal.utils import MEDIA_CONNECTOR_REGISTRY, MediaConnector

    class GuardedConnector(MediaConnector):  # type: ignore[misc]
        def fetch_image(self, image_url: str, *args: Any, **options: Any) -> Any:
            return super().fetch_image(_safe(guard, image_url), *args, **options)

        async def fetch_image_async(self, image_url: str, *args: Any, **options: Any) -> Any:
            safe = await asyncio.to_thread(_safe, guard, image_url)
            return await super().fetch_image_async(safe, *args, **options)

        def fetch_video(self, video_url: str, *args: Any, **options: Any) -> Any:
            _require(guard, "video_url")
            return super().fetch_video(video_url, *args, **options)

        async def fetch_video_async(self, video_url: str, *args: Any, **options: Any) -> Any:
            _require(guard, "video_url")
            return await super().fetch_video_async(video_url, *args, **options)

        def fetch_image_embedding(self, *args: Any, **options: Any) -> Any:
            _require(guard, "image_embeds")
            return super().fetch_image_embedding(*args, **options)

        async def fetch_image_embedding_async(self, *args: Any, **options: Any) -> Any:
            _require(guard, "image_embeds")
            return await super().fetch_image_embedding_async(*args, **options)

        def fetch_video_embedding(self, *args: Any, **options: Any) -> Any:
            _require(guard, "video_embeds")
            return super().fetch_video_embedding(*args, **options)

        async def fetch_video_embedding_async(self, *args: Any, **options: Any) -> Any:
            _require(guard, "video_embeds")
            return await super().fetch_video_embedding_async(*args, **options)

    MEDIA_CONNECTOR_REGISTRY.register(NAME)(GuardedConnector)
    return GuardedConnector


def _safe(guard: Guard, url: str) -> str:
    part = {"type": "image_url", "image_url": {"url": url}}
    verdict = guard.check_messages([{"role": "user", "content": [part]}]).raise_if_blocked()
    return str(verdict.messages[0]["content"][0]["image_url"]["url"])


def _require(guard: Guard, part: str) -> None:
    if part not in guard.policy.allow_parts:
        raise UnsupportedInput(
            f"videos and embeddings are not judged: send frames or pictures as images, or put {part!r} into allow_parts"
        )
