"""Kinds, identities, errors, commands and events: the small promises of the vocabulary."""

import time

import msgspec
import pytest

from apwa.vocabulary import (
    Cancel,
    Caps,
    ChangeLimits,
    ErrorKind,
    Follow,
    Misuse,
    PlanError,
    Problem,
    Scope,
    Usage,
    decode_command,
    encode_command,
    new_run_id,
    reuse_key,
)
from apwa.vocabulary.events import StepClosed, decode_event, encode_event


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_every_kind_says_how_far_it_reaches_and_what_to_do(kind):
    assert kind.remedy.endswith(".")
    assert (kind.scope is Scope.ENDPOINT) == (kind.follow is Follow.WAIT)
    assert (kind.scope is Scope.RUN) == (kind.follow is Follow.PAUSE)


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_only_a_rows_own_failure_costs_it_an_attempt(kind):
    assert not (kind.charges and kind.scope is not Scope.ROW)


def test_equal_requests_have_equal_reuse_keys_and_others_do_not():
    assert reuse_key(b"p", b"v") == reuse_key(b"p", b"v")
    assert len({reuse_key(b"p", b"v"), reuse_key(b"q", b"v"), reuse_key(b"p", b"w")}) == 3


def test_run_ids_differ_within_one_second():
    assert len({new_run_id() for _ in range(100)}) > 90
    earlier = new_run_id()
    time.sleep(0.005)
    assert earlier < new_run_id()


def test_an_error_says_what_where_and_what_to_do():
    error = Misuse("no such table", "notes.csv", "Check the path.")
    assert str(error) == "notes.csv: no such table\n  Check the path."
    assert error.exit_code == 2


def test_a_plan_error_names_every_problem_with_its_place():
    error = PlanError([Problem("unknown column", "steps.a", 3, 5), Problem("cycle", "steps.b")])
    assert "line 3, column 5: steps.a: unknown column" in str(error)
    assert "steps.b: cycle" in str(error)


@pytest.mark.parametrize("command", [Cancel(now=True), ChangeLimits(Caps(calls=3), 8, 0.1)])
def test_a_command_survives_its_file(command):
    assert decode_command(encode_command(command)) == command


def test_what_is_no_command_is_refused():
    with pytest.raises(msgspec.ValidationError):
        decode_command(b'{"type":"Explode"}')


def test_an_event_survives_the_journal():
    event = StepClosed("run", "redacted", 3, 2, 1, 0, Usage(3, 30, 9, 0, 0, 12))
    assert decode_event(encode_event(event)) == event
