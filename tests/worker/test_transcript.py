from __future__ import annotations

import random

from apwa.models import Image, Message, Text, ToolCall
from apwa.worker import read_transcript, transcript_of
from apwa.worker.transcript import MOST_BYTES


def noise(size: int, seed: int) -> str:
    return random.Random(seed).randbytes(size // 2).hex()


def test_a_conversation_comes_back_as_it_was() -> None:
    talk = [
        Message("system", [Text("do")]),
        Message("assistant", calls=[ToolCall("c", "calculate", '{"expression": "1"}')]),
        Message("tool", [Text("1")], call_id="c"),
    ]
    assert read_transcript(transcript_of(talk)) == talk
    assert transcript_of([]) == b"" and read_transcript(b"") == []


def test_a_transcript_is_bounded_whatever_was_said() -> None:
    talk = [Message("user", [Text(noise(100_000, n))]) for n in range(200)]
    talk[1] = Message("user", [Image("image/png", b"x" * 1_000_000)])
    kept = transcript_of(talk)
    assert len(kept) <= MOST_BYTES
    said = [message.text for message in read_transcript(kept)]
    assert said[1] == "[image, 1000000 bytes]"
    assert said[2] == "[178 messages left out]"
    assert talk[-1].text.startswith(said[-1]) and len(said[-1]) == 4000
