"""How many fields of real receipts the practice model's rules extract.

    python bench/practice_extraction.py RECORDS.jsonl

Each line of the file has ``text`` and ``gold`` with company, date, address and total. Prints
for each field the share that is right (letters and digits compared, capitals and spaces not), and
the share of values that stand in the text word for word.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path

import msgspec

from apwa.practice.request import Work
from apwa.practice.solve import solve

FIELDS = ("company", "date", "address", "total")
SCHEMA = {
    "type": "object",
    "properties": {name: {"type": ["string", "null"]} for name in FIELDS},
    "required": list(FIELDS),
}


def plain(value: str | None) -> str:
    return re.sub(r"\W+", "", value or "").lower()


def main(path: Path) -> None:
    right: Counter[str] = Counter()
    quoted: Counter[str] = Counter()
    rows = whole = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        values = ({"text": record["text"]},)
        work = Work("Extract the company, date, address and total.", SCHEMA, values)
        answer = msgspec.json.decode(solve(work))
        folded = " ".join(record["text"].split())
        hits = 0
        for name in FIELDS:
            hit = plain(answer[name]) == plain(record["gold"].get(name))
            right[name] += hit
            hits += hit
            quoted[name] += answer[name] is None or " ".join(answer[name].split()) in folded
        rows += 1
        whole += hits == len(FIELDS)
    print(f"rows {rows}, all four fields right in {whole / rows:.1%}")
    print(f"fields right: {right.total() / (rows * len(FIELDS)):.3f} of {rows * len(FIELDS)}")
    for name in FIELDS:
        print(f"  {name:8} {right[name] / rows:.3f} right, {quoted[name] / rows:.3f} word for word")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
