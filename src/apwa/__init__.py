"""A job in plain words over data of any size: planned by one agent, worked by thousands.

``apwa.run(job, tables=…, model=…)`` runs a job to its end, ``apwa.arun`` does so in a running
loop, ``apwa.capability`` marks a function that workers may be granted. All are imported at first
use, so that ``import apwa`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apwa.capabilities import capability
    from apwa.runs import Run, arun, run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "arun", "capability", "run"]


def __getattr__(name: str) -> Any:
    if name in ("Run", "arun", "run"):
        import apwa.runs

        return getattr(apwa.runs, name)
    if name == "capability":
        import apwa.capabilities

        return apwa.capabilities.capability
    raise AttributeError(f"module 'apwa' has no attribute {name!r}")
