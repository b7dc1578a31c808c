"""Markdown as converters write it, with the document's own characters instead of escaped ones."""

from __future__ import annotations

import re

ALL = r"!-/:-@\[-`{-~"
"""Every sign that Markdown may have escaped, as a class of a regular expression."""

SAVE_BRACKETS = r"!-'*-/:-<>-@\[-`{-~"
"""Those that xberg escapes: before ( ) = it leaves a backslash alone."""

_MOST_CODE = 20_000  # in a line of text: lone backticks must not be paired without end
# Code and equations stand as they were written: a backslash there is the document's own.
_VERBATIM = (
    r"(?P<fence>`{3,})[^`\n]*\n(?s:.*?)\n[ >]*(?P=fence)`*[ ]*$"
    rf"|(?P<ticks>`+)(?!`)(?s:(?!\n[ ]*\n).){{1,{_MOST_CODE}}}?(?<!`)(?P=ticks)(?!`)"
    r"|`+"
    r"|^\$\$.+\$\$$"
)
_TOKENS = {
    signs: re.compile(rf"\\([{signs}])|{_VERBATIM}", re.MULTILINE) for signs in (ALL, SAVE_BRACKETS)
}


def unescaped(text: str, signs: str = ALL) -> str:
    """The text without the backslashes that its converter has put before ``signs``."""
    return _TOKENS[signs].sub(lambda found: found[1] or found[0], text)
