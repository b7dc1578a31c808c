"""Noticing prompts that an endpoint cuts without a word: it counts fewer tokens than it was sent.

Counting here costs as much as the rest of a call, so it is done for the first long prompts, and
after that only where the endpoint's count is low for a prompt of that size.
"""

from __future__ import annotations

from collections.abc import Callable

from apwa.models.seam import ChatFailure, Tokens
from apwa.tables import count_tokens
from apwa.vocabulary import ErrorKind

_SHORT_BYTES = 3000  # the probe has shown that prompts of this size come through
_LEAST_SHARE = 0.7  # of our count: other vocabularies need more tokens, hardly ever so much less
_COUNTED_FIRST = 16
_UNUSUAL = 1.15


class PromptWatch:
    """Compares what one endpoint counts with what it was sent."""

    def __init__(self) -> None:
        self._accepted = 0
        self._usual = 0.0  # bytes to a token

    def check(self, tokens: Tokens, size: int, prompt: Callable[[], str]) -> None:
        """Raises ChatFailure(CONTEXT_TOO_LONG) where the prompt was cut.

        Args:
            tokens: What the endpoint has counted.
            size: The prompt's letters, at least.
            prompt: Makes the prompt's text, where it must be counted here.
        """
        if size < _SHORT_BYTES or not tokens.reported:
            return
        ratio = size / max(1, tokens.input)
        if self._accepted < _COUNTED_FIRST or ratio > self._usual * _UNUSUAL:
            ours = count_tokens(prompt())
            if tokens.input < ours * _LEAST_SHARE:
                raise ChatFailure(
                    ErrorKind.CONTEXT_TOO_LONG,
                    f"the endpoint cut the prompt without a word: it read {tokens.input:,} tokens"
                    f" of about {ours:,}; let it serve a larger context, or shorten the rows",
                    tokens=tokens,
                )
        self._accepted += 1
        self._usual += (ratio - self._usual) / min(self._accepted, 100)
