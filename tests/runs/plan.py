"""The plan that runs of these tests work, and a wait for its first answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from apwa.runs import RunReader, list_runs
from apwa.vocabulary import RUN

PLAN = """\
apwa: 1
steps:
  redact:
    template: Replace every piece of personal information in {{text}} with a tag such as [NAME].
    over: notes
    contract: {redacted: str}
answer: redact
"""


async def one_done(home: Path) -> None:
    """Until the journal of the run that is at work there holds an answer; bounded."""
    async with asyncio.timeout(150):
        while True:
            await asyncio.sleep(0.05)
            for directory in list_runs(home):
                with RunReader(directory) as reader:
                    if reader.journal.counts(RUN, "redact").done:
                        return
