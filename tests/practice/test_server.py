"""The practice model as a server: what it says of itself, and the protocol."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import openai

from .conftest import TEXT, Endpoint, practice_process, schema, worker


def test_it_says_what_it_is_in_every_reply(model: Endpoint) -> None:
    status, reply, headers = model.post(worker("Summarise <text>.", schema(summary=TEXT), NOTE))
    assert status == 200
    assert reply["model"] == "apwa-practice"
    assert "not-a-language-model" in reply["system_fingerprint"]
    assert "practice" in headers["X-Model"]


NOTE = {"text": "The pump failed on Monday. It was repaired by noon. Nobody was hurt."}


def test_models_and_health_are_told(model: Endpoint) -> None:
    models = model.get("/v1/models")["data"]
    assert [m["id"] for m in models] == ["apwa-practice"]
    assert models[0]["context_length"] > 100_000
    assert model.get("/health")["status"] == "ok"


def test_the_same_request_brings_the_same_bytes(model: Endpoint) -> None:
    body = worker("Summarise <text>.", schema(summary=TEXT), NOTE)
    assert model.post(body)[1] == model.post(body)[1]


def test_a_prompt_too_long_is_refused_as_openai_does(model: Endpoint) -> None:
    body = worker("Summarise <text>.", schema(summary=TEXT), {"text": "word and more " * 60_000})
    status, reply, _ = model.post(body)
    assert (status, reply["error"]["code"]) == (400, "context_length_exceeded")


def test_a_request_not_understood_names_what_is_wrong(model: Endpoint) -> None:
    status, reply, _ = model.post(b'{"messages": 7}')
    assert status == 400
    assert "messages" in reply["error"]["message"]


def test_the_output_limit_cuts_an_answer_and_says_so(model: Endpoint) -> None:
    body = worker("Summarise <text>.", schema(summary=TEXT), NOTE, max_tokens=4)
    choice = model.post(body)[1]["choices"][0]
    assert choice["finish_reason"] == "length"
    assert model.post(body)[1]["usage"]["completion_tokens"] == 4


def test_a_stream_brings_the_same_answer_in_pieces(model: Endpoint) -> None:
    body = worker("Summarise <text>.", schema(summary=TEXT), NOTE)
    whole = model.answer(body)["content"]
    data = json.dumps({**body, "stream": True, "stream_options": {"include_usage": True}}).encode()
    with urllib.request.urlopen(f"{model.url}/chat/completions", data) as reply:
        assert reply.headers.get_content_type() == "text/event-stream"
        lines = [line[6:].strip() for line in reply if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    deltas = [c["choices"][0]["delta"] for c in chunks if c["choices"]]
    assert "".join(d.get("content") or "" for d in deltas) == whole
    assert len(deltas) > 3
    assert chunks[-1]["usage"]["total_tokens"] > 0


async def test_the_openai_package_can_speak_to_it(model: Endpoint) -> None:
    async with openai.AsyncOpenAI(base_url=model.url, api_key="none") as client:
        reply = await client.chat.completions.create(
            model="apwa-practice", messages=[{"role": "user", "content": NOTE["text"]}]
        )
    assert reply.choices[0].message.content


def test_it_ends_when_its_caller_is_gone() -> None:
    with practice_process() as (endpoint, process):
        assert endpoint.get("/health")["status"] == "ok"
    assert process.returncode == 0


def test_it_ends_with_a_caller_that_is_killed() -> None:
    code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen([sys.executable, '-m', 'apwa.practice', '--until-eof'],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)\n"
        "print(p.pid, p.stdout.readline(), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline().split()[0])
    with os.fdopen(os.pidfd_open(child)) as alive:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        parent.stdout.close()
        assert select.select([alive], [], [], 100)[0], "the practice model outlives its caller"


def test_sigterm_ends_it_well() -> None:
    with practice_process() as (_, process):
        process.terminate()
        assert process.wait(timeout=100) == 0


def test_faults_not_understood_end_it_with_words(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "apwa.practice", "--faults", "flood=0.5"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 2
    assert "flood" in done.stderr and "429" in done.stderr
    assert done.stdout == ""
