"""Text by the name that a page or a mail gives to its letters, as browsers understand the names.

Source: WHATWG Encoding Standard, 4.2 (names and labels).
"""

from __future__ import annotations

import codecs

_MEANT = {  # what Python calls the name is narrower than what is written under it
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_UNKNOWN_HERE = {"x-sjis": "cp932", "windows-31j": "cp932", "x-gbk": "gb18030", "dos-874": "cp874"}


def decoded(data: bytes, label: str = "") -> str:
    """By the label, else as UTF-8, else as browsers guess; what is no letter is replaced."""
    name = _UNKNOWN_HERE.get(label.strip().lower(), label.strip())
    try:
        known = codecs.lookup(name).name if name else ""
    except (LookupError, ValueError):
        known = ""
    if known and known not in ("ascii", "iso8859-1"):
        try:
            return data.decode(_MEANT.get(known, known), "replace")
        except LookupError:  # base64 and others of Python's codecs that give no text
            pass
    try:
        return data.decode("utf-8") if known != "iso8859-1" else data.decode("cp1252", "replace")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")
