"""Token counts: o200k, counted here, with no network. Other tokenisers differ by some tenths."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bpe_openai._bindings import PyTokenizer

_SLICE = 100_000  # characters; the tokeniser bounds one piece of work at 200,000 tokens


@cache
def _tokeniser() -> PyTokenizer:
    # The package's own front (tiktoken's interface) has no plain count. Importing it takes most
    # of a second, and many commands count nothing.
    from bpe_openai._bindings import tokenizer_for_encoding

    return tokenizer_for_encoding("o200k_base")


def count_tokens(text: str) -> int:
    """How many tokens a text has. Long texts are counted in slices: off by one a slice at most."""
    if len(text) <= _SLICE:
        return _tokeniser().count(text)
    return sum(
        _tokeniser().count(text[start : start + _SLICE]) for start in range(0, len(text), _SLICE)
    )
