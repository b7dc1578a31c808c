"""How the rows stand where a run ends before its answer: done + quarantined + skipped = rows."""

from __future__ import annotations

import msgspec
from pyroaring import BitMap

from apwa.plan import TemplateStep
from apwa.runs.course import Course
from apwa.runs.ending import Ending
from apwa.runs.specs import kept_spec
from apwa.runs.state import load_state
from apwa.tables import Table
from apwa.vocabulary import RUN


def so_far(course: Course, ending: Ending) -> Ending:
    """The ending with the counts of the last step that rows were worked in.

    Where no row was, all of the first step's rows are skipped; without a plan, all inputs' are.
    """
    reader, checked = course.desk.reader, course.checked
    steps = {} if checked is None else {name: checked.plan.steps[name] for name in checked.order}
    templates = {
        name: step
        for name, step in steps.items()
        if isinstance(step, TemplateStep) and step.reduce is None  # its subtasks are no rows
    }
    begun = [name for name in templates if kept_spec(reader, RUN, name) is not None]
    for name in [*reversed(begun), *templates]:
        source = _source(course, templates[name].over)
        if source is None:
            continue
        everything = BitMap(range(source.rows))
        state = load_state(reader, RUN, name)
        done, bad = (len(rows) for rows in state.standing(reader, RUN, name, everything))
        return _counted(ending, name, source.rows, done, bad)
    return _counted(ending, "", sum(table.rows for table in course.desk.tables.values()), 0, 0)


def _source(course: Course, name: str) -> Table | None:
    if name in course.desk.tables:
        return course.desk.tables[name]
    return load_state(course.desk.reader, RUN, name).closed_table()


def _counted(ending: Ending, step: str, rows: int, done: int, quarantined: int) -> Ending:
    return msgspec.structs.replace(
        ending,
        step=step,
        rows=rows,
        done=done,
        quarantined=quarantined,
        skipped=rows - done - quarantined,
    )
