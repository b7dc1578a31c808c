"""One subtask, start to end: the agent loop.

It sees its own row and its template's capabilities, nothing else. It schedules nothing, retries
no row and writes nowhere.
"""

from apwa.worker.loop import NotAccepted, OutOfTurns, agent_loop, spoken, unanswered

__all__ = ["NotAccepted", "OutOfTurns", "agent_loop", "spoken", "unanswered"]
