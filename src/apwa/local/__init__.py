"""A real language model on this machine: llama.cpp's server over a GGUF file, in its own process.

It speaks the OpenAI protocol on loopback and ends with whoever started it. It fetches nothing,
and knows nothing of apwa: to the rest it is an endpoint like any other.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to end; see ``python -m apwa.local --help``."""
    from apwa.local.serving import main as serve

    return serve(argv)
