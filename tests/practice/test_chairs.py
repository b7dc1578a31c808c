"""A person in the model's chair, and recordings."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

from apwa.practice.chairs import ByHand, Recorder, Replay, Rules

from .conftest import TEXT, practice, practice_process, schema, worker

ANSWER = schema(summary=TEXT)
NOTE = {"text": "The pump failed on Monday. It was repaired by noon."}


def answer_when_asked(folder: Path, name: str, text: str) -> threading.Thread:
    """A person who waits for a request and puts an answer beside it."""

    def wait() -> None:
        stem = name.partition(".")[0]
        while not (folder / f"{stem}.request.json").exists():
            time.sleep(0.01)
        part = folder / "draft"
        part.write_text(text, encoding="utf-8")
        part.rename(folder / name)

    person = threading.Thread(target=wait)
    person.start()
    return person


def test_a_person_answers_by_renaming_a_file(tmp_path: Path) -> None:
    body = worker("Summarise <text>.", ANSWER, NOTE)
    with practice_process("--by-hand", str(tmp_path)) as (endpoint, _):
        person = answer_when_asked(tmp_path, "0001.answer.json", '{"summary": "mended"}')
        assert endpoint.fields(body) == {"summary": "mended"}
        person.join()
        person = answer_when_asked(tmp_path, "0002.answer.txt", "in words\n")
        assert endpoint.answer(body)["content"] == "in words"
        person.join()
    assert "The pump failed" in (tmp_path / "0001.md").read_text(encoding="utf-8")
    request = json.loads((tmp_path / "0001.request.json").read_text(encoding="utf-8"))
    assert request["messages"] == body["messages"]


def test_a_person_can_call_tools(tmp_path: Path) -> None:
    with practice(chair=ByHand(tmp_path)) as endpoint:
        calls = [{"name": "look_up", "arguments": {"key": "A"}}]
        person = answer_when_asked(tmp_path, "0001.answer.json", json.dumps({"calls": calls}))
        message = endpoint.answer(worker("Look up <text>.", ANSWER, NOTE))
        person.join()
    assert message["tool_calls"][0]["function"] == {"name": "look_up", "arguments": '{"key":"A"}'}


def test_an_answer_that_is_no_json_is_said_to_the_caller(tmp_path: Path) -> None:
    with practice(chair=ByHand(tmp_path)) as endpoint:
        person = answer_when_asked(tmp_path, "0001.answer.json", "{oops")
        status, reply, _ = endpoint.post(worker("Summarise <text>.", ANSWER, NOTE))
        person.join()
    assert status == 500
    assert "0001.answer.json" in reply["error"]["message"]


def test_recordings_answer_the_same_requests_whatever_their_mark(tmp_path: Path) -> None:
    with practice(chair=Recorder(Rules(), tmp_path)) as endpoint:
        said = endpoint.answer(worker("Summarise <text>.", ANSWER, NOTE, nonce="aaaa"))
    with practice_process("--replay", str(tmp_path)) as (endpoint, _):
        again = endpoint.answer(worker("Summarise <text>.", ANSWER, NOTE, nonce="Zq81"))
        assert again == said
        status, reply, _ = endpoint.post(worker("Translate <text>.", ANSWER, NOTE))
    assert (status, reply["error"]["type"]) == (404, "not_recorded")


def test_a_request_that_came_twice_is_answered_in_turn(tmp_path: Path) -> None:
    by_hand, kept = tmp_path / "hand", tmp_path / "kept"
    body = worker("Summarise <text>.", ANSWER, NOTE)
    with practice(chair=Recorder(ByHand(by_hand), kept)) as endpoint:
        for number, word in ((1, "first"), (2, "second")):
            person = answer_when_asked(by_hand, f"000{number}.answer.txt", word)
            endpoint.answer(body)
            person.join()
    with practice(chair=Replay(kept)) as endpoint:
        said = [endpoint.answer(body)["content"] for _ in range(3)]
    assert said == ["first", "second", "second"]
