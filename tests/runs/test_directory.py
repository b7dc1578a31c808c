"""Run directories: private, found by what people type; commands as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from apwa.runs import create_run, find_run, list_runs, send_command
from apwa.runs.control_files import take_commands
from apwa.vocabulary import Cancel, Misuse, Pause


def _run(home: Path):
    run = create_run(home)
    run.journal.path.touch()
    return run


def test_a_runs_directory_is_its_owners_alone(tmp_path: Path) -> None:
    run = create_run(tmp_path / "home")
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home" / ".gitignore").read_text() == "*\n"


def test_a_run_is_found_by_what_people_type(tmp_path: Path) -> None:
    first, second = _run(tmp_path), _run(tmp_path)
    assert find_run(tmp_path, first.name) == first
    assert find_run(tmp_path, first.name[-4:]) == first
    assert find_run(tmp_path, "last") == list_runs(tmp_path)[-1]
    assert {run.name for run in list_runs(tmp_path)} == {first.name, second.name}


def test_a_doubtful_or_unknown_name_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="no runs"):
        find_run(tmp_path, "last")
    first = _run(tmp_path)
    _run(tmp_path)
    with pytest.raises(Misuse, match="may be any of"):
        find_run(tmp_path, first.name[:4])
    with pytest.raises(Misuse, match="no run"):
        find_run(tmp_path, "nothing-like-it")


def test_commands_come_in_order_and_what_is_none_is_told(tmp_path: Path) -> None:
    run = _run(tmp_path)
    send_command(run, Pause())
    send_command(run, Cancel(now=True))
    (run.control / "99999999999999999999-zz.json").write_text("{broken")
    assert [command for _, command in take_commands(run)] == [Pause(), Cancel(now=True), None]
