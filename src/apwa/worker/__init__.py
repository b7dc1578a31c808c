"""One subtask, start to end: the agent loop, the contract, and the meter that calls pass.

It sees its own row and its template's capabilities, nothing else. It schedules nothing, retries
no row and writes nowhere.
"""

from apwa.worker.calls import CallLog, bound_of, usage_of
from apwa.worker.checks import Checks, Evaluator
from apwa.worker.loop import NotAccepted, OutOfTurns, agent_loop, spoken, unanswered
from apwa.worker.meter import Meter
from apwa.worker.solve import OpenedStep, request_of, solve
from apwa.worker.tools import Toolbox
from apwa.worker.transcript import read_transcript, transcript_of

__all__ = [
    "CallLog",
    "Checks",
    "Evaluator",
    "Meter",
    "NotAccepted",
    "OpenedStep",
    "OutOfTurns",
    "Toolbox",
    "agent_loop",
    "bound_of",
    "read_transcript",
    "request_of",
    "solve",
    "spoken",
    "transcript_of",
    "unanswered",
    "usage_of",
]
