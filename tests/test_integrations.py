"""Adapters against the real libraries, with tiny random or fake models: the model must get the safe picture only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage

from ondevice_guard import Finding, Guard, GuardBlocked, Policy
from ondevice_guard.errors import UnsupportedInput
from ondevice_guard.responses import REFUSAL
from ondevice_guard.types import Views, box
from test_messages import B64, MARK, PNG, RED, URI, Bright, Listens, encoded, opened, pixels
from test_responses import Harm

pytestmark = pytest.mark.filterwarnings("ignore")


class Corner:
    """Says that the top left corner of every picture gives orders, so that it is filled."""

    name = "corner"
    kinds = ("typographic",)

    def __call__(self, views: Views) -> list[Finding]:
        if "together" in str(views.image.format) or views.original.pixels[0, 0].max() == 0:
            return []
        return [Finding("typographic", 0.99, "orders", self.name, regions=(box(0, 0, 12, 9),))]


PLAIN = Policy().replace(name="plain", detectors=[], fill_method="box")
SAFE = {"text_detectors": [Listens()], "response_detectors": [Harm()]}


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard(PLAIN, detectors=[Bright()], **SAFE)


@pytest.fixture(scope="module")
def filling() -> Guard:
    return Guard(PLAIN, detectors=[Corner()], **SAFE)


# ---------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA with random weights and a vocabulary of twenty words, saved as a checkpoint."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = [
        "<unk>",
        "<pad>",
        "<s>",
        "</s>",
        "<image>",
        "USER",
        "ASSISTANT",
        ":",
        "What",
        "is",
        "this",
        "?",
        "ORDERS",
        "hi",
        "a",
        "cat",
    ]
    model = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>")
    backend = tokenizers.Tokenizer(model)
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>",
        additional_special_tokens=["<image>"],
    )  # fmt: skip
    image_processor = transformers.CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    template = (
        "{% for m in messages %}{{ m['role'] | upper }} : {% if m['content'] is string %}{{ m['content'] }}{% else %}"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image> {% else %}{{ c['text'] }}{% endif %}{% endfor %}"
        "{% endif %} {% endfor %}{% if add_generation_prompt %}ASSISTANT :{% endif %}"
    )
    processor = transformers.LlavaProcessor(
        image_processor=image_processor, tokenizer=tokenizer, patch_size=14, vision_feature_select_strategy="default",
        chat_template=template, num_additional_image_tokens=1,
    )  # fmt: skip
    vision = transformers.CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    text = transformers.LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=1, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    torch.manual_seed(0)
    config = transformers.LlavaConfig(vision_config=vision, text_config=text, image_token_index=4, image_seq_length=4)
    folder = tmp_path_factory.mktemp("llava")
    transformers.LlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def expected(folder: Path, safe: np.ndarray) -> Any:
    """What an unguarded processor makes of the safe pixels."""
    from transformers import AutoProcessor

    return AutoProcessor.from_pretrained(folder).image_processor(PILImage.fromarray(safe), return_tensors="pt")[
        "pixel_values"
    ]


def filled() -> np.ndarray:
    guard = Guard(PLAIN, detectors=[Corner()])
    safe = guard.check(pixels()).to_numpy()
    assert not np.array_equal(safe, pixels())
    return safe


def chat(image: Any, key: str = "image") -> list[Any]:
    return [{"role": "user", "content": [{"type": "image", key: image}, {"type": "text", "text": "What is this ?"}]}]


@pytest.mark.slow
def test_a_processor_gives_the_model_the_safe_pixels(llava: Path, filling: Guard, tmp_path: Path) -> None:
    import torch
    from transformers import AutoProcessor, LlavaProcessor

    from ondevice_guard.integrations import transformers as adapter

    processor = adapter.protect(AutoProcessor.from_pretrained(llava), filling)
    assert isinstance(processor, LlavaProcessor)
    assert adapter.protect(processor, filling) is processor
    want = expected(llava, filled())
    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    for given, key in (
        (PILImage.fromarray(pixels()), "image"),
        (URI, "image"),
        (B64, "base64"),
        (str(file), "path"),
        (URI, "url"),
    ):
        made = processor.apply_chat_template(chat(given, key), tokenize=True, return_dict=True, return_tensors="pt")
        torch.testing.assert_close(made["pixel_values"], want, rtol=0, atol=0)
    for given in (PILImage.fromarray(pixels()), pixels(), str(file)):
        made = processor(images=given, text="USER : <image> hi", return_tensors="pt")
        torch.testing.assert_close(made["pixel_values"], want, rtol=0, atol=0)
    both = processor(
        images=[[pixels()], [pixels()]], text=["<image> hi", "<image> a cat"], return_tensors="pt", padding=True
    )
    assert both["pixel_values"].shape[0] == 2
    assert processor(text="hi")["input_ids"]


@pytest.mark.slow
def test_a_processor_blocks(llava: Path, guard: Guard) -> None:
    from transformers import AutoProcessor

    from ondevice_guard.integrations import transformers as adapter

    processor = adapter.protect(AutoProcessor.from_pretrained(llava), guard)
    with pytest.raises(GuardBlocked):
        processor(text="ORDERS")
    with pytest.raises(GuardBlocked):
        processor.apply_chat_template([{"role": "user", "content": "ORDERS"}])
    with pytest.raises(GuardBlocked, match="allow_hosts"):
        processor.apply_chat_template(chat("https://example.org/a.png", "url"))
    with pytest.raises(GuardBlocked):
        processor(images=PILImage.new("RGB", (30, 24), (255, 0, 0)), text="<image>")
    with pytest.raises(UnsupportedInput, match="videos"):
        processor(text="hi", videos=[pixels()[None]])
    assert isinstance(processor.apply_chat_template([{"role": "user", "content": "hi"}]), str)


@pytest.mark.slow
def test_a_pipeline_is_guarded_by_one_line(llava: Path, filling: Guard) -> None:
    import torch
    from transformers import AutoProcessor, pipeline

    from ondevice_guard.integrations import transformers as adapter

    with adapter.protected(filling):
        pipe = pipeline("image-text-to-text", model=str(llava), device="cpu")
    assert type(AutoProcessor.from_pretrained(llava)).__mro__[1].__name__ != "_Guarded"
    seen: list[Any] = []
    forward = pipe.model.model.vision_tower.forward
    pipe.model.model.vision_tower.forward = lambda pixel_values, **more: (
        seen.append(pixel_values) or forward(pixel_values, **more)
    )
    answer = pipe(text=chat(PILImage.fromarray(pixels())), max_new_tokens=2, return_full_text=False)
    assert answer[0]["generated_text"] is not None
    torch.testing.assert_close(seen[0], expected(llava, filled()), rtol=0, atol=0)
    pipe(images=PILImage.fromarray(pixels()), text="USER : <image> hi", max_new_tokens=2)
    torch.testing.assert_close(seen[-1], expected(llava, filled()), rtol=0, atol=0)
    with pytest.raises(GuardBlocked):
        pipe(text=[{"role": "user", "content": [{"type": "text", "text": "ORDERS"}]}], max_new_tokens=2)


# ---------------------------------------------------------------------- llama-cpp-python


class Handler:
    """Does with messages what `Llava15ChatHandler` does: walks them and loads each address."""

    def __init__(self) -> None:
        self.loaded: list[bytes] = []

    def load_image(self, image_url: str) -> bytes:
        raise AssertionError("the unguarded loader was used")

    def __call__(self, *, llama: Any, messages: list[Any], **options: Any) -> Any:
        for message in messages:
            for part in message["content"] if isinstance(message["content"], list) else ():
                if part["type"] == "image_url":
                    address = part["image_url"] if isinstance(part["image_url"], str) else part["image_url"]["url"]
                    self.loaded.append(self.load_image(address))
        return messages


def test_a_chat_handler_loads_safe_pictures_only(guard: Guard) -> None:
    from ondevice_guard.integrations import llama_cpp

    handler = llama_cpp.protect(Handler(), guard)
    assert type(handler).__name__ == "Handler"
    handler(llama=None, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URI}}]}])
    np.testing.assert_array_equal(opened(handler.loaded[0]), pixels())
    np.testing.assert_array_equal(opened(handler.load_image(URI)), pixels())
    for address in ("file:///etc/passwd", "https://example.org/a.png", "http://127.0.0.1/"):
        with pytest.raises(GuardBlocked):
            handler.load_image(address)
        with pytest.raises(GuardBlocked):
            handler(llama=None, messages=[{"role": "user", "content": [{"type": "image_url", "image_url": address}]}])
    with pytest.raises(GuardBlocked):
        handler(llama=None, messages=[{"role": "user", "content": "ORDERS"}])


def tiny_llava(folder: Path) -> tuple[str, str]:
    """Write a LLaMA whose words are the 256 bytes, and LLaVA-1.5's projector for 28x28 pixels, both random, as GGUF."""
    gguf = pytest.importorskip("gguf")
    rng = np.random.default_rng(0)
    wide = 32

    def add(writer: Any, tensors: dict[str, tuple[int, ...]]) -> None:
        for name, shape in tensors.items():
            flat = name.endswith(("norm.weight", "ln1.weight", "ln2.weight", "pre_ln.weight"))
            values = np.ones(shape) if flat else rng.normal(0, 0.2, shape)
            writer.add_tensor(name, values.astype(np.float32))
        for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
            write()
        writer.close()

    square = {f"attn_{part}.weight": (wide, wide) for part in "qkv"}
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    model = gguf.GGUFWriter(folder / "model.gguf", "llama")
    model.add_context_length(1024)
    model.add_embedding_length(wide)
    model.add_block_count(2)
    model.add_feed_forward_length(wide)
    model.add_head_count(2)
    model.add_layer_norm_rms_eps(1e-5)
    model.add_tokenizer_model("llama")
    model.add_token_list(words)
    model.add_token_scores([0.0] * len(words))
    model.add_chat_template("{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}")
    model.add_token_types([gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256)
    layer = {
        **square, "attn_output.weight": (wide, wide), "attn_norm.weight": (wide,), "ffn_norm.weight": (wide,),
        **{f"ffn_{part}.weight": (wide, wide) for part in ("gate", "up", "down")},
    }  # fmt: skip
    tensors = {f"blk.{i}.{name}": shape for i in range(2) for name, shape in layer.items()}
    add(model, {"token_embd.weight": (len(words), wide), "output_norm.weight": (wide,), **tensors})

    vision = gguf.GGUFWriter(folder / "mmproj.gguf", "clip")
    vision.add_clip_has_vision_encoder(True)
    vision.add_clip_projector_type("mlp")
    vision.add_vision_image_size(28)
    vision.add_vision_patch_size(14)
    vision.add_vision_embedding_length(wide)
    vision.add_vision_feed_forward_length(2 * wide)
    vision.add_vision_block_count(2)
    vision.add_vision_head_count(2)
    vision.add_vision_projection_dim(wide)
    vision.add_vision_attention_layernorm_eps(1e-5)
    vision.add_vision_image_mean([0.5] * 3)
    vision.add_vision_image_std([0.5] * 3)
    layer = {
        **square, "attn_out.weight": (wide, wide), "ffn_up.weight": (2 * wide, wide), "ffn_down.weight": (wide, 2 * wide),
        **{f"{name}.{part}": (wide,) for name in ("ln1", "ln2") for part in ("weight", "bias")},
    }  # fmt: skip
    add(vision, {
        "v.class_embd": (wide,), "v.patch_embd.weight": (wide, 3, 14, 14), "v.position_embd.weight": (5, wide),
        "v.pre_ln.weight": (wide,), "v.pre_ln.bias": (wide,),
        **{f"v.blk.{i}.{name}": shape for i in range(2) for name, shape in layer.items()},
        "mm.0.weight": (wide, wide), "mm.0.bias": (wide,), "mm.2.weight": (wide, wide), "mm.2.bias": (wide,),
    })  # fmt: skip
    return str(folder / "model.gguf"), str(folder / "mmproj.gguf")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Llava15ChatHandler", "MTMDChatHandler"])
def test_llama_cpp_python(
    guard: Guard, filling: Guard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    library = pytest.importorskip("llama_cpp")
    from llama_cpp import llama_chat_format, mtmd_cpp

    from ondevice_guard.integrations import llama_cpp as adapter

    model, projector = tiny_llava(tmp_path)
    seen: list[np.ndarray] = []  # what the C library decoded and hands to the projector
    tokenize = mtmd_cpp.mtmd_tokenize

    def spy(context: Any, chunks: Any, text: Any, bitmaps: Any, count: int) -> int:
        for bitmap in bitmaps:
            shape = mtmd_cpp.mtmd_bitmap_get_ny(bitmap), mtmd_cpp.mtmd_bitmap_get_nx(bitmap), 3
            data = mtmd_cpp.mtmd_bitmap_get_data(bitmap)
            seen.append(np.array(data[: int(np.prod(shape))], np.uint8).reshape(shape))
        return int(tokenize(context, chunks, text, bitmaps, count))

    monkeypatch.setattr(mtmd_cpp, "mtmd_tokenize", spy)

    def ask(judge: Guard | None, address: str) -> Any:
        handler = getattr(llama_chat_format, name)(projector, verbose=False)
        llm = library.Llama(
            model, n_ctx=1024, n_threads=1, verbose=False,
            chat_handler=adapter.protect(handler, judge) if judge else handler,
        )  # fmt: skip
        parts = [{"type": "image_url", "image_url": {"url": address}}, {"type": "text", "text": "What is this?"}]
        try:
            return llm.create_chat_completion([{"role": "user", "content": parts}], max_tokens=8, temperature=0)
        finally:
            assert (llm.n_tokens > 0) == bool(seen)  # the model has run only if a picture got through
            llm.close()

    # A clean picture passes as it is, and is answered.
    answer = ask(guard, URI)
    assert answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "length"
    np.testing.assert_array_equal(seen.pop(), pixels())

    # The library ignores transparency, so that it shows what a clear half hides; the guard hands out the safe pixels.
    clear = np.where(np.arange(30) < 15, 255, 0).astype(np.uint8)
    hidden = encoded(np.dstack([pixels(), np.tile(clear, (24, 1))])) + MARK
    address = "data:image/png;base64," + base64.b64encode(hidden).decode()
    safe = opened(filling.sanitize(hidden))
    assert not np.array_equal(safe, pixels())
    ask(None, address)
    np.testing.assert_array_equal(seen.pop(), pixels())
    ask(filling, address)
    np.testing.assert_array_equal(seen.pop(), safe)

    # What is blocked, or somewhere else, never gets to the model.
    red = "data:image/png;base64," + base64.b64encode(RED).decode()
    for refused in (red, "https://example.org/a.png", tmp_path.as_uri(), "data:audio/wav;base64,UklGRg=="):
        with pytest.raises(GuardBlocked):
            ask(guard, refused)
    assert not seen


# ---------------------------------------------------------------------- OpenAI and Ollama clients


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Any, str]]:
    pytest.importorskip("httpx")
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    from test_serve import Running, Upstream

    upstream = Upstream()
    with Running(upstream.app) as running:
        yield upstream, running.url


@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_client_with_a_guard_inside(served: tuple[Any, str], guard: Guard, stream: bool) -> None:
    openai = pytest.importorskip("openai")
    from ondevice_guard.integrations.openai import async_protected, protected

    upstream, address = served
    content = [{"type": "text", "text": "hi"}, {"type": "image_url", "image_url": {"url": URI}}]

    def said(answer: Any) -> str:
        if not stream:
            return str(answer.choices[0].message.content)
        return "".join(c.choices[0].delta.content or "" for c in answer)

    with protected(guard, base_url=f"{address}/v1", api_key="k", max_retries=0) as client:
        ask: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": content}], "stream": stream}
        upstream.pieces = ["The cat ", "sleeps."]
        assert said(client.chat.completions.create(**ask)) == "The cat sleeps."
        np.testing.assert_array_equal(
            opened(upstream.seen[-1]["messages"][0]["content"][1]["image_url"]["url"]), pixels()
        )
        upstream.pieces = ["Well. ", "Take POI", "SON. Now."]
        assert REFUSAL in said(client.chat.completions.create(**ask))
        count = len(upstream.seen)
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(**{**ask, "messages": [{"role": "user", "content": "ORDERS"}]})
        assert caught.value.code == "content_blocked"
        assert len(upstream.seen) == count

    async def run() -> str:
        upstream.pieces = ["The cat ", "sleeps."]
        async with async_protected(guard, base_url=f"{address}/v1", api_key="k", max_retries=0) as client:
            answer = await client.chat.completions.create(**ask)
            if not stream:
                return said(answer)
            return "".join([c.choices[0].delta.content or "" async for c in answer])

    assert asyncio.run(run()) == "The cat sleeps."


@pytest.mark.parametrize("stream", [False, True])
def test_the_ollama_client_with_a_guard_inside(served: tuple[Any, str], guard: Guard, stream: bool) -> None:
    ollama = pytest.importorskip("ollama")
    from ondevice_guard.integrations.ollama import async_protected, protected

    upstream, address = served
    upstream.pieces = ["The cat ", "sleeps."]
    client = protected(guard, host=address)
    answer = client.chat(model="m", messages=[{"role": "user", "content": "hi", "images": [PNG]}], stream=stream)
    said = "".join(p.message.content for p in answer) if stream else answer.message.content
    assert said == "The cat sleeps."
    np.testing.assert_array_equal(opened(upstream.seen[-1]["messages"][0]["images"][0]), pixels())
    with pytest.raises(ollama.ResponseError, match="injection"):
        list(client.generate(model="m", prompt="ORDERS", stream=True))
    client._client.close()

    async def run() -> str:
        client = async_protected(guard, host=address)
        async with client._client:
            answer = await client.chat(model="m", messages=[{"role": "user", "content": "hi"}], stream=stream)
            return "".join([p.message.content async for p in answer]) if stream else str(answer.message.content)

    assert asyncio.run(run()) == "The cat sleeps."


# ---------------------------------------------------------------------- vLLM


@pytest.mark.parametrize("home", ["vllm.multimodal.media.connector", "vllm.multimodal.utils"])
def test_the_vllm_connector(guard: Guard, monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    """Against the interface of vLLM's connector (a stand-in: vLLM itself needs an accelerator)."""

    class MediaConnector:
        def __init__(self, **options: Any) -> None:
            self.options = options

        def fetch_image(self, image_url: str, *, image_mode: str = "RGB") -> Any:
            assert image_url.startswith("data:image/png;base64,"), "the unguarded connector got an address"
            return PILImage.open(io.BytesIO(base64.b64decode(image_url.partition(",")[2]))).convert(image_mode)

        async def fetch_image_async(self, image_url: str, *, image_mode: str = "RGB") -> Any:
            return self.fetch_image(image_url, image_mode=image_mode)

        def fetch_video(self, video_url: str) -> Any:
            raise AssertionError("a video was fetched")

    class Registry:
        known: dict[str, type] = {}  # noqa: RUF012

        def register(self, name: str) -> Any:
            return lambda cls: self.known.setdefault(name, cls)

        def load(self, name: str, **options: Any) -> Any:
            return self.known[name](**options)

    for name in ("vllm", "vllm.multimodal", home):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    registry = Registry()
    registry.known = {}
    sys.modules[home].MEDIA_CONNECTOR_REGISTRY = registry  # type: ignore[attr-defined]
    sys.modules[home].MediaConnector = MediaConnector  # type: ignore[attr-defined]
    from ondevice_guard.integrations import vllm

    vllm.register(guard)
    connector = registry.load(vllm.NAME, allowed_local_media_path="")
    np.testing.assert_array_equal(np.asarray(connector.fetch_image(URI)), pixels())
    np.testing.assert_array_equal(np.asarray(asyncio.run(connector.fetch_image_async(URI, image_mode="RGB"))), pixels())
    for address in ("https://example.org/a.png", "file:///etc/passwd"):
        with pytest.raises(GuardBlocked):
            connector.fetch_image(address)
    with pytest.raises(UnsupportedInput, match="videos"):
        connector.fetch_video("https://example.org/a.mp4")
    with pytest.raises(UnsupportedInput, match="embeddings"):  # a picture that nobody can look at
        connector.fetch_image_embedding("AAAA")
    with pytest.raises(UnsupportedInput, match="video_embeds"):
        asyncio.run(connector.fetch_video_embedding_async("AAAA"))


# ---------------------------------------------------------------------- LangChain


def test_langchain_objects_come_back_as_they_were(guard: Guard) -> None:
    messages = pytest.importorskip("langchain_core.messages")
    given = [
        messages.SystemMessage("Be kind."),
        messages.HumanMessage(
            content=[
                {"type": "text", "text": "hi"},
                {"type": "image_url", "image_url": {"url": URI}},
                {"type": "image", "base64": B64, "mime_type": "image/png"},
                {"type": "image", "url": URI, "mime_type": "image/png"},
            ]
        ),
        messages.AIMessage("", tool_calls=[{"name": "look", "args": {"x": 1}, "id": "t"}]),
        messages.ToolMessage("seen", tool_call_id="t"),
    ]
    verdict = guard.check_messages(given).raise_if_blocked()
    assert [type(m) for m in verdict.messages] == [type(m) for m in given]
    assert verdict.images_scanned == 3
    parts = verdict.messages[1].content
    for value in (parts[1]["image_url"]["url"], parts[2]["base64"], parts[3]["base64"]):
        np.testing.assert_array_equal(opened(value), pixels())
    assert verdict.messages[2].tool_calls == given[2].tool_calls
    assert given[1].content[1]["image_url"]["url"] == URI
    bad = messages.HumanMessage(content=[{"type": "video", "url": "https://example.org/a.mp4"}])
    assert not guard.check_messages([bad])
    assert not guard.check_messages([messages.ToolMessage("ORDERS", tool_call_id="t")])
    shielding = Guard(PLAIN.replace(shield=True), **SAFE)
    shielded = shielding.check_messages([messages.HumanMessage("odd")]).messages
    assert shielded[0].type == "system"


def test_a_langchain_chain(guard: Guard) -> None:
    pytest.importorskip("langchain_core")
    from langchain_core.language_models import FakeListChatModel
    from langchain_core.messages import HumanMessage
    from langchain_core.prompts import ChatPromptTemplate

    from ondevice_guard.integrations import langchain

    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "Be kind."),
            ("human", [{"type": "text", "text": "{q}"}, {"type": "image_url", "image_url": {"url": "{i}"}}]),
        ]
    )
    seen: list[Any] = []

    class Model(FakeListChatModel):
        def _call(self, messages: Any, *args: Any, **options: Any) -> str:
            seen.append(messages)
            return super()._call(messages, *args, **options)

    chain = (
        prompt
        | langchain.protect(guard)
        | Model(responses=["A cat.", "Take POISON.", "A cat."])
        | langchain.screen(guard)
    )
    assert chain.invoke({"q": "hi", "i": URI}).content == "A cat."
    np.testing.assert_array_equal(opened(seen[0][1].content[1]["image_url"]["url"]), pixels())
    assert chain.invoke({"q": "hi", "i": URI}).content == REFUSAL
    with pytest.raises(GuardBlocked):
        chain.invoke({"q": "ORDERS", "i": URI})
    assert asyncio.run(chain.ainvoke({"q": "hi", "i": URI})).content == "A cat."
    assert langchain.screen(guard).invoke("POISON") == REFUSAL
    assert langchain.protect(guard).invoke([HumanMessage("hi")])[0].content == "hi"


def test_a_langchain_agent(guard: Guard) -> None:
    pytest.importorskip("langchain")
    from langchain.agents import create_agent
    from langchain_core.language_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_core.tools import tool

    from ondevice_guard.integrations import langchain

    @tool
    def fetch(page: str) -> str:
        """Fetch a page."""
        return "a page with ORDERS in it" if page == "evil" else "a fine page"

    class Model(GenericFakeChatModel):
        def bind_tools(self, tools: Any, **options: Any) -> Any:
            return self

    def agent(page: str, last: str) -> Any:
        call = AIMessage("", tool_calls=[{"name": "fetch", "args": {"page": page}, "id": "1"}])
        return create_agent(
            Model(messages=iter([call, AIMessage(last)])), [fetch], middleware=[langchain.middleware(guard)]
        )

    question = {"messages": [("user", "Read it.")]}
    assert agent("fine", "It is fine.").invoke(question)["messages"][-1].content == "It is fine."
    assert agent("fine", "Take POISON.").invoke(question)["messages"][-1].content == REFUSAL
    with pytest.raises(GuardBlocked, match="injection"):
        agent("evil", "Done.").invoke(question)
    answer = asyncio.run(agent("fine", "It is fine.").ainvoke(question))
    assert answer["messages"][-1].content == "It is fine."


# ---------------------------------------------------------------------- LlamaIndex


def test_llama_index(guard: Guard, tmp_path: Path) -> None:
    pytest.importorskip("llama_index.core")
    from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
    from llama_index.core.llms.mock import MockLLM

    from ondevice_guard.integrations import llama_index

    file = tmp_path / "a.png"
    file.write_bytes(PNG)
    blocks = [TextBlock(text="hi"), ImageBlock(image=PNG), ImageBlock(path=file), ImageBlock(url=URI)]
    verdict = guard.check_messages([ChatMessage(role="user", blocks=blocks)]).raise_if_blocked()
    assert verdict.images_scanned == 3
    safe = verdict.messages[0]
    assert isinstance(safe, ChatMessage)
    for block in safe.blocks[1:]:
        np.testing.assert_array_equal(opened(block.resolve_image().read()), pixels())
    assert not guard.check_messages([ChatMessage(role="user", blocks=[ImageBlock(url="https://example.org/a.png")])])
    assert not guard.check_messages([ChatMessage(role="user", content="ORDERS")])

    llm = llama_index.protect(MockLLM(), guard)
    assert isinstance(llm, MockLLM)
    hello = [ChatMessage(role="user", content="hello there")]
    assert "hello there" in llm.chat(hello).message.content
    assert "hello" in llm.complete("hello").text
    assert "".join(p.delta for p in llm.stream_complete("hello")).strip() == "hello"
    assert "hello there" in list(llm.stream_chat(hello))[-1].message.content
    assert "hello there" in asyncio.run(llm.achat(hello)).message.content
    assert "hello" in asyncio.run(llm.acomplete("hello")).text
    assert REFUSAL in llm.complete("POISON").text
    assert "POISON" not in "".join(p.delta for p in llm.stream_complete("well. POISON. more"))

    async def streamed() -> str:
        return "".join([p.delta async for p in await llm.astream_complete("hello")])

    assert asyncio.run(streamed()).strip() == "hello"
    for call in (lambda: llm.chat([ChatMessage(role="user", content="ORDERS")]), lambda: llm.complete("ORDERS")):
        with pytest.raises(GuardBlocked):
            call()


# ---------------------------------------------------------------------- ASGI, FastAPI


def test_fastapi(guard: Guard) -> None:
    fastapi = pytest.importorskip("fastapi")
    pytest.importorskip("multipart")
    pytest.importorskip("httpx")
    from fastapi.testclient import TestClient

    from ondevice_guard.integrations import asgi

    app = fastapi.FastAPI()
    app.add_middleware(asgi.GuardMiddleware, guard=guard, paths=["/chat"], max_body=1 << 20)
    seen: list[Any] = []

    @app.post("/chat")
    async def chat(body: dict[str, Any]) -> dict[str, Any]:
        seen.append(body)
        return {"said": "ok"}

    @app.post("/other")
    async def other(body: dict[str, Any]) -> dict[str, Any]:
        return body

    take = fastapi.Depends(asgi.upload(guard))

    @app.post("/upload")
    async def upload(verdict: Any = take) -> Any:
        return fastapi.Response(verdict.to_bytes(), media_type="image/png")

    client = TestClient(app)
    ask = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": URI}}]}]}
    assert client.post("/chat", json=ask).json() == {"said": "ok"}
    np.testing.assert_array_equal(opened(seen[0]["messages"][0]["content"][0]["image_url"]["url"]), pixels())
    blocked = client.post("/chat", json={"messages": [{"role": "user", "content": "ORDERS"}]})
    assert (blocked.status_code, blocked.json()["error"]["finding"]) == (400, "injection")
    assert client.post("/chat", content=b'{"messages":[],"messages":[]}').status_code == 400
    assert client.post("/chat", content=b"x" * (2 << 20)).status_code == 413
    assert client.post("/chat", json=ask, headers={"content-encoding": "gzip"}).status_code == 415
    assert client.post("/other", json={"ORDERS": 1}).json() == {"ORDERS": 1}
    assert len(seen) == 1
    safe = client.post("/upload", files={"file": ("a.png", PNG)})
    np.testing.assert_array_equal(opened(safe.content), pixels())
    refused = client.post("/upload", files={"file": ("a.png", b"garbage")})
    assert refused.status_code == 400
    assert refused.json()["detail"]["decision"] == "BLOCK"
    assert client.post("/upload").status_code == 422


# ---------------------------------------------------------------------- OpenCV


class Camera:
    """A capture of numbered frames that counts how many it decoded."""

    def __init__(self, count: int) -> None:
        self.count, self.at, self.decoded = count, -1, 0

    def grab(self) -> bool:
        self.at += 1
        return self.at < self.count

    def retrieve(self) -> tuple[bool, np.ndarray]:
        self.decoded += 1
        frame = pixels(self.at)
        if self.at == 4:
            frame = np.tile(np.array([0, 0, 255], np.uint8), (24, 30, 1))  # red in BGR
        return True, frame


def test_opencv_frames(guard: Guard) -> None:
    from ondevice_guard.integrations import opencv

    camera = Camera(9)
    got = list(opencv.frames(camera, guard, stride=2))
    assert [f.index for f in got] == [0, 2, 4, 6, 8]
    assert camera.decoded == 5
    for frame in got:
        if frame.index == 4:
            assert not frame.verdict
            assert frame.bgr is None
        else:
            assert frame.bgr is not None
            np.testing.assert_array_equal(frame.bgr, pixels(frame.index))
    with pytest.raises(UnsupportedInput):
        list(opencv.frames(camera, guard, stride=0))
    with pytest.raises(UnsupportedInput):
        opencv.check(guard, pixels()[..., 0])


def test_a_real_capture(guard: Guard, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    from ondevice_guard.integrations import opencv

    for i in range(4):
        PILImage.fromarray(pixels(i)).save(tmp_path / f"f_{i:02d}.png")
    capture = cv2.VideoCapture(str(tmp_path / "f_%02d.png"), cv2.CAP_IMAGES)
    if not capture.isOpened():
        pytest.skip("this OpenCV reads no image sequences")
    for frame in opencv.frames(capture, guard, stride=3):
        assert frame.bgr is not None
        np.testing.assert_array_equal(frame.bgr[..., ::-1], pixels(frame.index))


def test_adapters_are_lazy() -> None:
    import subprocess

    code = (
        "import sys, ondevice_guard.integrations; "
        "print(json.dumps([m for m in ('torch', 'transformers', 'openai', 'ollama', 'httpx', 'langchain_core', "
        "'llama_index', 'fastapi', 'starlette', 'cv2', 'vllm') if m in sys.modules]))"
    )
    out = subprocess.run(
        [sys.executable, "-c", f"import json; {code}"], capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(out) == []
    with contextlib.suppress(ImportError):
        import ondevice_guard.integrations.opencv  # noqa: F401
