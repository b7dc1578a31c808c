"""Deterministic simulation: the executor's own core in virtual time, with faults of every sort.

The scheduler, gates and budget here are the very objects that a real run uses; only hosts,
journal, endpoint and clock are played. A seed gives the same course each time, so a failure is
found again by its number. It makes no real call and touches no file.
"""

from apwa.simulate.course import Broken, Course, Report, simulate
from apwa.simulate.faults import FaultPlan, fault_plan

__all__ = ["Broken", "Course", "FaultPlan", "Report", "fault_plan", "simulate"]
