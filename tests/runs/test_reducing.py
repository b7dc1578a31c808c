"""Packing: every item in one node, in order, level by level, down to one row a group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from apwa.journal import StoredResult
from apwa.plan import Reduce
from apwa.runs.reducing import Item, Node, expected_nodes, finished, next_items, pack
from apwa.vocabulary import RUN, ErrorKind


def _result(ordinal: int, kind: ErrorKind | None = None) -> StoredResult:
    return StoredResult(
        scope=RUN, step="all", ordinal=ordinal, generation=0, reuse_key=b"", source="model",
        kind=kind, answer=b'{"summary":"s"}', raw="", message="", attempts=[], duration_s=0,
        host="local",
    )  # fmt: skip


@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=200),
    st.integers(2, 9),
    st.one_of(st.none(), st.integers(10, 500)),
    st.sets(st.integers(0, 60)),
)
def test_every_row_is_in_one_answer_or_named_as_missing(
    groups: list[int], fan_in: int, tokens: int | None, lost: set[int]
) -> None:
    reduce = Reduce(by=["g"], fan_in=fan_in, tokens=tokens)
    items = [Item(group, n, 7 * (n % 9), 1) for n, group in enumerate(groups)]
    keys = [str(group) for group in range(5)]
    level, ordinal = 1, 0
    while not finished(items) or level == 1:
        slots = pack(items, level, reduce, ordinal)
        nodes = [slot for slot in slots if isinstance(slot, Node)]
        assert [node.ordinal for node in nodes] == list(range(ordinal, ordinal + len(nodes)))
        assert all(len(node.children) <= fan_in for node in nodes)
        ordinal += len(nodes)
        results = {
            node.ordinal: _result(
                node.ordinal, ErrorKind.CONTRACT if node.ordinal in lost else None
            )
            for node in nodes
        }
        smaller = next_items(slots, results, keys)
        assert len(smaller) < len(items) or level == 1
        items = smaller
        level += 1
    assert {item.group for item in items} == set(groups)
    for item in items:
        expected = groups.count(item.group)
        assert item.items == expected or item.missing


def test_a_quarantined_node_is_named_in_its_parents_missing() -> None:
    items = [Item(0, n, 5, 1) for n in range(4)]
    slots = pack(items, 1, Reduce(fan_in=2), 0)
    results = {0: _result(0), 1: _result(1, ErrorKind.REFUSED)}
    left = next_items(slots, results, ["a"])
    (node,) = pack(left, 2, Reduce(fan_in=2), 2)
    assert node.missing == ("a/1/2",)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), st.integers(2, 9))
def test_progress_knows_from_the_first_level_how_many_nodes_there_will_be(
    groups: list[int], fan_in: int
) -> None:
    reduce = Reduce(by=["g"], fan_in=fan_in)
    items = [Item(group, n, 7, 1) for n, group in enumerate(groups)]
    level, nodes, expected = 1, 0, 0
    while not finished(items) or level == 1:
        slots = pack(items, level, reduce, nodes)
        if level == 1:
            expected = expected_nodes(slots, reduce)
        new = [slot for slot in slots if isinstance(slot, Node)]
        nodes += len(new)
        results = {node.ordinal: _result(node.ordinal) for node in new}
        items = next_items(slots, results, [str(group) for group in range(5)])
        level += 1
    assert nodes == expected
