"""Spending in the journal: exact, in few rows, whatever is killed."""

from __future__ import annotations

import random
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import pytest

from apwa.journal import Journal, JournalPlace, JournalReader, open_journal, open_reader
from apwa.journal.postgres import PostgresConnection
from apwa.journal.spending import encode_usage
from apwa.vocabulary import Usage
from tests.postgres import Server

USAGE = Usage(3, 100, 20, 7, 5, 1500)


async def test_spending_without_blocks_is_a_row_for_each_holder_and_epoch(path: Path) -> None:
    for epoch in (1, 2):
        journal = open_journal(path)
        for _ in range(100):
            await journal.add_spent({f"h{n}/e": USAGE for n in range(5)})
        await journal.close()
        with _reading(path) as reader:
            assert len(reader.blocks()) == 5 * epoch
            assert reader.spent() == _times(USAGE, 500 * epoch)


async def test_closed_blocks_are_a_row_for_each_holder_and_no_number_comes_twice(
    journal: Journal,
) -> None:
    chance = random.Random(1)
    numbers: list[int] = []
    open_: list[int] = []
    for n in range(120):
        open_.append(await journal.open_block(f"h{n % 3}/e", _times(USAGE, 2)))
        numbers.append(open_[-1])
        if len(open_) > 4:
            await journal.close_block(open_.pop(chance.randrange(len(open_))), USAGE)
    assert len(set(numbers)) == len(numbers)
    blocks = journal.reader.blocks()
    assert sorted(b.id for b in blocks if b.spent is None) == open_
    assert len(blocks) == len(open_) + 3
    assert journal.reader.spent() == _times(USAGE, 116 + 2 * len(open_))
    for block in numbers:
        await journal.close_block(block, USAGE)
        await journal.close_block(block, Usage(1000))
    assert journal.reader.spent() == _times(USAGE, 120)
    assert len(journal.reader.blocks()) == 3


@pytest.mark.parametrize("unknown", [0.0, 0.05])
async def test_spending_is_exact_however_it_came(path: Path, unknown: float) -> None:
    """Also after a change of drivers, and with rows that an earlier version has left."""
    chance = random.Random(int(unknown * 100))

    def some() -> Usage:
        cost = None if chance.random() < unknown else chance.choice([0, 7, 10**15])
        return Usage(*(chance.choice([0, 1, 10**12]) for _ in range(5)), cost)

    before = [some() for _ in range(20)]
    expected = sum(before, start=Usage())
    await open_journal(path).close()
    with closing(JournalPlace(path).store.connect(write=True)) as connection:
        for n, usage in enumerate(before):  # each had a row of its own
            connection.run(
                "INSERT INTO blocks (holder, reserved, spent) VALUES (?, ?, ?)",
                (f"h{n % 2}/e", encode_usage(Usage(9, 9)), encode_usage(usage)),
            )
    for _ in range(3):
        journal = open_journal(path)
        open_: dict[int, Usage] = {}
        for _ in range(60):
            added = {f"h{n}/e": some() for n in range(2)}
            await journal.add_spent(added)
            expected = sum(added.values(), start=expected)
            limit = some()
            open_[await journal.open_block(f"h{chance.randrange(3)}/e", limit)] = limit
            if len(open_) > 3:
                block = chance.choice([*open_])
                del open_[block]
                spent = some()
                await journal.close_block(block, spent)
                expected += spent
            assert journal.reader.spent() == sum(open_.values(), start=expected)
        expected = sum(open_.values(), start=expected)  # they stay open, and count whole
        await journal.close()
    assert (expected.cost_nusd is None) == bool(unknown)
    with _reading(path) as reader:
        assert reader.spent() == expected
        assert len(reader.blocks()) <= 20 + 3 * (3 + 3)


KILLED = """
import asyncio, os, shutil, signal, sys
from pathlib import Path
from apwa.journal import open_journal
from apwa.journal.postgres import PostgresConnection
from apwa.journal.sqlite import SqliteConnection
from apwa.vocabulary import Usage

async def work(path, left):
    journal = open_journal(path)
    for holder in "hg":  # the sums of both have a row
        await journal.close_block(await journal.open_block(holder, Usage(9)), Usage(1))
    block = await journal.open_block("h", Usage(1000))
    for kind in (SqliteConnection, PostgresConnection):
        for name in ("begin", "all", "run", "commit"):
            setattr(kind, name, counted(getattr(kind, name), left))
    await asyncio.gather(
        journal.close_block(block, Usage(10)),
        journal.add_spent({"h": Usage(100), "g": Usage(200), "new": Usage(300)}),
    )

def counted(method, left):
    def call(*arguments):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments)
    return call

base, n = Path(sys.argv[1]), 0
killed = True
while killed:
    n += 1
    path = base.parent.with_name(f"{base.parent.name}-{n}") / "run.db"
    path.parent.mkdir()
    if (url := base.with_name("journal.url")).exists():
        shutil.copy(url, path.parent)
    child = os.fork()
    if not child:
        asyncio.run(work(path, [n]))
        os._exit(0)
    killed = os.waitpid(child, 0)[1] != 0
    print(path, flush=True)
"""


def test_a_kill_between_any_two_statements_loses_no_spending(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, path], capture_output=True, text=True, check=True
    )
    found: list[int] = []
    for line in done.stdout.split():
        with _reading(Path(line)) as reader:
            found.append(reader.spent().calls)
    assert len(found) > 6
    assert found == sorted(found, key=[1002, 12, 612].index), "whole, closed, then all added"
    assert (found[0], found[-1]) == (1002, 612)


async def test_spending_whose_commit_brought_no_answer_counts_once(
    tmp_path: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    path = tmp_path / f"run-{uuid.uuid4().hex[:12]}" / "run.db"
    path.parent.mkdir()
    JournalPlace(path).keep_url(postgres.url)
    journal = open_journal(path)
    commit, faults = PostgresConnection.commit, ["", "after", "before", "", "after", "after"]

    def breaks(self: PostgresConnection) -> None:
        fault = faults.pop() if faults else ""
        if fault == "before":
            raise psycopg.OperationalError("it was not committed")
        commit(self)
        if fault == "after":
            raise psycopg.OperationalError("it was, and nobody heard of it")

    monkeypatch.setattr(PostgresConnection, "commit", breaks)
    for n in range(1, 9):
        await journal.add_spent({"h": Usage(1), "g": Usage(10)})
        block = await journal.open_block("h", Usage(1000))
        await journal.close_block(block, Usage(100))
        assert journal.reader.spent().calls == 111 * n
    assert not faults
    await journal.close()


def _times(usage: Usage, times: int) -> Usage:
    return sum([usage] * times, start=Usage())


def _reading(path: Path) -> closing[JournalReader]:
    return closing(open_reader(path))
