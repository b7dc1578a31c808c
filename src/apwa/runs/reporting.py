"""What a person and the manager read of a run: report.md, the pilot's report, failures in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apwa.journal import JournalReader
from apwa.plan import TemplateStep
from apwa.runs.closing import skipped_rows
from apwa.runs.course import Course
from apwa.runs.ending import Ending
from apwa.runs.files import write_text
from apwa.runs.forecast import Forecast
from apwa.runs.specs import hides
from apwa.runs.untrusted import fenced, some_done, untrusted
from apwa.vocabulary import PILOT, RUN, Usage
from apwa.vocabulary.events import (
    AnswersReused,
    ClusterFound,
    EndpointFound,
    HostChanged,
    HostLoad,
    HostsSeen,
    Numbered,
    RunStarted,
    StepOpened,
    Trouble,
)
from apwa.vocabulary.numbers import counted, duration, money

_EXAMPLES = 3  # of a failure kind, in a report
_MORE_EXAMPLES = 8  # where the manager asks for them
_CLIP = 300
_MISSING = 1000  # missing rows, by key


def usage_words(usage: Usage) -> str:
    return (
        f"{usage.calls:,} calls, {usage.input_tokens:,} tokens in, {usage.output_tokens:,} out,"
        f" {money(usage.cost_nusd)}"
    )


def forecast_words(forecast: Forecast, *, time: bool = True) -> str:
    """A forecast with its range and its basis."""
    low, likely, high = forecast.tokens
    cost = "cost unknown (no price)"
    if forecast.cost_nusd is not None:
        a, b, c = forecast.cost_nusd
        cost = f"{money(b)} ({money(a)} to {money(c)})"
    fast, usual, slow = (duration(seconds) for seconds in forecast.seconds)
    seconds = f", {usual} ({fast} to {slow})" if time else ""
    thoughts = f", {forecast.reasoning:,} of them reasoning" if forecast.reasoning else ""
    return (
        f"{forecast.calls[1]:,} calls, {likely:,} tokens ({low:,} to {high:,}){thoughts},"
        f" {cost}{seconds}; from {forecast.basis}"
    )


def _by_place(ordinal: int) -> str:
    return str(ordinal + 1)


def failures_text(
    reader: JournalReader, scope: str, step: str, name_of: Callable[[int], str] = _by_place
) -> str:
    """Failure kinds of a step, with counts, remedies and a few examples each, by their names."""
    kinds = _kinds(reader, scope, step, name_of=name_of)
    return "\n".join([_set_aside(reader, scope, step), *kinds])


def failures_shown(reader: JournalReader, scope: str, step: str, *, answers: bool) -> str:
    """More examples than a report has; the workers' answers too, where they may be seen."""
    lines = [_set_aside(reader, scope, step), *_kinds(reader, scope, step, examples=0)]
    shown = [
        f"row {result.ordinal + 1}: {_clip(result.message)}"
        + (f"\n  the last answer: {_clip(result.raw)}" if result.raw and answers else "")
        for result in reader.failures(scope, step, _MORE_EXAMPLES)
        if not hides(reader, scope, step)
    ]
    return "\n".join([*lines, *(fenced(shown) if shown else [])])


def _set_aside(reader: JournalReader, scope: str, step: str) -> str:
    count = sum(reader.failure_counts(scope, step).values())
    return f"Step {step}: {counted(count, 'row') if count else 'nothing is'} quarantined."


def _kinds(
    reader: JournalReader,
    scope: str,
    step: str,
    *,
    examples: int = _EXAMPLES,
    name_of: Callable[[int], str] = _by_place,
) -> list[str]:
    """A line for each kind of failure, most frequent first, and some examples below it."""
    counts = reader.failure_counts(scope, step)
    if hides(reader, scope, step):
        examples = 0  # the words of a failure quote what stands in the row
    found = reader.failures(scope, step, examples * len(counts)) if counts and examples else []
    lines: list[str] = []
    for kind, count in sorted(counts.items(), key=lambda pair: -pair[1]):
        lines.append(f"- {kind.value}: {counted(count, 'row')}. {kind.remedy}")
        own = [result for result in found if result.kind is kind][:examples]
        lines += [f"  - row {name_of(result.ordinal)}: {_clip(result.message)}" for result in own]
    return lines


def _names_of(course: Course, step: str) -> Callable[[int], str]:
    """How a person names a step's rows to ``show``: by key, where there is one to be seen."""
    assert course.checked is not None
    spec = course.checked.plan.steps[step]
    if not isinstance(spec, TemplateStep) or spec.reduce is not None:
        return _by_place
    table = course.desk.tables.get(spec.over)
    if table is None and spec.over in course.finished:
        table = course.finished[spec.over].table
    if table is None or not table.key or table.sensitive & set(table.key):
        return _by_place
    return lambda ordinal: next(table.row_keys(ordinal, ordinal + 1))


def pilot_text(course: Course, forecast: Forecast) -> str:
    """The pilot's report for the manager: counts, failures, some answers, the forecast."""
    # without the time, which differs each time: the same job shall make the same requests
    words = forecast_words(forecast, time=False)
    lines = [f"The pilot ran. Forecast for the full run: {words}", ""]
    assert course.checked is not None
    for name, closed in course.piloted.items():
        end = closed.end
        lines.append(
            f"Step {name}: {counted(closed.table.rows, 'row')} in its table, {end.done:,} done,"
            f" {end.quarantined:,} quarantined."
        )
        lines += [look.words() for look in forecast.long if look.step == name and look.too_long]
        lines += _kinds(course.desk.reader, PILOT, name)
    plan = course.checked.plan
    for name, closed in course.piloted.items():
        if name != plan.answer and isinstance(plan.steps.get(name), TemplateStep):
            lines += ["", f"A row of step {name}:", untrusted(some_done(closed, 1))]
    answer = course.piloted.get(plan.answer)
    if answer is not None:
        lines += ["", "Some rows of the answer:", untrusted(some_done(answer))]
    return "\n".join(lines)


def run_text(course: Course) -> str:
    """The full run's report for the manager."""
    lines = ["The run is complete."]
    for name, closed in course.finished.items():
        end = closed.end
        lines.append(
            f"Step {name}: {counted(closed.table.rows, 'row')}, {end.done:,} done,"
            f" {end.quarantined:,} quarantined, {end.skipped:,} skipped; {usage_words(end.usage)}."
        )
        lines += _kinds(course.desk.reader, RUN, name)
    return "\n".join(lines)


def write_report(course: Course, ending: Ending) -> None:
    """Write report.md into the run's directory."""
    desk = course.desk
    lines = [f"# Run {desk.directory.path.name}: {ending.state}", ""]
    if desk.settings.model.partition(":")[0] == "practice":
        lines += ["**The practice model answered: rules that only play a model.**", ""]
    if course.request.job:
        lines += [f"> {course.request.job}", ""]
    if ending.reason:
        lines += [f"Stopped: {ending.reason}. {ending.remedy}".strip(), ""]
    if ending.words:
        lines += ["## Answer", "", ending.words, ""]
    lines += _steps(course)
    lines += _missing(course)
    lines += _forecast_and_actual(course)
    lines += _reused(desk.reader)
    lines += _prices(desk.reader)
    lines += _long_rows(course)
    lines += _failures(course)
    lines += _hosts(desk.reader)
    lines += _troubles(desk.reader)
    lines += _decisions(desk.reader)
    write_text(desk.directory.report_path, "\n".join(lines) + "\n")


def _steps(course: Course) -> list[str]:
    lines = [
        "## Steps",
        "",
        "| step | rows | done | quarantined | skipped | open | calls | tokens | cost |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    if course.checked is None:
        return [*lines, ""]
    for name in course.checked.order:
        closed = course.finished.get(name)
        counts = course.desk.reader.counts(RUN, name)
        usage = counts.usage
        if closed is not None:
            end = closed.end
            rows = end.done + end.quarantined + end.skipped
            numbers = (rows, end.done, end.quarantined, end.skipped, 0)
        else:
            numbers = (0, counts.done, counts.quarantined, 0, "yes")
        cells = [str(n) if isinstance(n, str) else f"{n:,}" for n in numbers]
        cells += [f"{usage.calls:,}", f"{usage.tokens:,}", money(usage.cost_nusd)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _missing(course: Course) -> list[str]:
    """The rows that a run which was finished early leaves out."""
    if not course.desk.finishing:
        return []
    lines: list[str] = []
    for name, closed in course.finished.items():
        if closed.end.skipped and (keys := skipped_rows(closed.table, _MISSING)):
            more = closed.end.skipped - len(keys)
            rest = f" and {more:,} more" if more > 0 else ""
            lines += [f"Step {name}: {', '.join(keys)}{rest}", ""]
    return ["## Missing rows", "", *(lines or ["None.", ""])]


def _forecast_and_actual(course: Course) -> list[str]:
    lines = ["## Forecast and actual", ""]
    if course.checked is not None:
        pilot = _sum(course, PILOT)
        # the forecast is of all rows, and the full run takes what the pilot has answered
        actual = _sum(course, RUN) + pilot
        took_s = _full_run_s(course.desk.reader)
        lines += _compared(course.forecast, actual, took_s)
        lines.append(f"- The pilot's part of it: {usage_words(pilot)}")
    lines.append(
        f"- All, the manager and lost calls too: {usage_words(course.desk.reader.spent())}"
    )
    return [*lines, ""]


def _compared(forecast: Forecast | None, actual: Usage, took_s: float) -> list[str]:
    """What was forecast of the full run beside what it took, the pilot's rows included."""
    took = [
        f"{actual.calls:,}",
        f"{actual.tokens:,}",
        f"{actual.reasoning_tokens:,}",
        money(actual.cost_nusd),
        duration(took_s),
    ]
    names = ["calls", "tokens", "of them reasoning", "cost", "time of the full run"]
    if forecast is None:
        rows = [f"| {name} | {now} |" for name, now in zip(names, took, strict=True)]
        words = "There was no pilot of this plan and model, so there is no forecast."
        return [words, "", "| | actual |", "|---|---:|", *rows, ""]
    f = forecast
    unknown = ("cost unknown", "")
    ranges = [
        (f"{f.calls[1]:,}", f"{f.calls[0]:,} to {f.calls[2]:,}"),
        (f"{f.tokens[1]:,}", f"{f.tokens[0]:,} to {f.tokens[2]:,}"),
        (f"{f.reasoning:,}", ""),
        unknown
        if f.cost_nusd is None
        else (money(f.cost_nusd[1]), f"{money(f.cost_nusd[0])} to {money(f.cost_nusd[2])}"),
        (duration(f.seconds[1]), f"{duration(f.seconds[0])} to {duration(f.seconds[2])}"),
    ]
    rows = [
        f"| {name} | {likely} | {spread} | {now} |"
        for name, (likely, spread), now in zip(names, ranges, took, strict=True)
    ]
    head = ["| | forecast | range | actual |", "|---|---:|---:|---:|"]
    return [f"The forecast is from {f.basis}.", "", *head, *rows, ""]


def _full_run_s(reader: JournalReader) -> float:
    """Seconds that the full run was at work, all its parts together."""
    total = last = 0.0
    begun: float | None = None
    for numbered in _all_events(reader):
        event = numbered.event
        if isinstance(event, RunStarted):
            begun, last = None, numbered.at
        elif isinstance(event, StepOpened) and event.scope == RUN:
            begun = last = begun or numbered.at
        if begun is not None:
            total += max(0.0, numbered.at - last)
        last = numbered.at
    return total


def _sum(course: Course, scope: str) -> Usage:
    total = Usage()
    assert course.checked is not None
    for name, step in course.checked.plan.steps.items():
        if isinstance(step, TemplateStep):
            total += course.desk.reader.counts(scope, name).usage
    return total


def _reused(reader: JournalReader) -> list[str]:
    """Rows that needed no call, and where their answers come from."""
    lines = [
        f"- Step {event.step}: {event.rows:,} of {counted(event.of, 'row')} "
        + (f"from run {event.run}" if event.run else "from answers under an earlier contract")
        for numbered in _all_events(reader)
        if isinstance(event := numbered.event, AnswersReused)
    ]
    return ["## Reused answers", "", *lines, ""] if lines else []


def _prices(reader: JournalReader) -> list[str]:
    """The prices that were counted with. A provider's own figure in a reply wins over them."""
    found = {
        (event.endpoint, event.price): f"- {event.endpoint}: {event.price}"
        for numbered in _all_events(reader)
        if isinstance(event := numbered.event, EndpointFound)
    }
    return ["## Prices", "", *found.values(), ""] if found else []


def _long_rows(course: Course) -> list[str]:
    looks = course.forecast.long if course.forecast is not None else []
    return ["## Long rows", "", *(f"- {look.words()}" for look in looks), ""] if looks else []


def _failures(course: Course) -> list[str]:
    lines: list[str] = []
    for name in course.checked.order if course.checked is not None else ():
        if course.desk.reader.failure_counts(RUN, name):
            names = _names_of(course, name)
            lines += [failures_text(course.desk.reader, RUN, name, names), ""]
        elif name in course.finished and (unread := course.finished[name].end.quarantined):
            lines += [
                f"Step {name}: {counted(unread, 'file')} that cannot be read; see the notices.",
                "",
            ]
    return ["## Quarantined rows", "", *(lines or ["None.", ""])]


def _hosts(reader: JournalReader) -> list[str]:
    """The hosts of a cluster: where each was, what came of its work, how it ended."""
    cluster: ClusterFound | None = None
    loads: dict[str, HostLoad] = {}
    ended: dict[str, str] = {}
    for numbered in _all_events(reader):
        match numbered.event:
            case ClusterFound() as e:
                cluster = e
            case HostsSeen(hosts=hosts):
                loads |= {load.host: load for load in hosts}
            case HostChanged(host=host, change=change, detail=detail) if change != "joined":
                ended[host] = f"{change}: {_clip(detail)}" if detail else change
            case _:
                pass
    if cluster is None:
        return []
    lines = [
        "## Hosts", "", f"On the Ray cluster {cluster.address}, {cluster.nodes:,}"
        f" {'node' if cluster.nodes == 1 else 'nodes'} at the start."
        " The counts are of attempts, as last seen.", "",
        "| host | place | done | failed | end |", "|---|---|---:|---:|---|",
    ]  # fmt: skip
    for load in loads.values():
        end = ended.get(load.host, "").replace("|", "/")
        lines.append(f"| {load.host} | {load.place} | {load.done:,} | {load.failed:,} | {end} |")
    return [*lines, ""]


def _troubles(reader: JournalReader) -> list[str]:
    lines = [
        f"- {event.kind}: {event.message}" + (f" ({event.count} times)" if event.count > 1 else "")
        for numbered in _all_events(reader)
        if isinstance(event := numbered.event, Trouble)
    ]
    return ["## Notices", "", *dict.fromkeys(lines), ""] if lines else []


def _all_events(reader: JournalReader) -> Iterator[Numbered]:
    since = 0
    while events := reader.events(since, 1000):
        yield from events
        since = events[-1].number


def _decisions(reader: JournalReader) -> list[str]:
    lines = [f"- Version {plan.version}: {plan.reason}" for plan in reader.plans()]
    return ["## The plan's versions", "", *lines, ""] if lines else []


def _clip(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _CLIP else text[:_CLIP] + "…"
