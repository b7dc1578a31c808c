"""What a model file says of itself, and what of it fits into memory."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from apwa.local.gguf import ModelHead, NoModel, read_head
from apwa.local.sizing import Sizes, fit, free_memory

GB = 10**9


def _text(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def _pair(key: str, value: Any) -> bytes:
    if isinstance(value, str):
        return _text(key) + struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        if value and isinstance(value[0], str):
            items = b"".join(_text(item) for item in value)
            return _text(key) + struct.pack("<IIQ", 9, 8, len(value)) + items
        items = b"".join(struct.pack("<I", item) for item in value)
        return _text(key) + struct.pack("<IIQ", 9, 4, len(value)) + items
    return _text(key) + struct.pack("<II", 4, value)


def _file(path: Path, **changes: Any) -> Path:
    pairs: dict[str, Any] = {
        "general.architecture": "llama",
        "general.name": "Tiny",
        "tokenizer.ggml.tokens": ["a", "b", "c"] * 2000,
        "tokenizer.ggml.token_type": [1] * 6000,
        "llama.block_count": 4,
        "llama.context_length": 32768,
        "llama.embedding_length": 64,
        "llama.attention.head_count": 8,
        "llama.attention.head_count_kv": 2,
    }
    pairs |= {name.replace("__", "."): value for name, value in changes.items()}
    pairs = {name: value for name, value in pairs.items() if value is not None}
    body = b"".join(_pair(name, value) for name, value in pairs.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body)
    return path


def test_the_head_says_what_context_costs(tmp_path: Path) -> None:
    head = read_head(_file(tmp_path / "m.gguf"))
    assert (head.name, head.context) == ("Tiny", 32768)
    assert head.bytes_per_token == 4 * 2 * (8 + 8) * 2  # layers, heads, key and value, 16 bit


def test_layers_may_differ_in_their_heads(tmp_path: Path) -> None:
    path = _file(tmp_path / "m.gguf", llama__attention__head_count_kv=[2, 0, 2, 0])
    assert read_head(path).bytes_per_token == 2 * 2 * (8 + 8) * 2


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no GGUF file"),
        (b"GGUF", "ends within its head"),
        (b"# a readme of some length", "no GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 9, 0, 0), "version 9"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "no language model"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 5) + _text("a"), "ends within its head"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 5, 1 << 60), "longer than any"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + _text("a") + struct.pack("<I", 99), "broken"),
    ],
)
def test_a_file_that_is_no_model_is_named_as_what_it_is(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(NoModel, match=words):
        read_head(path)


HEAD = ModelHead("m", 32768, 100_000, 4 * GB)  # 8,192 tokens of it take 0.8 GB


def test_slots_are_given_up_before_context() -> None:
    assert fit(HEAD, 64 * GB, 8) == Sizes(8192, 8)
    assert fit(HEAD, 9 * GB, 8) == Sizes(8192, 2)
    assert fit(HEAD, 7 * GB, 8) == Sizes(4096, 1)


def test_few_cores_have_few_slots_and_a_small_model_keeps_its_own_bound() -> None:
    assert fit(HEAD, 64 * GB, 1).slots == 2
    assert fit(ModelHead("m", 2048, 100, GB), 64 * GB, 4) == Sizes(2048, 8)


def test_a_wish_for_context_is_kept_or_refused_in_words() -> None:
    assert fit(HEAD, 64 * GB, 2, 20_000).context == 20_000
    assert fit(HEAD, 64 * GB, 2, 1_000_000).context == 32768
    with pytest.raises(NoModel, match=r"GB of free memory with 32,768 tokens"):
        fit(HEAD, 8 * GB, 2, 32768)


def test_a_model_larger_than_memory_is_refused_before_it_is_loaded() -> None:
    with pytest.raises(NoModel, match=r"and 4\.0 GB are free"):
        fit(HEAD, 4 * GB, 2)


def test_free_memory_is_some_number_of_bytes() -> None:
    assert free_memory() > 100_000_000
