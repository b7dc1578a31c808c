"""The journal: what is acknowledged stays, each result once, one driver."""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import subprocess
import sys
import time
import uuid
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from apwa.journal import Journal, JournalPlace, StoredResult, is_driven, open_journal, open_reader
from apwa.journal.postgres import PostgresConnection
from apwa.journal.schema import pack_key, unpack_key
from apwa.vocabulary import (
    PILOT,
    RUN,
    Attempt,
    Cancel,
    ErrorKind,
    Locked,
    Misuse,
    Paused,
    Usage,
)
from apwa.vocabulary.events import StepProgress, Trouble
from tests.postgres import Server

USAGE = Usage(1, 100, 20, cost_nusd=1500)


def result(
    ordinal: int,
    generation: int = 0,
    kind: ErrorKind | None = None,
    *,
    scope: str = RUN,
    step: str = "tag",
    answer: bytes = b'{"a":1}',
    transcript: bytes = b"",
) -> StoredResult:
    return StoredResult(
        scope=scope, step=step, ordinal=ordinal, generation=generation,
        reuse_key=ordinal.to_bytes(16, "big"), source="model", kind=kind,
        answer=b"" if kind else answer, raw="", message="why" if kind else "",
        attempts=[Attempt("c1", "m", kind, USAGE, 0.5)], duration_s=0.5, host="local",
        transcript=transcript,
    )  # fmt: skip


async def test_the_first_writer_of_a_row_wins(journal: Journal) -> None:
    assert await journal.append([result(1), result(2)]) == [True, True]
    late = result(1, answer=b'{"a":"late"}')
    assert await journal.append([late, result(3)]) == [False, True]
    (first,) = journal.reader.results(RUN, "tag", 1, 2)
    assert first.answer == b'{"a":1}'


async def test_a_late_duplicate_is_not_counted_again(journal: Journal) -> None:
    await journal.append([result(1)])
    await journal.append([result(1)])
    assert journal.reader.counts(RUN, "tag").usage == USAGE


async def test_a_result_comes_back_as_it_went_in(journal: Journal) -> None:
    kept = result(7, kind=ErrorKind.REFUSED, transcript=b"turns")
    await journal.append([kept])
    assert journal.reader.story("tag", 7) == [kept]


async def test_the_highest_generation_counts(journal: Journal) -> None:
    await journal.append([result(1, kind=ErrorKind.CONTRACT), result(2)])
    reader = journal.reader
    assert (reader.done(RUN, "tag"), reader.quarantined(RUN, "tag")) == (BitMap([2]), BitMap([1]))
    await journal.append([result(1, 1), result(2, 2, ErrorKind.TIMEOUT)])
    assert (reader.done(RUN, "tag"), reader.quarantined(RUN, "tag")) == (BitMap([1]), BitMap([2]))
    assert reader.generations(RUN, "tag") == {1: 1, 2: 2}
    assert [r.generation for r in reader.results(RUN, "tag")] == [1, 2]
    assert reader.failure_counts(RUN, "tag") == {ErrorKind.TIMEOUT: 1}
    assert [r.generation for r in reader.story("tag", 1)] == [0, 1]
    assert (reader.counts(RUN, "tag").done, reader.counts(RUN, "tag").quarantined) == (1, 1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3000), st.integers(0, 3), st.booleans()), min_size=1, max_size=200
    ),
    st.integers(1, 50),
)
async def test_a_fresh_reader_and_one_that_followed_agree(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, bool]],
    size: int,
) -> None:
    path = tmp_path_factory.mktemp("j") / "run.db"
    journal = open_journal(path)
    try:
        for start in range(0, len(rows), size):
            await journal.append(
                [
                    result(o, g, None if ok else ErrorKind.CONTRACT)
                    for o, g, ok in rows[start : start + size]
                ]
            )
            journal.reader.done(RUN, "tag")
        expected: dict[int, tuple[int, bool]] = {}
        for o, g, ok in rows:
            if o not in expected or g > expected[o][0]:
                expected[o] = (g, ok)
        fresh = open_reader(path)
        for reader in (journal.reader, fresh):
            assert reader.done(RUN, "tag") == BitMap(o for o, (_, ok) in expected.items() if ok)
            assert set(reader.quarantined(RUN, "tag")) == {
                o for o, (_, ok) in expected.items() if not ok
            }
            found = [(r.ordinal, r.generation) for r in reader.results(RUN, "tag")]
            assert found == [(o, g) for o, (g, _) in sorted(expected.items())]
        fresh.close()
    finally:
        await journal.close()


async def test_many_generations_of_many_rows_are_paged_whole(journal: Journal) -> None:
    await journal.append([result(o, g) for o in range(900) for g in range(3)])
    found = [(r.ordinal, r.generation) for r in journal.reader.results(RUN, "tag")]
    assert found == [(o, 2) for o in range(900)]
    assert [o for o, _ in journal.reader.reuse_keys(RUN, "tag")] == list(range(900))
    assert [r.ordinal for r in journal.reader.results(RUN, "tag", 10, 13)] == [10, 11, 12]


async def test_scopes_and_steps_do_not_mix(journal: Journal) -> None:
    await journal.append([result(1), result(2, scope=PILOT), result(3, step="other")])
    assert list(journal.reader.done(RUN, "tag")) == [1]
    assert list(journal.reader.done(PILOT, "tag")) == [2]
    assert list(journal.reader.done(RUN, "other")) == [3]
    assert [r.scope for r in journal.reader.story("tag", 2)] == [PILOT]


@given(st.integers(1, 1000), st.integers(0, 2**32 - 1), st.integers(0, 2**13 - 1))
def test_keys_pack_and_unpack(step: int, ordinal: int, generation: int) -> None:
    key = pack_key(step, ordinal, generation)
    assert key < 2**63
    assert unpack_key(key) == (ordinal, generation)


async def test_open_blocks_count_as_spent_whole(journal: Journal) -> None:
    first = await journal.open_block("local", Usage(10, 1000, 500, cost_nusd=9000))
    await journal.open_block("local", Usage(5, 10, 10, cost_nusd=40))
    await journal.close_block(first, Usage(3, 200, 100, cost_nusd=1000))
    assert journal.reader.spent() == Usage(8, 210, 110, cost_nusd=1040)


async def test_turns_plans_facts_and_events_come_back_in_order(journal: Journal) -> None:
    await journal.add_plan("apwa: 1", "first")
    second = await journal.add_plan("apwa: 1\n", "second")
    await journal.add_turn(b'{"role":"user"}', USAGE, second.version)
    await journal.put_fact("x", b"1")
    await journal.put_fact("x", b"2")
    await journal.take_command(Cancel())
    numbers = [(await journal.add_event(Trouble("k", str(n)))).number for n in range(5)]
    reader = journal.reader
    assert [plan.reason for plan in reader.plans()] == ["first", "second"]
    assert [(t.message, t.usage, t.plan_version) for t in reader.turns()] == [
        (b'{"role":"user"}', USAGE, second.version)
    ]
    assert reader.fact("x") == b"2" and reader.fact("y") is None
    assert numbers == [1, 2, 3, 4, 5]
    assert [n.number for n in reader.events(since=2, limit=2)] == [3, 4]


async def test_old_progress_is_coarsened_and_other_events_stay(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress = StepProgress(RUN, "tag", 10, 1, 0, 0, 1, USAGE, 1.0)
    now = time.time()
    clock = now - 3600
    monkeypatch.setattr(time, "time", lambda: clock)
    for _ in range(400):
        clock += 1
        await journal.add_event(progress)
    await journal.add_event(Trouble("k", "kept"))
    clock = now
    for _ in range(400):
        await journal.add_event(progress)
    events = journal.reader.events(limit=10_000)
    old = [e for e in events if e.at < now - 1000 and isinstance(e.event, StepProgress)]
    assert 40 <= len(old) <= 42
    assert sum(isinstance(e.event, Trouble) for e in events) == 1


async def test_a_second_driver_is_refused_and_readers_are_not(journal: Journal, path: Path) -> None:
    await journal.append([result(1)])
    code = (
        "import sys; from pathlib import Path; from apwa.journal import *;"
        "p = Path(sys.argv[1]); print(len(open_reader(p).done('run', 'tag')), is_driven(p));"
        "open_journal(p)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "True"]
    assert "Locked" in done.stderr and "drives this run" in done.stderr


async def test_the_lock_ends_with_its_holder(path: Path) -> None:
    first = open_journal(path)
    assert is_driven(path)
    await first.close()
    assert not is_driven(path)
    second = open_journal(path)
    assert second.epoch == first.epoch + 1
    await second.close()


async def test_a_write_of_an_older_epoch_is_refused(journal: Journal, path: Path) -> None:
    await journal.append([result(1)])
    other = JournalPlace(path).store.connect(write=True)
    other.run("UPDATE facts SET value = ? WHERE name = 'epoch'", (b"99",))
    other.close()
    with pytest.raises(Locked):
        await journal.append([result(2)])
    assert list(journal.reader.done(RUN, "tag")) == [1]


async def test_a_full_disk_pauses_and_loses_nothing(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "run.db")
    await journal.append([result(1)])
    connection = journal._connection  # pyright: ignore
    ((pages,),) = connection.all("PRAGMA page_count")
    connection.run(f"PRAGMA max_page_count = {pages + 4}")
    with pytest.raises(Paused, match="full"):
        await journal.append([result(n, answer=b"x" * 10_000) for n in range(2, 40)])
    assert list(journal.reader.done(RUN, "tag")) == [1]
    connection.run("PRAGMA max_page_count = 1000000")
    assert await journal.append([result(2)]) == [True]
    await journal.close()


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "run.db").write_text("this is a text of somebody, not a database" * 100)
    with pytest.raises(Misuse, match="no journal"):
        open_reader(tmp_path / "run.db")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    with pytest.raises(Misuse, match="no journal"):
        open_reader(tmp_path / "other.db")


async def test_a_journal_of_a_newer_apwa_is_named(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "run.db")
    await journal.close()
    other = sqlite3.connect(tmp_path / "run.db")
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(Misuse, match="newer apwa"):
        open_reader(tmp_path / "run.db")


WRITER = """
import asyncio, sys
from pathlib import Path
from apwa.journal import open_journal
from tests.journal.test_journal import result

async def main():
    journal = open_journal(Path(sys.argv[1]))
    start = int(sys.argv[2])
    for first in range(start, start + 100_000, 50):
        await journal.append([result(n) for n in range(first, first + 50)])
        print(first + 50, flush=True)

asyncio.run(main())
"""


async def test_what_was_acknowledged_survives_kill_9(path: Path) -> None:
    chance, start = random.Random(5), 0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(start)],
            stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert process.stdout is not None
        acknowledged = start
        for _ in range(chance.randint(1, 60)):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.wait()
        reader = open_reader(path)
        done = reader.done(RUN, "tag")
        counts = reader.counts(RUN, "tag")
        assert len(done) >= acknowledged and done == BitMap(range(len(done)))
        assert counts.usage.calls == len(done)
        assert len(done) % 50 == 0, "a batch is there whole or not at all"
        reader.close()
        start = len(done)


async def test_a_reader_in_another_process_sees_commits_as_they_come(
    journal: Journal, path: Path
) -> None:
    code = (
        "import sys, json; from pathlib import Path; from apwa.journal import open_reader\n"
        "r = open_reader(Path(sys.argv[1]))\n"
        "for line in sys.stdin: print(json.dumps(list(r.done('run', 'tag'))), flush=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    for n in range(3):
        await journal.append([result(n)])
        process.stdin.write("\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline()) == list(range(n + 1))
    process.communicate()


async def test_a_strangers_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "run.db")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    before = (tmp_path / "run.db").read_bytes()
    with pytest.raises(Misuse, match="no journal"):
        open_journal(tmp_path / "run.db")
    assert (tmp_path / "run.db").read_bytes() == before


async def test_half_a_surrogate_pair_harms_no_other_row(journal: Journal) -> None:
    odd = msgspec.structs.replace(result(1), raw="half \ud800 pair")
    assert await journal.append([odd, result(2)]) == [True, True]
    assert next(journal.reader.results(RUN, "tag")).raw == "half ? pair"


async def test_a_block_is_closed_once(journal: Journal) -> None:
    block = await journal.open_block("local", USAGE)
    await journal.close_block(block, USAGE)
    await journal.close_block(block, Usage())
    assert journal.reader.spent() == USAGE


async def test_a_cancelled_write_stops_no_other(journal: Journal) -> None:
    tasks = [asyncio.create_task(journal.append([result(n)])) for n in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await journal.append([result(99)]) == [True]
    assert set(range(1, 50, 2)) <= set(journal.reader.done(RUN, "tag"))


async def test_zero_bytes_and_half_letters_come_back_as_far_as_they_can(journal: Journal) -> None:
    odd = msgspec.structs.replace(result(1), raw="a\0b \ud83d é")
    await journal.append([odd])
    (back,) = journal.reader.results(RUN, "tag")
    assert back.raw == "a\0b ? é"


async def test_a_database_that_dies_under_a_driver_costs_nothing(
    tmp_path: Path, postgres: Server
) -> None:
    """Its server is killed at random moments, and started again: each result is there once."""
    path = tmp_path / f"run-{uuid.uuid4().hex[:12]}" / "run.db"
    path.parent.mkdir()
    JournalPlace(path).keep_url(postgres.url)
    journal = open_journal(path)
    chance = random.Random(3)
    numbers: list[int] = []

    async def write(first: int) -> None:
        for n in range(first, first + 3000, 20):
            await journal.append([result(n + k) for k in range(20)])
            numbers.append((await journal.add_event(Trouble("t", str(n)))).number)
            block = await journal.open_block("h", USAGE)
            await journal.close_block(block, USAGE)

    for round_ in range(3):
        writing = asyncio.create_task(write(round_ * 3000))
        await asyncio.sleep(chance.uniform(0.05, 0.4))
        postgres.kill()
        await asyncio.sleep(chance.uniform(0.0, 0.5))
        await asyncio.to_thread(postgres.start)
        await writing
    assert is_driven(path)
    reader = journal.reader
    assert len(reader.done(RUN, "tag")) == 9000
    assert reader.counts(RUN, "tag").usage.calls == 9000
    events = reader.events(limit=10_000)
    assert [e.number for e in events] == numbers and len(events) == 450
    assert reader.spent().calls == 450 and all(b.spent is not None for b in reader.blocks())
    await journal.close()


async def test_a_database_that_stays_away_pauses_the_run(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apwa.journal.writer._RECONNECT_S", 1.0)
    path = tmp_path / f"run-{uuid.uuid4().hex[:12]}" / "run.db"
    path.parent.mkdir()
    JournalPlace(path).keep_url(postgres.url)
    journal = open_journal(path)
    await journal.append([result(1)])
    postgres.kill()
    try:
        with pytest.raises(Paused, match="cannot be written"):
            await journal.append([result(2)])
    finally:
        await asyncio.to_thread(postgres.start)
    await journal.close()
    again = open_journal(path)
    assert list(again.reader.done(RUN, "tag")) == [1]
    await again.close()


def test_a_password_is_kept_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = JournalPlace(tmp_path / "run.db")
    url = "postgresql://anna:s3cret@db.example:5432/runs?sslmode=require"
    place.keep_url(url)
    assert place.url == "postgresql://anna@db.example:5432/runs?sslmode=require"
    assert "s3cret" not in (tmp_path / "journal.url").read_text()
    monkeypatch.setenv("APWA_JOURNAL", url)
    assert place.url == url and "s3cret" not in place.shown


def test_a_database_that_cannot_be_reached_is_named(tmp_path: Path) -> None:
    place = JournalPlace(tmp_path / "run.db")
    place.keep_url("postgresql://anna:s3cret@127.0.0.1:9/runs")
    with pytest.raises(Misuse, match="cannot be reached") as caught:
        open_journal(place)
    assert "PGPASSWORD" in caught.value.todo and "s3cret" not in str(caught.value)


async def test_a_first_batch_whose_commit_brought_no_answer_costs_nothing(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    path = tmp_path / f"run-{uuid.uuid4().hex[:12]}" / "run.db"
    path.parent.mkdir()
    JournalPlace(path).keep_url(postgres.url)
    journal = open_journal(path)
    commit, faults = PostgresConnection.commit, [True]

    def breaks(self: PostgresConnection) -> None:
        commit(self)
        if faults:
            faults.pop()
            raise psycopg.OperationalError("nobody heard of it")

    monkeypatch.setattr(PostgresConnection, "commit", breaks)
    assert await journal.append([result(1)]) == [True]
    assert await journal.append([result(1), result(2)]) == [False, True]
    assert not faults and len(journal.reader.done(RUN, "tag")) == 2
    await journal.close()
