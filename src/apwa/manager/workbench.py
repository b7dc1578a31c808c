"""What the manager is handed: everything it may see or do, as one protocol.

The run implements it (layer 6); the manager (layer 5) knows no more of a run than this.
Every text that comes back is bounded, whatever the size of the data.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from apwa.vocabulary import Problem


class ToolAnswer(msgspec.Struct, frozen=True):
    """What a workbench call gives back: text for the model, and whether it went wrong."""

    text: str
    failed: bool = False


class Workbench(Protocol):
    def cards(self) -> str:
        """The cards of all input tables, and of tables made so far. Bounded in all."""
        ...

    def capabilities(self) -> str:
        """The cards of the capabilities that this run may grant; says so if there are none."""
        ...

    async def describe(self, table: str) -> ToolAnswer:
        """One table's card in full (up to its own bound)."""
        ...

    async def sample(self, table: str, rows: int, columns: list[str]) -> ToolAnswer:
        """A few rows, clipped, marked as untrusted data."""
        ...

    async def query(self, sql: str) -> ToolAnswer:
        """Run one SELECT over the tables; its first rows, clipped."""
        ...

    def plan_text(self) -> str:
        """The plan as it stands, YAML."""
        ...

    @property
    def plan_version(self) -> int: ...

    async def put_steps(
        self, steps: dict[str, dict[str, Any] | None], answer: str, reason: str
    ) -> list[Problem]:
        """Add, change or (None) drop steps and name the answer; makes a new plan version.

        Returns the problems of the whole plan as it then stands: none means that it can run.
        """
        ...

    async def pilot(self) -> ToolAnswer:
        """Flow a seeded sample through the whole plan; the report, with a forecast."""
        ...

    async def failures(self, step: str) -> ToolAnswer:
        """Failure kinds of a step with examples, pilot or run, whichever was last."""
        ...

    async def run(self) -> ToolAnswer:
        """Run the plan in full; the report. Asks for approval first."""
        ...

    async def answer_card(self, table: str) -> ToolAnswer:
        """Card and some rows of a finished table, for an answer in words."""
        ...
