"""How much of labelled personal data the practice model's rules find.

    python bench/practice_redaction.py RECORDS.jsonl

Each line of the file has ``text`` and ``spans`` of ``start``, ``end`` and ``label``. Prints
precision and recall over letters, and recall over spans by label (a span is found when at
least nine tenths of its letters are).
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from apwa.practice.families.pii import find_personal_data


def main(path: Path) -> None:
    letters: Counter[str] = Counter()
    found: Counter[str] = Counter()
    all_spans: Counter[str] = Counter()
    clean = rows = 0
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        ours: set[int] = set()
        for span in find_personal_data(record["text"]):
            ours.update(range(span.start, span.end))
        truth: set[int] = set()
        row_clean = True
        for span in record["spans"]:
            own = set(range(span["start"], span["end"]))
            truth |= own
            all_spans[span["label"]] += 1
            hit = len(own & ours) >= 0.9 * len(own)
            found[span["label"]] += hit
            row_clean &= hit
        letters["both"] += len(ours & truth)
        letters["ours"] += len(ours)
        letters["truth"] += len(truth)
        rows += 1
        clean += row_clean
    print(f"rows {rows}, all spans of the row found in {clean / rows:.1%}")
    print(f"letters: precision {letters['both'] / letters['ours']:.3f}", end=", ")
    print(f"recall {letters['both'] / letters['truth']:.3f}")
    print(f"spans found: {found.total() / all_spans.total():.3f} of {all_spans.total()}")
    for label, count in all_spans.most_common():
        print(f"  {label:20} {found[label] / count:.3f} of {count}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
