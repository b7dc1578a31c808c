"""The example files for clusters, each held to its schema."""

from __future__ import annotations

import gzip
import json
import re
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from dockerfile_parse import DockerfileParser

EXAMPLES = Path(__file__).parents[2] / "examples" / "cluster"
SCHEMAS = Path(__file__).parent / "schemas"


def _problems(schema: object, instance: object) -> list[str]:
    return [error.message for error in jsonschema_rs.iter_errors(schema, instance)]


def test_the_cluster_file_fits_rays_own_schema() -> None:
    schema = json.loads((files("ray") / "autoscaler" / "ray-schema.json").read_text())
    cluster = yaml.safe_load((EXAMPLES / "cluster.yaml").read_text())
    assert _problems(schema, cluster) == []
    assert _problems(schema, {**cluster, "max_workers": "two"})


def _closed(schema: object) -> object:
    """The schema as an API server takes it: unknown fields are errors, and ints may be texts."""
    if isinstance(schema, dict):
        found = {key: _closed(value) for key, value in schema.items()}
        if found.pop("x-kubernetes-int-or-string", False):
            found["type"] = ["integer", "string"]
            found.pop("anyOf", None)
        if "properties" in found and not found.pop("x-kubernetes-preserve-unknown-fields", False):
            found.setdefault("additionalProperties", False)
        return found
    return [_closed(part) for part in schema] if isinstance(schema, list) else schema


def test_the_rayjob_fits_kuberays_schema() -> None:
    schema = _closed(json.loads(gzip.decompress((SCHEMAS / "rayjob.v1.json.gz").read_bytes())))
    assert isinstance(schema, dict)
    schema["properties"]["metadata"] = {"type": "object"}
    job = yaml.safe_load((EXAMPLES / "rayjob.yaml").read_text())
    assert _problems(schema, job) == []
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["templates"] = {}
    assert _problems(schema, job)


def test_the_image_has_apwa_and_the_ray_of_this_project() -> None:
    parser = DockerfileParser(fileobj=(EXAMPLES / "Dockerfile").open("rb"))
    steps = [step["instruction"] for step in parser.structure if step["instruction"] != "COMMENT"]
    assert steps[0] == "FROM" and set(steps) == {"FROM", "COPY", "RUN", "ENV"}
    base = re.fullmatch(r"rayproject/ray:([0-9.]+)-py3(\d+)", parser.baseimage)
    assert base is not None and base[1].split(".")[0] == version("ray").split(".")[0]
    assert "'/home/ray/apwa[ray-jobs]'" in parser.content and parser.envs["APWA_HOME"] == "/runs"


@pytest.mark.parametrize("name", ["cluster.yaml", "rayjob.yaml"])
def test_the_commands_in_the_examples_are_understood(name: str) -> None:
    from apwa.cli.app import make_app

    text = " ".join((EXAMPLES / name).read_text().split())
    commands = re.findall(r"apwa (run|resume) ([^`]+?)(?= --autosc|`|$| shutdown| The | #)", text)
    assert commands
    app = make_app()
    arguments = [a for v in ("run", "resume") for a in app[v].assemble_argument_collection()]
    known = {flag for argument in arguments for flag in argument.names}
    for _, rest in commands:
        used = re.findall(r"(?<![\w-])--[a-z-]+", rest)
        assert used and set(used) <= known, set(used) - known
