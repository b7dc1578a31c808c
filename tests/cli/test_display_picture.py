from __future__ import annotations

import subprocess
import sys

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from apwa.cli.display import Picture, after, picture_of
from apwa.vocabulary import PILOT, Usage
from apwa.vocabulary.events import (
    ManagerSaid,
    Numbered,
    PlanChanged,
    RunEnded,
    RunStarted,
    StepClosed,
    StepOpened,
    Trouble,
)

from .story import progress, story

SCOPES, STEPS = st.sampled_from(["run", "pilot"]), st.sampled_from("ab")
NONE = st.just(Usage())
EVENTS = st.lists(
    st.one_of(
        st.builds(RunStarted, st.just("r"), st.text(max_size=3), st.just(["m"]), st.booleans()),
        st.builds(PlanChanged, st.integers(1, 3), st.just(["a", "b"])),
        st.builds(StepOpened, SCOPES, STEPS, st.just("query"), st.just(5)),
        st.builds(progress, st.integers(0, 9), SCOPES, STEPS),
        st.builds(StepClosed, SCOPES, STEPS, *map(st.just, (9, 7, 1, 1)), NONE),
        st.builds(Trouble, st.just("timeout"), st.sampled_from("xy"), st.integers(1, 500)),
        st.builds(ManagerSaid, st.text(max_size=5)),
    ),
    max_size=30,
).map(lambda events: [Numbered(n, float(n), event) for n, event in enumerate(events, 1)])


@given(EVENTS, st.integers(0, 30))
def test_a_picture_goes_on_from_any_place_and_twice_told_changes_nothing(
    events: list[Numbered], place: int
):
    whole = picture_of(events)
    half = picture_of(events[:place])
    assert picture_of(events[place:], half) == whole
    assert picture_of(events, half) == whole
    assert picture_of(events, whole) == whole
    encoded = msgspec.json.encode(whole)
    assert msgspec.json.decode(encoded, type=Picture) == whole


def test_two_processes_make_the_same_picture():
    code = (
        "import sys, msgspec\n"
        "from apwa.cli.display import picture_of\n"
        "from apwa.vocabulary.events import Numbered\n"
        "events = msgspec.json.decode(sys.stdin.buffer.read(), type=list[Numbered])\n"
        "sys.stdout.buffer.write(msgspec.json.encode(picture_of(events)))\n"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        input=msgspec.json.encode(story()), capture_output=True, check=True,
    )  # fmt: skip
    assert other.stdout == msgspec.json.encode(picture_of(story()))


def test_a_picture_holds_counts_pace_and_the_end():
    picture = picture_of(story())
    step = picture.steps[-1]
    assert (step.done, step.quarantined, step.skipped, step.closed) == (1800, 24, 0, True)
    assert picture.open_steps == []
    assert picture.slots == {"openai": 32}
    assert [trouble.count for trouble in picture.troubles] == [80]
    assert picture.ended is not None and picture.usage == picture.ended.usage


def test_the_pilot_of_an_older_plan_is_forgotten():
    events = story()[:10]
    assert [step.scope for step in picture_of(events).steps] == [PILOT]
    newer = after(picture_of(events), Numbered(11, 2000.0, PlanChanged(2, ["redact"])))
    assert newer.steps == [] and newer.pilot is None


def test_a_resumed_run_is_not_ended_and_counts_its_own_time():
    events = story()
    ended = picture_of(events)
    assert isinstance(events[-1].event, RunEnded)
    started = Numbered(99, 5000.0, RunStarted("r", "Redact", ["m"], False, resumed=True))
    again = after(ended, started)
    assert again.ended is None and again.elapsed_s == 0.0
    assert after(again, Numbered(100, 5003.0, progress(5))).elapsed_s == 3.0


def test_what_happens_before_the_start_belongs_to_the_run():
    started = story()[0].event
    events = [Numbered(1, 500.0, story()[1].event), Numbered(2, 502.0, started)]
    assert picture_of(events[:1]).elapsed_s == 0.0
    assert picture_of(events).elapsed_s == 2.0
