"""The manager: an agent that turns a job into a plan, pilots it, mends it and has it run.

It sees cards, samples and reports through a ``Workbench``, never the whole data, and its use of
tokens does not grow with the rows. It works no row itself and knows nothing of how a run is made.
"""

from apwa.manager.agent import MAX_TURNS, Manager, ManagerEnd
from apwa.manager.prompt import Upto
from apwa.manager.turns import ManagerTurnView, TurnLog
from apwa.manager.workbench import ToolAnswer, Workbench

__all__ = [
    "MAX_TURNS",
    "Manager",
    "ManagerEnd",
    "ManagerTurnView",
    "ToolAnswer",
    "TurnLog",
    "Upto",
    "Workbench",
]
