"""What plan checks know of tables, steps and capabilities: plain data, no rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from apwa.plan.model import Plan

HIDDEN = ("_status", "_error")
"""Columns that a stored table has and later steps do not see."""


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table without its rows. ``rows`` None: only the run will tell."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    rows: int | None
    longest_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class GrantCard:
    """A capability that the user lets this plan grant. ``arguments``: a JSON Schema."""

    name: str
    arguments: dict[str, Any]
    shareable: bool
    version: str
    description: str


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """A plan without problems.

    Attributes:
        plan: The plan, its answer named.
        order: Steps, each behind those that it needs.
        needs: Step to the tables and steps that it reads.
        shapes: Step to the table that it makes, as later steps see it.
    """

    plan: Plan
    order: list[str]
    needs: dict[str, set[str]]
    shapes: dict[str, TableShape]
