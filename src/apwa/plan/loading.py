"""Plans in and out: YAML text with places, the manager's dicts, and YAML again.

The YAML is read as the 1.2 core knows it: ``no`` and ``12:30`` are text, dates are text. There
are no aliases and no tags, the size is bounded, and a key given twice is a problem.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from apwa.plan.model import STEP_KINDS, Plan, Step, TableDecl
from apwa.plan.places import Path, Place, Places
from apwa.vocabulary import PlanError, Problem

_MAX_BYTES = 4 << 20
_MAX_DEPTH = 40
_STEP_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_BREAKS = re.compile("[\r\x85\u2028\u2029\ufeff]")
_YAML = "tag:yaml.org,2002:"


def load_plan(text: str, where: str) -> tuple[Plan, Places]:
    """Read a plan file. Raises PlanError with all problems of its form."""
    if len(text.encode("utf-8", "surrogatepass")) > _MAX_BYTES:
        raise PlanError(
            [Problem("the plan is larger than 4 MB", todo="keep data in tables")], where
        )
    root = _compose(text, where)
    reader = _Reader(text)
    data = reader.value(root, (), 0)
    places = Places(reader.marks)
    if reader.problems:
        raise PlanError(reader.problems, where)
    if not isinstance(data, dict):
        what = "a plan is a mapping with the keys apwa, job, steps and answer"
        raise PlanError([places.problem((), what)], where)
    return _plan(data, places, where), places


def plan_from(
    steps: Mapping[str, Any], answer: str, job: str, tables: Mapping[str, Any]
) -> tuple[Plan, Places]:
    """A plan from the manager's own objects. Raises PlanError; its problems have no lines."""
    declared = {
        name: table.model_dump() if isinstance(table, TableDecl) else table
        for name, table in tables.items()
    }
    data = {"apwa": 1, "job": job, "tables": declared, "steps": dict(steps), "answer": answer}
    places = Places()
    return _plan(data, places, "plan"), places


def dump_plan(plan: Plan) -> str:
    """The plan as YAML that a person can read; the same plan always gives the same text."""
    data: dict[str, Any] = {"apwa": plan.apwa, "job": plan.job}
    if plan.tables:
        data["tables"] = {
            name: table.model_dump(exclude_defaults=True) for name, table in plan.tables.items()
        }
    if plan.policy:
        data["policy"] = {columns: list(to) for columns, to in plan.policy.items()}
    data["steps"] = {
        name: step.model_dump(exclude_defaults=True) for name, step in plan.steps.items()
    }
    data["answer"] = plan.answer
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=96, indent=2)


# ---- YAML to plain values


def _compose(text: str, where: str) -> yaml.Node:
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                mark = event.start_mark
                what = "aliases (*name) are not read in plans"
                raise PlanError(
                    [Problem(what, "", mark.line + 1, mark.column + 1, "write the value out")],
                    where,
                )
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _MAX_DEPTH:
                    mark = event.start_mark
                    what = f"nested deeper than {_MAX_DEPTH} levels"
                    raise PlanError([Problem(what, "", mark.line + 1, mark.column + 1)], where)
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = f"no valid YAML: {error.problem or error.context}"
        todo = "put quotes around texts that contain ': ', end in ?, or begin with a sign or *"
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        raise PlanError([Problem(what, "", line, column, todo)], where) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, int(error.position)) + 1
        what = f"a character that YAML does not allow: {error.character!r}"
        raise PlanError([Problem(what, "", line, 1)], where) from None
    except RecursionError:  # a long flow of one-key mappings nests without a depth of its own
        raise PlanError([Problem("the YAML is nested too deeply")], where) from None
    if root is None:
        raise PlanError([Problem("the plan is empty")], where)
    return root


class _Reader:
    """Turns nodes into plain values, remembering where each stood."""

    def __init__(self, text: str) -> None:
        self._lines = text.splitlines()
        self.marks: dict[Path, Place] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: Path, depth: int) -> Any:
        self.marks[path] = self._place(node)
        if not re.fullmatch(_YAML + "[a-z]+", node.tag):
            self._say(node, path, f"the tag {node.tag!r} is not read in plans")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(n, (*path, i), depth + 1) for i, n in enumerate(node.value)]
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._say(key, path, "a key must be a plain word")
                continue
            name = str(key.value)
            if name in found:
                self._say(key, (*path, name), f"the key {name!r} stands here twice")
            found[name] = self.value(value, (*path, name), depth + 1)
            if not isinstance(value, yaml.ScalarNode):
                self.marks[*path, name] = self._place(key)
        return found

    def _place(self, node: yaml.Node) -> Place:
        mark = node.start_mark
        style = getattr(node, "style", None)
        indent = None
        if style == "|":
            following = (line for line in self._lines[mark.line + 1 :] if line.strip())
            first = next(following, "")
            indent = len(first) - len(first.lstrip(" "))
        return Place(mark.line + 1, mark.column + 1, indent, style in ("'", '"'))

    def _say(self, node: yaml.Node, path: Path, what: str) -> None:
        self.problems.append(Places({path: self._place(node)}).problem(path, what))


def _scalar(node: yaml.Node) -> Any:
    text: str = node.value
    if getattr(node, "style", None) is not None:
        return text
    kind = node.tag.removeprefix(_YAML)
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "int" and _INT.fullmatch(text) and len(text) < 40:
        return int(text)
    if kind == "float" and _FLOAT.fullmatch(text):
        return float(text)
    return text


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks; no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text_node(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    style = "|" if "\n" in text and text[0] not in " \n\t" else None
    if _BREAKS.search(text):  # line breaks of their own to YAML: only escapes keep them
        style = '"'
    return dumper.represent_scalar(_YAML + "str", text, style=style)


_Dumper.add_representer(str, _text_node)


# ---- plain values to a plan


def _plan(data: dict[str, Any], places: Places, where: str) -> Plan:
    problems: list[Problem] = []
    steps: dict[str, Step] = {}
    raw = data.get("steps")
    if isinstance(raw, dict) and raw:
        for name, step in raw.items():
            parsed = _step(name, step, places, problems)
            if parsed is not None and _STEP_NAME.fullmatch(name):
                steps[name] = parsed
    elif raw is None or raw == {}:
        problems.append(places.problem(("steps",), "the plan has no steps"))
    if "apwa" not in data:
        problems.append(places.problem((), "the version is missing", "begin with `apwa: 1`"))
    rest = {key: value for key, value in data.items() if key != "steps"}
    if rest.get("answer") is None:
        rest.pop("answer", None)
    stand_in = steps or {"none": STEP_KINDS["query"].model_validate({"query": "none"})}
    outer = stand_in if isinstance(raw, dict) or raw is None else raw
    plan: Plan | None = None
    try:
        plan = Plan.model_validate({**rest, "steps": outer})
    except ValidationError as error:
        problems += _said(error, (), Plan.model_fields, places)
    if problems or plan is None:
        raise PlanError(problems, where)
    return plan


def _step(name: str, step: Any, places: Places, problems: list[Problem]) -> Step | None:
    path: Path = ("steps", name)
    if not _STEP_NAME.fullmatch(name):
        todo = "use small letters, digits and _, a letter first, 40 at most"
        problems.append(places.problem(path, f"{name!r} is no name for a step", todo))
    if not isinstance(step, dict):
        problems.append(places.problem(path, "a step is a mapping", "give template, query or rows"))
        return None
    kinds = [kind for kind in STEP_KINDS if kind in step]
    if len(kinds) != 1:
        has = " and ".join(kinds) if kinds else "none of template, query and rows"
        todo = "a step has exactly one of template, query and rows"
        problems.append(places.problem(path, f"the step has {has}", todo))
        return None
    kind = STEP_KINDS[kinds[0]]
    try:
        return kind.model_validate(step)
    except ValidationError as error:
        problems += _said(error, path, kind.model_fields, places)
        return None


def _said(
    error: ValidationError, base: Path, fields: Mapping[str, FieldInfo], places: Places
) -> list[Problem]:
    """Pydantic's complaints in apwa's words, with places."""
    said: list[Problem] = []
    for one in error.errors(include_url=False):
        path: Path = (*base, *(part for part in one["loc"] if part != "[key]"))
        last = str(path[-1]) if path else ""
        match one["type"]:
            case "extra_forbidden":
                inner = _fields_within(fields, path[len(base) : -1])
                what, todo = f"there is no field {last!r} here", did_you_mean(last, inner)
            case "missing":
                what, todo = f"the field {last!r} is missing", ""
            case "literal_error" if path == ("apwa",):
                what, todo = "only version 1 of plans is known", "begin with `apwa: 1`"
            case _:
                message = one["msg"].removeprefix("Value error, ")
                what, todo = message.replace("Input should", "it should"), ""
        said.append(places.problem(path, what, todo))
    return said


def _fields_within(fields: Mapping[str, FieldInfo], path: Path) -> Mapping[str, FieldInfo]:
    """The fields of the part of a step that a path leads to, such as its limits."""
    for part in path:
        found = fields.get(str(part))
        kinds = () if found is None else (found.annotation, *get_args(found.annotation))
        models = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not models:
            return {}
        fields = models[0].model_fields
    return fields


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?``, or what there is, or nothing."""
    names = list(known)
    close = get_close_matches(name, names, 1, 0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"there are: {shown}" if names else ""
