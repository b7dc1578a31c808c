"""What travels so that another process opens the same model."""

from __future__ import annotations

import sys

import msgspec

from apwa.models import (
    EndpointSettings,
    ModelKit,
    ModelSettings,
    ReadVariables,
    kit_of,
    open_kit,
    open_model,
)

ENV = {"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "HOME": "/nowhere"}


def test_a_kit_opens_the_same_model_and_holds_no_key() -> None:
    read = ReadVariables(ENV)
    opened = open_model("openai:x", ModelSettings(read))
    kit, variables = kit_of("openai:x", opened, read.read, "", {})
    assert variables == {n: ENV[n] for n in ("OPENAI_API_KEY", "OPENAI_BASE_URL")}
    sent = msgspec.msgpack.encode(kit)
    assert b"sk-1" not in sent
    again = open_kit(msgspec.msgpack.decode(sent, type=ModelKit), variables)
    assert (again.endpoint, again.model_name) == (opened.endpoint, opened.model_name)
    assert again.model._key == "sk-1" and again.model.codec.url == opened.model.codec.url


def test_of_a_key_command_the_answer_travels_and_not_the_command() -> None:
    def printing(key: str) -> EndpointSettings:
        return EndpointSettings(
            "http://127.0.0.1:9/v1", key_command=f"{sys.executable} -c print({key!r})"
        )

    endpoints = {"mine": printing("'k-mine'"), "other": printing("'k-other'")}
    opened = open_model("mine:x", ModelSettings({}, endpoints=endpoints))
    kit, variables = kit_of("mine:x", opened, {}, "", endpoints)
    assert variables == {"APWA_KEY_OF_MINE": "k-mine"}
    assert not any(endpoint.key_command for endpoint in kit.endpoints.values())
    assert open_kit(kit, variables).model._key == "k-mine"
