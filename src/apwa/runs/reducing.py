"""Hierarchical reduction: groups of items, packed by order, level by level, to one row a group.

A reduce reads what it writes, so the answers of one level are the items of the next. Nodes
have dense ordinals over all levels, in the order in which they are packed. Packing depends on
the source and on the answers of the level below, both fixed in the journal: a resumed run packs
the same nodes again, and where a retry changed an answer, the reuse key of its parent differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from apwa.journal import StoredResult
from apwa.plan import Reduce
from apwa.tables import count_tokens
from apwa.vocabulary import Values

DEFAULT_FAN_IN = 8


@dataclass(frozen=True, slots=True)
class Item:
    """Something to be packed: a source row (level 0) or a node of the level below."""

    group: int
    ordinal: int
    tokens: int
    items: int  # source rows below it
    missing: tuple[str, ...] = ()
    lost: bool = False  # quarantined: takes part in no parent, but is named in its ``missing``


@dataclass(frozen=True, slots=True)
class Node:
    """A subtask of a reduce: what it combines."""

    ordinal: int
    group: int
    level: int  # from 1
    children: tuple[int, ...]  # ordinals of the level below (of the source for level 1)
    items: int
    missing: tuple[str, ...]


Slot = Node | Item
"""A place of a level, in order: a node to be worked, or an item carried up as it is."""


def pack(items: Sequence[Item], level: int, reduce: Reduce, first_ordinal: int) -> list[Slot]:
    """Pack items of one level into nodes: in order, at most ``fan_in`` items or ``tokens`` each.

    A lone item above level 1 needs no call and is carried up. An item larger than the token
    budget goes with one other at most.
    """
    slots: list[Slot] = []
    by_group: dict[int, list[Item]] = {}
    for item in items:
        by_group.setdefault(item.group, []).append(item)
    ordinal = first_ordinal
    for group, members in by_group.items():
        for some in _packs(members, reduce):
            alive = [item for item in some if not item.lost]
            missing = tuple(key for item in some for key in item.missing)
            if not alive:
                slots.append(Item(group, -1, 0, 0, missing, lost=True))
            elif len(alive) == 1 and level > 1:
                slots.append(replace(alive[0], missing=missing))
            else:
                count = sum(item.items for item in alive)
                children = tuple(item.ordinal for item in alive)
                slots.append(Node(ordinal, group, level, children, count, missing))
                ordinal += 1
    return slots


def expected_nodes(first_level: Sequence[Slot], reduce: Reduce) -> int:
    """How many nodes all levels have, for progress: just so many where only the fan-in limits."""
    most = reduce.fan_in or DEFAULT_FAN_IN
    widths = Counter(slot.group for slot in first_level if isinstance(slot, Node))
    total = widths.total()
    for width in widths.values():
        while width > 1:
            packs, rest = divmod(width, most)
            total += packs + (rest > 1)
            width = packs + (rest > 0)  # a lone one is carried up without a call
    return total


def _packs(members: list[Item], reduce: Reduce) -> Iterator[list[Item]]:
    most = reduce.fan_in or DEFAULT_FAN_IN
    pack: list[Item] = []
    alive = tokens = 0
    for item in members:
        weight = 0 if item.lost else 1
        full = alive + weight > most
        heavy = reduce.tokens is not None and alive > 0 and tokens + item.tokens > reduce.tokens
        # two items always go together, else a level would not shrink
        if pack and weight and (full or (heavy and alive >= 2)):
            yield pack
            pack, alive, tokens = [], 0, 0
        pack.append(item)
        alive += weight
        tokens += item.tokens
    if pack:
        yield pack


def next_items(
    slots: Sequence[Slot], results: Mapping[int, StoredResult], group_keys: Sequence[str]
) -> list[Item]:
    """The level's nodes as items of the next, in order, with those carried up in their place.

    A quarantined node is lost: its parent names it as ``group/level/n``.
    """
    items: list[Item] = []
    for n, slot in enumerate(slots, 1):
        if isinstance(slot, Item):
            items.append(slot)
            continue
        result = results.get(slot.ordinal)
        if result is None or result.kind is not None:
            key = f"{group_keys[slot.group]}/{slot.level}/{n}"
            items.append(Item(slot.group, slot.ordinal, 0, 0, (*slot.missing, key), lost=True))
        else:
            tokens = count_tokens(result.answer.decode())
            items.append(Item(slot.group, slot.ordinal, tokens, slot.items, slot.missing))
    return items


def finished(items: Sequence[Item]) -> bool:
    """Whether one item a group is left."""
    return len({item.group for item in items}) == len(items)


def child_values(result: StoredResult, columns: Sequence[str], head: Mapping[str, Any]) -> Values:
    """An answer as an item of its parent, in the order of the reduce's placeholders.

    ``head``: the group's own values, which no answer holds.
    """
    answer: dict[str, Any] = msgspec.json.decode(result.answer) | dict(head)
    return [answer.get(column) for column in columns]
