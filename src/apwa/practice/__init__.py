"""The practice model: a small OpenAI-protocol server that answers by rules.

It plans, redacts, extracts, classifies and summarises in a modest but real way on real input,
so that everything can be tried and tested without a key or a network. It says what it is in
every reply. It never calls out, never learns, and knows nothing of apwa but its prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

__all__ = ["main", "sample"]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; see ``python -m apwa.practice --help``."""
    # Whoever only wants a sample's path need not load the server.
    from apwa.practice.serving import main as serve

    return serve(argv)


def sample(name: str) -> Path:
    """The path of a small data set that comes with apwa.

    ``notes.jsonl`` (sentences with made-up personal data), ``receipts.jsonl`` (shop receipts),
    ``addresses`` (a folder of US presidents' addresses).
    """
    path = Path(str(resources.files("apwa.practice").joinpath("data", name)))
    if not path.exists():
        there = (
            ", ".join(sorted(p.name for p in path.parent.iterdir())) if path.parent.exists() else ""
        )
        raise FileNotFoundError(f"no sample is called {name!r}; there are: {there}")
    return path
