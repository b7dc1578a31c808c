"""Events and steps in one line each, without anything that a terminal would obey."""

from __future__ import annotations

from apwa.cli.display.picture import Picture, StepPicture
from apwa.cli.words import safe
from apwa.vocabulary import Usage
from apwa.vocabulary.events import (
    AnswersReused,
    ApprovalNeeded,
    Approved,
    ClusterFound,
    CommandTaken,
    EndpointFound,
    Event,
    FilesRead,
    HostChanged,
    InputFetched,
    ManagerSaid,
    PilotDone,
    PlanChanged,
    RunEnded,
    RunStarted,
    StepClosed,
    StepOpened,
    TableRead,
    Trouble,
)
from apwa.vocabulary.numbers import counted, data_size, duration, money, rate, share

PRACTICE = "the practice model (rules that only play a model)"

_CLIP = 300
_NOTICE = 800  # a notice ends with what to do
_HOSTS_SHOWN = 8
_LIMITS = {
    "endpoint": "the endpoint sets the pace",
    "ceiling": "the given concurrency sets the pace",
    "budget": "the budget sets the pace",
    "rows": "the rows that are left set the pace",
    "cpu": "this machine sets the pace",
}


def one_line(text: str, clip: int = _CLIP) -> str:
    """Text of models and data as one harmless line."""
    line = " ".join(safe(text).split())
    return line if len(line) <= clip else line[: clip - 1] + "…"


def model_words(picture: Picture) -> str:
    """The models in words; the practice model is always called by what it is."""
    if picture.practice:
        return PRACTICE
    return ", ".join(one_line(model, 60) for model in picture.models) or "no model"


def usage_words(usage: Usage) -> str:
    return f"{usage.tokens:,} tokens, {money(usage.cost_nusd)}"


def step_words(step: StepPicture) -> str:
    """How a step stands: counts, pace, use, time left, what bounds it."""
    settled = step.done + step.quarantined
    words = [f"{step.done:,} of {step.rows:,} done ({share(settled, step.rows)})"]
    return ", ".join(words + details(step))


def details(step: StepPicture) -> list[str]:
    """All about an open step but how far it is; what is 0 and says nothing is left out."""
    words = [f"{step.quarantined:,} quarantined"] if step.quarantined else []
    if step.retries:
        words.append(f"{step.retries:,} retries")
    if step.rate:
        words.append(rate(step.rate))
    if step.usage.calls:
        words.append(usage_words(step.usage))
    if step.left_s is not None:
        words.append(f"{duration(step.left_s)} left")
    if step.in_flight:
        words.append(f"{step.in_flight:,} in flight")
    if step.limit:
        words.append(_LIMITS.get(step.limit, one_line(step.limit, 80)))
    if step.slowest:
        words.append(f"slowest: {one_line(step.slowest, 60)}")
    return words


def standing(picture: Picture) -> list[str]:
    """Where the run stands now, one line for each thing that goes on."""
    if picture.waiting:
        return [f"waiting: {one_line(picture.waiting)}"]
    if open_steps := picture.open_steps:
        return [f"{one_line(step.label)}: {step_words(step)}" for step in open_steps]
    if picture.fetching is not None:
        return [_fetched_words(picture.fetching)]
    if not picture.run:
        return ["starting"]
    if any(step.closed for step in picture.steps):
        return [f"after step {one_line(picture.steps[-1].label)}: {_manager(picture)}"]
    return [_manager(picture)]


def _manager(picture: Picture) -> str:
    if picture.said is None:
        return "waiting for the model's first answer" if not picture.plan_version else "going on"
    what = picture.said.tool or picture.said.words
    return f"the manager is at work (its last turn: {one_line(what, 60)})"


def event_words(before: Picture, event: Event) -> str:
    """An event as a line of its own; empty for what shows in the steps' progress."""
    match event:
        case RunStarted() as e:
            again = "resumed" if e.resumed else "started"
            model = PRACTICE if e.practice else ", ".join(one_line(m, 60) for m in e.models)
            return f"run {one_line(e.run)} {again} with {model}"
        case TableRead() as e:
            left = f"; {counted(e.left_out, 'other file')} left out" if e.left_out else ""
            size = f"{counted(e.rows, 'row')}, {counted(e.columns, 'column')}"
            return f"table {one_line(e.table)}: {size}{left}"
        case InputFetched() as e:
            return _fetched_words(e) if e.files == e.all_files else ""
        case FilesRead() as e:
            how_far = f"{e.read:,} of {counted(e.rows, 'row')} read from their files"
            return f"table {one_line(e.table)}: {how_far}"
        case EndpointFound() as e:
            return _endpoint_words(e)
        case ClusterFound() as e:
            return _cluster_words(e)
        case HostChanged() as e:
            detail = f" ({one_line(e.detail)})" if e.detail else ""
            return f"host {one_line(e.host)} {one_line(e.change)}{detail}"
        case ManagerSaid() as e:
            words = one_line(e.words)
            if e.tool:
                return f"manager: {one_line(e.tool, 40)}" + (f": {words}" if words else "")
            return f"manager: {words}"
        case PlanChanged() as e:
            reason = f" ({one_line(e.reason)})" if e.reason else ""
            return f"plan version {e.version}: {one_line(', '.join(e.steps))}{reason}"
        case AnswersReused() as e:
            return reused_words(e)
        case Trouble() as e:
            return _trouble_words(before, e)
        case PilotDone() as e:
            return _pilot_words(e)
        case ApprovalNeeded() as e:
            return one_line(e.why)
        case Approved() as e:
            return f"plan version {e.plan_version} approved by {one_line(e.by)}"
        case CommandTaken() as e:
            return f"command taken: {one_line(e.command)}"
        case RunEnded() as e:
            reason = f": {one_line(e.reason)}" if e.reason else ""
            return f"ended: {one_line(e.state)}{reason}; {usage_words(e.usage)}"
        case StepOpened() | StepClosed() as e:
            return _step_event_words(e)
        case _:
            return ""


def _fetched_words(event: InputFetched) -> str:
    whole = "" if event.all_bytes is None else f" of {data_size(event.all_bytes)}"
    size = f"{data_size(event.size_bytes)}{whole}"
    how_far = f"{event.files:,} of {counted(event.all_files, 'file')}, {size}"
    return f"table {one_line(event.table)}: {how_far}, fetched from {one_line(event.source, 120)}"


def _step_event_words(event: StepOpened | StepClosed) -> str:
    name = one_line(StepPicture(event.scope, event.step, "", 0).label)
    if isinstance(event, StepOpened):
        before = f", {event.done:,} done before" if event.done else ""
        return f"{name}: {event.kind} over {counted(event.rows, 'row')}{before}"
    return (
        f"{name}: {counted(event.rows, 'row')} = {event.done:,} done"
        f" + {event.quarantined:,} quarantined + {event.skipped:,} skipped"
        + (f"; {usage_words(event.usage)}" if event.usage.calls else "")
    )


def reused_words(event: AnswersReused) -> str:
    rows = f"{one_line(event.step)}: {event.rows:,} of {event.of:,} rows need no call:"
    if event.run:
        return f"{rows} answered in run {one_line(event.run)} (--no-reuse asks again)"
    return f"{rows} what they answered before satisfies the changed contract"


def _endpoint_words(event: EndpointFound) -> str:
    context = "context unknown" if event.context is None else f"context {event.context:,} tokens"
    notes = "".join(f"; {one_line(note, 120)}" for note in event.notes)
    return (
        f"endpoint {one_line(event.endpoint, 80)}: model {one_line(event.model, 80)},"
        f" answers held by {event.structured}, {context}, price {one_line(event.price, 80)}{notes}"
    )


def _cluster_words(event: ClusterFound) -> str:
    what = "a local Ray begun for this run" if event.local else f"the Ray cluster {event.address}"
    cpus = event.resources.get("CPU", 0.0)
    gpus = event.resources.get("GPU", 0.0)
    has = f"{counted(event.nodes, 'node')}, {cpus:g} CPU{'' if cpus == 1 else 's'}"
    has += f", {gpus:g} GPUs" if gpus else ""
    page = f"; Ray's dashboard: {one_line(event.dashboard)}" if event.dashboard else ""
    return f"{one_line(what)}: {has}{page}"


def hosts_words(picture: Picture) -> str:
    """The hosts at work on a cluster, and those that were lost, in one line; empty if none is."""
    if not picture.loads:
        return ""
    loads = picture.loads
    nodes = len({load.place for load in loads})
    words = [
        f"{len(loads):,} {'host' if len(loads) == 1 else 'hosts'} on"
        f" {nodes:,} {'node' if nodes == 1 else 'nodes'}"
    ]
    ended = [host.change for host in picture.hosts]
    words += [f"{ended.count(change):,} {change}" for change in ("lost", "sick") if change in ended]
    shown = [f"{one_line(load.host, 20)} {load.in_flight}" for load in loads[:_HOSTS_SHOWN]]
    more = ["…"] if len(loads) > _HOSTS_SHOWN else []
    return f"{', '.join(words)}; in flight: {' · '.join(shown + more)}"


def _pilot_words(event: PilotDone) -> str:
    cost = "cost unknown"
    if event.cost_nusd is not None:
        low, likely, high = (money(nusd) for nusd in event.cost_nusd)
        cost = f"{likely} ({low} to {high})"
    seconds = [duration(s) for s in event.seconds]
    low_tokens, tokens, high_tokens = event.tokens
    thoughts = f", {event.reasoning:,} of them reasoning" if event.reasoning else ""
    return (
        f"pilot done: {event.rows:,} answers, {event.failed:,} failed; forecast of the full run:"
        f" {tokens:,} tokens ({low_tokens:,} to {high_tokens:,}){thoughts}, {cost},"
        f" {seconds[1]} ({seconds[0]} to {seconds[2]})"
    )


def _trouble_words(before: Picture, event: Trouble) -> str:
    """Equal troubles are said once, and again at ten, a hundred … times as many."""
    known = before.trouble(event)
    if known is not None and event.count < 10 * known.count:
        return ""
    step = f" in {one_line(event.step, 60)}" if event.step else ""
    times = f" ({event.count:,} times)" if event.count > 1 else ""
    return f"notice{step}: {one_line(event.kind, 40)}: {one_line(event.message, _NOTICE)}{times}"
