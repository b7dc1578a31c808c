"""The executor: works the subtasks of steps on hosts, and keeps pace, budget and counts.

Its core is pure (events in, instructions out, time an argument); a thin shell drives it. It
knows nothing of prompts, never looks into a value or an answer, and never counts a row before
the journal has its result.
"""

from apwa.executor.core import Core
from apwa.executor.executor import Executor
from apwa.executor.hosts import LocalHost
from apwa.executor.instructions import CloseBlock, Instruction, OpenBlock, Say, Send
from apwa.executor.loopback import LoopbackHost
from apwa.executor.rows import Finished, StepState
from apwa.executor.seam import Host, StepEnd, StepJob, Work

__all__ = [
    "CloseBlock",
    "Core",
    "Executor",
    "Finished",
    "Host",
    "Instruction",
    "LocalHost",
    "LoopbackHost",
    "OpenBlock",
    "Say",
    "Send",
    "StepEnd",
    "StepJob",
    "StepState",
    "Work",
]
