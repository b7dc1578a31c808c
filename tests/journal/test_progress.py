"""Events that come every second: all are told, few are kept, and those are the right ones."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest

from apwa.cli.display.picture import picture_of
from apwa.journal import Journal, open_journal, open_reader
from apwa.vocabulary import RUN, Usage
from apwa.vocabulary.events import Event, HostChanged, HostLoad, HostsSeen, Numbered, StepClosed

SECONDS = 900


def seen(hosts: Iterable[str], second: int) -> HostsSeen:
    return HostsSeen([HostLoad(host, f"node {host}", 64, second, 0) for host in hosts])


def last_of_each(events: Iterable[Event]) -> dict[str, HostLoad]:
    return {load.host: load for e in events if isinstance(e, HostsSeen) for load in e.hosts}


async def test_of_what_the_hosts_do_the_last_is_kept_for_each_set_and_step(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Numbered] = []
    clock = time.time() - 10_000
    monkeypatch.setattr(time, "time", lambda: clock)
    hosts = [f"h{n}" for n in range(10)]
    told += [await journal.add_event(HostChanged(host, "joined")) for host in hosts]
    ends: list[HostsSeen] = []  # the last ones of steps
    follower, since = picture_of([]), 0
    for second in range(SECONDS):
        clock += 1
        if second % 100 == 50:
            change = HostChanged(hosts.pop(0), "left")  # and some come and go and come
            told.append(await journal.add_event(change))
        crowd = hosts if second % 100 < 90 else [*hosts, "guest"]
        told.append(await journal.add_event(seen(crowd, second)))
        if second % 300 == 219:
            ends.append(seen(crowd, second))
            closed = StepClosed(RUN, f"s{second}", 1, 1, 0, 0, Usage())
            told.append(await journal.add_event(closed))
        if second % 37 == 0:  # who looks now and then sees what there is to see
            news = journal.reader.events(since)
            since = news[-1].number
            follower = picture_of(news, follower)
            assert follower == picture_of(told)
    kept = journal.reader.events()
    loads = [e.event for e in kept if isinstance(e.event, HostsSeen)]
    assert len(loads) <= 2 * 10 + len(ends)
    assert sum(isinstance(n.event, HostsSeen) for n in told) == SECONDS
    assert [n.number for n in told] == sorted({n.number for n in told})
    assert last_of_each(loads) == last_of_each(n.event for n in told)
    assert {load.host for load in last_of_each(loads).values()} == {
        *(f"h{n}" for n in range(10)), "guest",
    }  # fmt: skip
    assert all(end in loads for end in ends)
    assert picture_of(kept) == picture_of(told)
    others = [n for n in told if not isinstance(n.event, HostsSeen)]
    assert [n for n in kept if not isinstance(n.event, HostsSeen)] == others


async def test_a_later_driver_drops_nothing_of_an_earlier_one(path: Path) -> None:
    """Its hosts may be called alike, and they count anew."""
    for _ in range(2):
        journal = open_journal(path)
        for second in range(5):
            await journal.add_event(seen(["h0"], second))
        await journal.close()
    with closing(open_reader(path)) as reader:
        assert [n.event for n in reader.events()] == [seen(["h0"], 4)] * 2
