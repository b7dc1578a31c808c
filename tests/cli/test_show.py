"""Everything about one row: what was sent, what came back, what each call took."""

from __future__ import annotations

import json
from pathlib import Path

from tests.canary import CANARY
from tests.cli.conftest import Apwa, write_notes
from tests.shell import needs_curl, sent_again

PLAN = """\
apwa: 1
steps:
  redact:
    template: Replace every piece of personal information in {{text}} with a tag such as [NAME].
    over: notes
    contract: {redacted: str}
    parameters: {temperature: 0.4}
    limits: {output_tokens: 60}
answer: redact
"""


def _run(apwa: Apwa, tmp_path: Path, model: str, *more: str) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    write_notes(tmp_path / "notes.jsonl", 5)
    arguments = ("run", "plan.yaml", "-t", "notes=notes.jsonl", "--model", model, "--yes")
    ended = apwa(*arguments, *more, APWA_PILOT="false")
    assert ended.returncode in (0, 3), ended.stderr


@needs_curl
def test_the_request_of_a_row_can_be_sent_again_by_a_shell(
    apwa: Apwa, tmp_path: Path, practice
) -> None:
    served = practice("refuse_param=temperature")
    _run(apwa, tmp_path, served.model)
    shown = apwa("show", "last", "--row", "3").stdout
    line = shown[shown.index("curl ") :]
    assert '"authorization: Bearer $APWA_API_KEY"' in line and CANARY not in shown
    assert "temperature" not in line  # as it was sent: without what the endpoint refuses
    content = json.loads(sent_again(line))["choices"][0]["message"]["content"]
    assert f"answer {content}" in shown


def test_each_calls_tokens_stand_on_its_row_those_of_thoughts_apart(
    apwa: Apwa, tmp_path: Path
) -> None:
    _run(apwa, tmp_path, "practice:costume=reasons", "-o", "out.jsonl", "--with-stats")
    shown = apwa("show", "last", "--row", "1").stdout
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert "(64 reasoning)" in shown
    calls = [line for line in shown.splitlines() if line.strip().startswith("call ")]
    assert len(calls) == rows[0]["_attempts"]


def test_a_conversation_is_shown_turn_by_turn(apwa: Apwa, tmp_path: Path) -> None:
    _run(apwa, tmp_path, "practice:broken,after=1")
    shown = apwa("show", "last", "--row", "2").stdout
    assert "the conversation:" in shown and "Your answer was not accepted" in shown
    assert "quarantined (contract)" in shown


def test_a_row_with_sensitive_columns_shows_no_request(apwa: Apwa, tmp_path: Path) -> None:
    _run(apwa, tmp_path, "practice", "--sensitive", "text")
    shown = apwa("show", "last", "--row", "2").stdout
    assert "curl" not in shown and "Peter" not in shown and "Miller" not in shown
