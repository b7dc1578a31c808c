"""Tables that clients send to a cluster: whole for whoever comes later, whoever goes away."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apwa.runs import TableSource
from apwa.runs.detached import sending, uploads
from apwa.runs.detached.sending import Sender
from apwa.runs.detached.uploads import Uploads
from apwa.vocabulary import BadInput, RunFailed

PIECE = 1000  # 41 of the table


class Gone(Exception):
    """The client's end."""


@pytest.fixture
def head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sending, "PIECE", PIECE)
    return tmp_path / "head"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "t.jsonl"
    path.write_bytes(os.urandom(PIECE * 20 + 7).hex().encode())
    return path


def _send(head: Path, table: Path, before: Callable[..., None] = lambda *_: None) -> str:
    """Send a table; ``before`` is told each call first. Its path there."""
    there = Uploads(head)

    def ask(method: str, *arguments: Any) -> Any:
        before(method, *arguments)
        return False if method == "has" else getattr(there, method)(*arguments)

    return Sender(ask).table(TableSource("t", str(table))).source


def _left(head: Path) -> list[str]:
    return [path.name for path in (head / "parts").iterdir()]


def _gone_at(piece: int) -> Callable[..., None]:
    def before(method: str, *arguments: Any) -> None:
        if method == "receive" and arguments[1] == piece * PIECE:
            raise Gone

    return before


@pytest.mark.parametrize("at", [0, 1, 2, 3, 20, 39, 40])
def test_two_clients_send_the_same_table_at_once(head: Path, table: Path, at: int) -> None:
    others: list[str] = []

    def before(method: str, *arguments: Any) -> None:
        if method == "receive" and arguments[1] == at * PIECE and not others:
            others.append("")
            others[0] = _send(head, table)

    path = _send(head, table, before)
    assert Path(path).read_bytes() == table.read_bytes() and others == [path]
    assert not _left(head)


@pytest.mark.parametrize("at", [0, 1, 2, 3, 20, 39, 40])
def test_one_begins_and_goes_away_while_another_sends(head: Path, table: Path, at: int) -> None:
    begun: list[str] = []

    def before(method: str, *arguments: Any) -> None:
        if method == "receive" and arguments[1] == at * PIECE and not begun:
            begun.append("")
            with pytest.raises(Gone):
                _send(head, table, _gone_at(2))

    assert Path(_send(head, table, before)).read_bytes() == table.read_bytes()
    assert len(_left(head)) == 1


def test_a_sending_that_broke_off_is_begun_again_and_its_part_goes(head: Path, table: Path) -> None:
    with pytest.raises(Gone):
        _send(head, table, _gone_at(3))
    (part,) = _left(head)
    long_ago = (head / "parts" / part).stat().st_mtime - uploads.LEFT_S - 1
    os.utime(head / "parts" / part, (long_ago, long_ago))
    calls: list[str] = []
    assert Path(_send(head, table)).read_bytes() == table.read_bytes()
    assert not _left(head)
    _send(head, table, lambda method, *_: calls.append(method))
    assert calls == ["has", "received"]  # it is there


def test_a_part_that_was_lost_is_sent_anew(head: Path, table: Path) -> None:
    lost: list[str] = []

    def before(method: str, *arguments: Any) -> None:
        if method == "receive" and arguments[1] == 3 * PIECE and not lost:
            lost.extend(_left(head))
            (head / "parts" / lost[0]).unlink()

    assert Path(_send(head, table, before)).read_bytes() == table.read_bytes()
    assert lost


def test_a_file_that_changes_on_the_way_is_said_and_not_kept(head: Path, table: Path) -> None:
    def before(method: str, *arguments: Any) -> None:
        if method == "receive" and arguments[1] == 2 * PIECE:
            with table.open("r+b") as file:
                file.seek(30 * PIECE)  # nobody has read so far ahead
                file.write(b"other")

    with pytest.raises(BadInput, match="has changed while it was sent") as error:
        _send(head, table, before)
    assert "nothing writes to it" in error.value.todo and error.value.where == str(table)
    assert not _left(head) and not [p for p in (head / "uploads").rglob("*") if p.is_file()]


def test_a_file_that_becomes_shorter_on_the_way_ends_too(head: Path, table: Path) -> None:
    def before(method: str, *arguments: Any) -> None:
        if method == "receive" and arguments[1] == 2 * PIECE:
            os.truncate(table, 20 * PIECE)

    with pytest.raises(BadInput, match="has changed while it was sent"):
        _send(head, table, before)


def test_what_is_damaged_on_the_way_is_said_and_not_kept(head: Path, table: Path) -> None:
    damaged: list[str] = []

    def before(method: str, *arguments: Any) -> None:
        if method == "whole":
            damaged.append(arguments[0])
            with (head / "parts" / arguments[0]).open("r+b") as file:
                file.write(b"damaged")

    with pytest.raises(RunFailed, match="what the cluster has got is not what was sent"):
        _send(head, table, before)
    assert len(damaged) == 3 and not _left(head)
    assert Path(_send(head, table)).read_bytes() == table.read_bytes()


def test_an_empty_file_and_a_folder_are_sent_as_they_are(head: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    (folder / "more").mkdir(parents=True)
    (folder / "a.txt").write_text("")
    (folder / "more" / "b.txt").write_text("b" * PIECE)
    there = Path(_send(head, folder))
    assert (there / "a.txt").read_bytes() == b""
    assert (there / "more" / "b.txt").read_text() == "b" * PIECE


def test_no_file_is_made_outside_of_its_upload(head: Path) -> None:
    there = Uploads(head)
    with pytest.raises(PermissionError):
        there.receive("../x", 0, b"")
    with pytest.raises(PermissionError):
        there.whole("a", "b", "../../x", "")
