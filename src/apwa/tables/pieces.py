"""Texts in pieces: cut at Markdown and sentence borders, none longer than so many tokens.

Nothing is dropped or trimmed: without overlap, the pieces of a text put together are that text.
Only a single character that takes more tokens than a piece may have makes a longer piece.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

_MODEL = "gpt-4o"  # whose tokens are o200k, as those of ``tokens.py``


def pieces_of(texts: Sequence[str], max_tokens: int, overlap: int = 0) -> list[list[str]]:
    """Each text's pieces. ``overlap``: at most so many tokens of a piece begin the next one too.

    Raises ValueError for sizes that make no pieces.
    """
    if max_tokens < 1:
        raise ValueError(f"chunk() makes pieces of at least 1 token, not of {max_tokens}")
    if not 0 <= overlap < max_tokens:
        raise ValueError(
            f"the overlap of chunk() must be less than its {max_tokens} tokens a piece, and not"
            f" below 0; it is {overlap}"
        )
    return _splitter(max_tokens, overlap).chunk_all(list(texts))


@lru_cache(maxsize=16)  # sizes may come from a column
def _splitter(max_tokens: int, overlap: int) -> Any:
    from semantic_text_splitter import TextSplitter

    return TextSplitter.from_tiktoken_model(_MODEL, max_tokens, overlap, trim=False)
