"""Runs that grant functions of the user's own."""

from __future__ import annotations

import json
from pathlib import Path

from tests.capabilities.test_functions import RATES
from tests.cli.conftest import Apwa

PLAN = """
apwa: 1
steps:
  convert:
    over: sums
    template: "Look up the rate of {{currency}}."
    contract: {rate: float}
    grant: [look_up_rate]
"""


def test_a_run_grants_a_function_and_goes_on_with_it_as_it_was(apwa: Apwa, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "sums.jsonl").write_text('{"currency": "USD"}\n{"currency": "CHF"}\n')
    (tmp_path / "tools.py").write_text(RATES)
    given = ("-t", "sums=sums.jsonl", "-m", "practice", "--yes", "-o", "out.jsonl")
    refused = apwa("run", "plan.yaml", *given)
    assert refused.returncode == 2 and "look_up_rate" in refused.stderr

    (tmp_path / "apwa.toml").write_text('modules = ["tools.py"]\n')
    stopped = apwa("run", "plan.yaml", *given, "--limit", "1")
    assert stopped.returncode == 0, stopped.stderr
    (tmp_path / "tools.py").write_text("raise SystemExit('nobody loads this')")
    rest = apwa("retry", "--rows", "1", "--force", "-o", "out.jsonl")
    assert rest.returncode == 0, rest.stderr
    [row] = [json.loads(line) for line in (tmp_path / "out.jsonl").open()][:1]
    assert row["rate"] == 1.1


def test_a_secret_that_is_not_set_is_said_before_anything_is_sent(
    apwa: Apwa, tmp_path: Path
) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "sums.jsonl").write_text('{"currency": "USD"}\n')
    text = RATES.replace("pure=True", 'secrets=["RATES_TOKEN"]')
    (tmp_path / "tools.py").write_text(text)
    given = ("run", "plan.yaml", "-t", "sums=sums.jsonl", "-m", "practice", "--yes", "--no-pilot")
    refused = apwa(*given, "--module", "tools.py")
    assert refused.returncode == 2 and "RATES_TOKEN is not set" in refused.stderr
    assert not list((tmp_path / "home" / "runs").iterdir())
    done = apwa(*given, "--module", "tools.py", RATES_TOKEN="a secret of the rates")
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or b"a secret of the rates" not in path.read_bytes()
