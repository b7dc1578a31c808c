"""How often the practice model's rules tell the tone of film-review sentences.

    python bench/practice_tone.py FOLDER

The folder holds ``rt-polarity.pos`` and ``rt-polarity.neg``, a sentence a line. Prints the share
told right of two choices.
"""

from __future__ import annotations

import sys
from pathlib import Path

from apwa.practice.families.classify import choose


def main(folder: Path) -> None:
    right = rows = 0
    for name, label in (("rt-polarity.pos", "positive"), ("rt-polarity.neg", "negative")):
        for line in (folder / name).read_text(encoding="latin-1").splitlines():
            rows += 1
            right += choose(line, ["positive", "negative"]) == label
    print(f"rows {rows}, right {right / rows:.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
