from __future__ import annotations

import io
import json
import subprocess
import sys

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from apwa.cli.display import make_display, picture_of
from apwa.cli.display.live import LiveDisplay, drawing
from apwa.cli.display.plain import PlainDisplay
from apwa.cli.display.sentences import standing
from apwa.vocabulary import RUN
from apwa.vocabulary.events import ApprovalNeeded, InputFetched, Numbered, RunStarted, StepOpened
from apwa.vocabulary.numbers import data_size, duration, money, rate, share

from .story import ESCAPES, cluster_story, progress, story

OBEYED = [chr(n) for n in (*range(0x0A), *range(0x0B, 0x20), *range(0x7F, 0xA0), 0x202E)]

GOLDEN = """\
[0 s] run 20261126-k3f9 started with openai:m
[1 s] table notes: 1,824 rows, 3 columns
[2 s] endpoint openai: model m, answers held by json_schema, context 128,000 tokens, \
price $1 in; asked
[3 s] host local joined
[4 s] manager: sample: 3 rows of notes
[5 s] manager: One template does it.
[6 s] plan version 1: redact (first try)
[7 s] pilot of redact: template over 10 rows
[8 s] pilot of redact: 10 rows = 9 done + 1 quarantined + 0 skipped; 1,320 tokens, $0.0001
[9 s] pilot done: 10 answers, 1 failed; forecast of the full run: 200,000 tokens (150,000 to \
300,000), $0.0220 ($0.0200 to $0.0300), 15 s (10 s to 1 min 5 s)
[10 s] plan version 1 approved by --yes
[11 s] redact: template over 1,824 rows, 24 done before
[14 s] notice in redact: rate_limited: slow down
[16 s] notice in redact: rate_limited: slow down (80 times)
[18 s] redact: 1,824 rows = 1,800 done + 24 quarantined + 0 skipped; 200,640 tokens, $0.0225
[19 s] ended: done; 200,640 tokens, $0.0225
"""


def shown(kind: str, events: list[Numbered]) -> str:
    stream = io.StringIO()
    display = make_display(kind, stream)
    for numbered in events:
        display.show(numbered)
    display.close()
    return stream.getvalue()


def test_a_run_in_plain_lines():
    assert shown("plain", story()) == GOLDEN


def test_plain_lines_are_never_silent_for_ten_seconds():
    stream = io.StringIO()
    display = PlainDisplay(stream)
    started = RunStarted("r", "Redact", ["m"], False)
    heard = {0: started, 60: StepOpened(RUN, "redact", "template", 1824)}
    last_length, last_line = 0, 0.0
    for half_seconds in range(300):
        now = 500.0 + half_seconds / 2
        if half_seconds in heard:
            display.show(Numbered(half_seconds + 1, now, heard[half_seconds]))
        if half_seconds > 60:
            display.show(Numbered(half_seconds + 1, now, progress(half_seconds)))
        display.tick(now)
        if len(stream.getvalue()) > last_length:
            last_length, last_line = len(stream.getvalue()), now
        assert now - last_line <= 10 or half_seconds == 0
    lines = stream.getvalue().splitlines()
    assert lines[1].endswith("waiting for the model's first answer")
    assert lines[-1].endswith("16 in flight, the endpoint sets the pace, slowest: row 17, for 12 s")
    assert " of 1,824 done (1" in lines[-1] and "120 rows/s" in lines[-1]
    assert len(lines) < 20, "and they are no flood"


def test_nothing_is_said_over_a_question():
    stream = io.StringIO()
    display = PlainDisplay(stream)
    display.tick(1.0)
    display.show(Numbered(1, 1.0, RunStarted("r", "Redact", ["m"], False)))
    display.show(Numbered(2, 1.0, ApprovalNeeded(1, "the plan waits for approval")))
    before = stream.getvalue()
    display.pause()
    display.tick(100.0)
    assert stream.getvalue() == before
    display.unpause()
    display.tick(120.0)
    assert "waiting: the plan waits for approval" in stream.getvalue()[len(before) :]


def test_json_lines_are_the_events_themselves():
    lines = shown("json", story(ESCAPES)).splitlines()
    assert [msgspec.json.decode(line, type=Numbered) for line in lines] == story(ESCAPES)
    assert all(line.isascii() for line in lines)
    assert json.loads(lines[0])["event"]["run"] == "20261126-k3f9"


def test_none_shows_nothing():
    assert shown("none", story()) == ""


@pytest.mark.parametrize("kind", ["plain", "json", "rich"])
def test_what_a_model_says_cannot_steer_the_terminal(kind: str):
    text = shown(kind, story(ESCAPES))
    assert text
    assert not [hex(ord(c)) for c in OBEYED if c in text]


def test_plain_lines_stay_one_line_each_whatever_a_model_says():
    assert len(shown("plain", story(ESCAPES)).splitlines()) == len(GOLDEN.splitlines())


@pytest.mark.parametrize("width", range(60, 141, 10))
@pytest.mark.parametrize("spice", ["", ESCAPES, " long" * 40, "長い名前" * 20])
def test_the_live_view_fits_any_width(width: int, spice: str):
    for place in range(1, len(story()) + 1):
        picture = picture_of(story(spice)[:place])
        stream = io.StringIO()
        console = Console(file=stream, width=width, color_system=None)
        console.print(drawing(picture, 65.0))
        for line in stream.getvalue().splitlines():
            assert cell_len(line) <= width
        assert not [hex(ord(c)) for c in OBEYED if c in stream.getvalue()]


def test_the_live_view_of_millions_of_rows_fits_a_narrow_terminal():
    rows = 123_456_789
    events = [StepOpened(RUN, "s" * 40, "template", rows), progress(rows // 2, rows=rows)]
    picture = picture_of([Numbered(n, 0.0, event) for n, event in enumerate(events, 1)])
    stream = io.StringIO()
    Console(file=stream, width=60, color_system=None).print(drawing(picture, 1e7))
    assert max(cell_len(line) for line in stream.getvalue().splitlines()) <= 60
    assert "61,728,394/123,456,789 50 %" in stream.getvalue()


def test_the_live_view_shows_each_step_with_its_counts():
    stream = io.StringIO()
    console = Console(file=stream, width=100, color_system=None)
    console.print(drawing(picture_of(story()[:14]), 65.0))
    text = " ".join(stream.getvalue().split())
    assert "1 min 5 s" in text and "400/1,824 22 %" in text and "pilot of redact" in text
    assert "8 retries" in text and "the endpoint sets the pace" in text
    assert "One template does it." in text


def test_the_live_view_moves_and_leaves_its_lines_behind():
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100, no_color=True)
    display = LiveDisplay(stream, console)
    for n, numbered in enumerate(story()):
        display.tick(float(n))
        display.show(numbered)
    before = len(stream.getvalue())
    display.tick(99.0)
    assert len(stream.getvalue()) > before
    display.pause()
    before = len(stream.getvalue())
    display.tick(100.0)
    assert len(stream.getvalue()) == before
    display.close()
    assert "plan version 1: redact" in stream.getvalue()


@pytest.mark.parametrize("kind", ["plain", "rich"])
def test_the_practice_model_is_called_what_it_is(kind: str):
    text = shown(kind, [Numbered(1, 1.0, RunStarted("r", "Redact", ["practice"], True))])
    assert "rules that only play a model" in " ".join(text.split())


def test_where_no_terminal_is_lines_are_plain(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert isinstance(make_display("auto", io.StringIO()), PlainDisplay)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(make_display("auto", Terminal()), LiveDisplay)
    monkeypatch.setenv("CI", "1")
    assert isinstance(make_display("auto", Terminal()), PlainDisplay)


def test_no_color_is_obeyed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    console.print(drawing(picture_of(story()[:14]), 1.0))
    assert "\x1b[3" not in stream.getvalue()  # no foreground colour


def test_the_drawing_library_is_loaded_only_for_drawing():
    code = (
        "import sys, apwa.cli.display as d; d.make_display('plain'); print('rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_numbers_read_well():
    assert [duration(s) for s in (0.4, 59.6, 65, 3600, 7380, 100_000)] == [
        "0 s", "1 min", "1 min 5 s", "1 h", "2 h 3 min", "1 d 3 h",
    ]  # fmt: skip
    assert [money(n) for n in (None, 0, 1_000, 12_300_000, 1_234_500_000_000)] == [
        "cost unknown", "$0.00", "under $0.0001", "$0.0123", "$1,234.50",
    ]  # fmt: skip
    assert [rate(r) for r in (1234.4, 2.25, 0.05)] == ["1,234 rows/s", "2.2 rows/s", "3.0 rows/min"]
    assert [share(1, 3), share(1823, 1824), share(5, 5), share(0, 0)] == [
        "33 %", "99 %", "100 %", "100 %",
    ]  # fmt: skip


def test_a_cluster_and_its_hosts_are_shown() -> None:
    lines = shown("plain", cluster_story()).splitlines()
    assert any(
        "the Ray cluster 192.0.2.1:6379: 2 nodes, 4 CPUs, 1 GPUs; Ray's dashboard:"
        " http://192.0.2.1:8265" in line
        for line in lines
    )
    assert any("host h0 lost (5 leases taken back)" in line for line in lines)
    stream = io.StringIO()
    Console(file=stream, width=100, color_system=None).print(
        drawing(picture_of(cluster_story()), 5.0)
    )
    text = " ".join(stream.getvalue().split())
    assert "2 hosts on 2 nodes, 1 lost; in flight: h1 6 · h2 7" in text


def test_no_word_of_a_host_reaches_the_terminal_as_a_command() -> None:
    assert len(shown("plain", cluster_story(ESCAPES)).splitlines()) == len(
        shown("plain", cluster_story()).splitlines()
    )
    assert "\x1b" not in shown("plain", cluster_story(ESCAPES))


def test_an_input_on_its_way_is_said_and_no_word_of_it_is_a_command() -> None:
    def fetched(files: int, size: int, whole: int | None) -> InputFetched:
        return InputFetched(f"notes{ESCAPES}", f"s3://b/in{ESCAPES}", files, 2, size, whole)

    events = [Numbered(n, 500.0, fetched(n - 1, 600 * n, 2_400_000)) for n in (1, 2)]
    (line,) = standing(picture_of(events))
    assert line.startswith("table notes") and "1 of 2 files, 1.2 kB of 2.4 MB, fetched from" in line
    assert not any(c in line for c in OBEYED)
    ended = shown("plain", [*events, Numbered(3, 501.0, fetched(2, 2_400_000, None))])
    assert ended.count("\n") == 1 and "2 of 2 files, 2.4 MB, fetched from" in ended
    assert data_size(999) == "999 bytes" and data_size(5 * 10**15) == "5,000.0 TB"
