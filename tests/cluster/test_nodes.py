"""What nodes have and lack: functions and secrets reach them, what is missing is said by node."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from apwa.capabilities import UserModule
from apwa.executor.cluster import Needs, unreachable
from apwa.executor.cluster.nodes import look_here
from apwa.models import Dialect, ModelKit

from .conftest import Apwa, Nodes

pytestmark = [pytest.mark.timeout(600)]

SECRET = "canary-of-rates-5d1c"
RATES = """
import os
import apwa

@apwa.capability(pure=True, secrets=["RATES_TOKEN"])
def look_up_rate(currency: str) -> float:
    "Look up what one euro is worth in a currency."
    return float(len(os.environ["RATES_TOKEN"]) + len(currency))
"""
PLAN = """
apwa: 1
steps:
  convert:
    over: rows
    template: "Look up the rate of {{currency}}."
    contract: {rate: float}
    grant: [look_up_rate]
"""


def _given(apwa: Apwa, rows: int) -> list[str]:
    (apwa.at / "plan.yaml").write_text(PLAN)
    (apwa.at / "tools.py").write_text(RATES)
    lines = (json.dumps({"currency": "x" * (n % 7 + 1)}) for n in range(rows))
    (apwa.at / "rows.jsonl").write_text("\n".join(lines) + "\n")
    return ["run", "plan.yaml", "-t", "rows=rows.jsonl", "-m", "practice", "--executor", "ray",
            "--yes", "--no-pilot", "--display", "plain", "--module", "tools.py", "--no-reuse",
            "-o", "out.jsonl"]  # fmt: skip


def _rates(apwa: Apwa) -> list[float]:
    return [json.loads(line)["rate"] for line in (apwa.at / "out.jsonl").open()]


async def test_functions_and_their_secrets_reach_the_nodes_and_stand_nowhere(
    apwa: Apwa, nodes: Nodes
) -> None:
    nodes.add()
    given = _given(apwa, 300)
    apwa.env["RATES_TOKEN"] = SECRET
    assert await apwa.ended(await apwa.start(*given)) == 0, apwa.words
    assert _rates(apwa) == [len(SECRET) + n % 7 + 1 for n in range(300)]
    session = Path(nodes.cluster.head_node.get_session_dir_path())
    kept = [p for base in (session / "logs", apwa.at) for p in base.rglob("*") if p.is_file()]
    assert len(kept) > 20
    for path in kept:
        assert SECRET.encode() not in path.read_bytes(), path


async def test_a_node_that_lacks_a_secret_is_named_and_the_others_work(
    apwa: Apwa, nodes: Nodes
) -> None:
    has = nodes.begin(num_cpus=1, env_vars={"RATES_TOKEN": SECRET})
    nodes.add()
    given = _given(apwa, 300)
    assert await apwa.ended(await apwa.start(*given)) == 0, apwa.words
    assert _rates(apwa) == [len(SECRET) + n % 7 + 1 for n in range(300)]
    said = [line for line in apwa.words.splitlines() if "RATES_TOKEN is not set" in line]
    assert said, apwa.words
    if "has not said within" not in apwa.words:  # no host was ever at the other
        came = apwa.hosts("joined")
        assert came and all(has.node_id[:6] in e.detail for e in came), came
    assert has.node_id[:6] not in " ".join(said)

    nodes.kill(has)
    (apwa.at / "out.jsonl").unlink()
    # at once, or once the last node has said so or is known to be gone
    assert await apwa.ended(await apwa.start(*given)) in (1, 4)
    assert "no node of the cluster can work" in apwa.words


async def test_a_cluster_that_has_ended_is_said_at_once(apwa: Apwa, nodes: Nodes) -> None:
    given = _given(apwa, 3)
    apwa.env["RATES_TOKEN"] = SECRET
    nodes.end()
    assert await apwa.ended(await apwa.start(*given)) == 1
    assert "no Ray cluster" in apwa.words and "cannot be reached" in apwa.words


async def test_a_lookups_file_reaches_hosts_that_stand_elsewhere(apwa: Apwa, nodes: Nodes) -> None:
    nodes.add()
    (apwa.at / "plan.yaml").write_text(
        PLAN.replace("[look_up_rate]", "{lookup: {path: rates.json, key: currency}}")
    )
    rates = [{"currency": "USD", "rate": 1.5}, {"currency": "CHF", "rate": 0.5}]
    (apwa.at / "rates.json").write_text(json.dumps(rates))
    (apwa.at / "rows.jsonl").write_text('{"currency": "USD"}\n{"currency": "CHF"}\n')
    run = await apwa.start(
        "run", "plan.yaml", "-t", "rows=rows.jsonl", "-m", "practice", "--executor", "ray",
        "--grant", "lookup", "--yes", "--no-pilot", "-o", "out.jsonl",
    )  # fmt: skip
    assert await apwa.ended(run) == 0, apwa.words
    assert _rates(apwa) == [1.5, 0.5]


def test_what_is_missing_is_said_in_words() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        says = look_here(
            Needs(
                [(ModelKit("elsewhere:large", "", {}, Dialect()), [])],
                [UserModule("tools", {"tools.py": b"import not_there_at_all"})],
                ["A_TOKEN_NOBODY_HAS"],
                [closed],
            )
        )
        model, address, module, secret = says.missing
        assert "elsewhere" in model
        assert address == unreachable(closed) and "cannot be reached" in address
        assert "tools.py, line 1" in module and "not_there_at_all" in module
        assert secret == "A_TOKEN_NOBODY_HAS is not set"
        free.listen()
        assert unreachable(closed) == ""
