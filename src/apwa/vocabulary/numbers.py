"""Numbers as people read them."""

from __future__ import annotations

from apwa.vocabulary.usage import NUSD_PER_USD


def money(nusd: int | None) -> str:
    """``$0.0123``; what is unknown is said, never taken for nothing."""
    if nusd is None:
        return "cost unknown"
    dollars = nusd / NUSD_PER_USD
    if 0 < dollars < 0.0001:
        return "under $0.0001"
    return f"${dollars:,.2f}" if dollars >= 100 or not dollars else f"${dollars:,.4f}"


def counted(count: int, noun: str) -> str:
    """``1 row``, ``1,200 rows``: for nouns that take an s."""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def data_size(count: int) -> str:
    """``4.2 MB``: bytes in the unit that fits."""
    value = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def duration(seconds: float) -> str:
    """``45 s``, ``1 min 5 s``, ``2 h 3 min``, ``3 d 4 h``."""
    whole = round(seconds)
    for size, unit, part, part_unit in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size:,} {unit}" + (f" {rest} {part_unit}" if rest else "")
    return f"{whole} s"


def rate(per_second: float) -> str:
    """``1,234 rows/s``, ``0.5 rows/s``, ``3 rows/min``."""
    if per_second >= 10:
        return f"{per_second:,.0f} rows/s"
    if per_second >= 0.1:
        return f"{per_second:.1f} rows/s"
    return f"{per_second * 60:.1f} rows/min"


def share(part: int, whole: int) -> str:
    """``65 %``; 100 % only when all is there."""
    return f"{100 * part // whole if whole else 100} %"
