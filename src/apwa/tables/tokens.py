"""Token counts: o200k, counted here, with no network. Other tokenisers differ by some tenths."""

from __future__ import annotations

from functools import cache

from bpe_openai import Encoding, get_encoding

_SLICE = 100_000  # characters; the encoder bounds one piece of work at 200,000 tokens


@cache
def _encoding() -> Encoding:
    return get_encoding("o200k_base")


def count_tokens(text: str) -> int:
    """How many tokens a text has. Long texts are counted in slices: off by one a slice at most."""
    if len(text) <= _SLICE:
        return len(_encoding().encode_ordinary(text))
    return sum(
        len(_encoding().encode_ordinary(text[start : start + _SLICE]))
        for start in range(0, len(text), _SLICE)
    )
