"""A user's own functions: what tool each becomes, how they load, and a run that uses one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from apwa.capabilities import Registry, UserFunction, load_module, pack_module
from apwa.models import Text
from apwa.vocabulary import Misuse

RATES = '''
import apwa

RATES = {"USD": 1.1, "CHF": 0.95}


@apwa.capability(pure=True)
def look_up_rate(currency: str, digits: int = 2) -> float:
    """Look up what one euro is worth in a currency, by its code of three letters."""
    if currency not in RATES:
        raise ValueError(f"no currency {currency}; there are {', '.join(RATES)}")
    return round(RATES[currency], digits)
'''


def _loaded(tmp_path: Path, text: str) -> list[UserFunction]:
    (tmp_path / "tools.py").write_text(dedent(text))
    return load_module(pack_module(tmp_path / "tools.py"))


def _called(function: UserFunction, **arguments: Any) -> tuple[str, bool]:
    result = asyncio.run(function.call(function.card.name, arguments))
    [part] = result.parts
    assert isinstance(part, Text)
    return part.text, result.failed


def test_a_function_becomes_a_tool_by_its_types_and_docstring(tmp_path: Path) -> None:
    [rate] = _loaded(tmp_path, RATES)
    assert rate.card.name == "look_up_rate" and rate.card.shareable
    [tool] = rate.tools
    assert tool.description.startswith("Look up what one euro is worth")
    assert tool.parameters == {
        "type": "object",
        "properties": {"currency": {"type": "string"}, "digits": {"default": 2, "type": "integer"}},
        "required": ["currency"],
        "additionalProperties": False,
    }
    assert _called(rate, currency="CHF") == ("0.95", False)
    assert _called(rate, currency="CHF", digits=1) == ("0.9", False)
    words, failed = _called(rate, currency="XXX")
    assert failed and words == "no currency XXX; there are USD, CHF"
    words, failed = _called(rate, curency="USD")
    assert failed and "currency: Field required" in words and "curency" in words


def test_async_functions_values_of_classes_and_large_results(tmp_path: Path) -> None:
    functions = _loaded(
        tmp_path,
        '''
        from dataclasses import dataclass
        from apwa import capability

        @dataclass
        class Place:
            name: str
            inhabitants: int

        @capability
        async def place(name: str, tags: list[str]) -> Place:
            """A place by name."""
            return Place(name, len(tags))

        @capability
        def much() -> str:
            """Too much."""
            return "x" * 200_000

        @capability
        def broken() -> str:
            """Breaks."""
            raise KeyError("gone")

        def not_marked() -> None: ...
        ''',
    )
    by_name = {function.card.name: function for function in functions}
    assert sorted(by_name) == ["broken", "much", "place"]
    assert not by_name["place"].card.shareable  # nobody has said that it is pure
    words, failed = _called(by_name["place"], name="Ulm", tags=["a", "b"])
    assert (json.loads(words), failed) == ({"name": "Ulm", "inhabitants": 2}, False)
    words, failed = _called(by_name["much"])
    assert failed and "200,000 characters" in words
    with pytest.raises(KeyError):
        _called(by_name["broken"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "import nowhere_to_be_found",
            "tools.py, line 1: the module does not load: ModuleNotFound",
        ),
        ("x = 1\ny = (", "tools.py, line 2: the module does not load: SyntaxError"),
        ("x = 1", "the module has no capabilities"),
        ("import apwa\n@apwa.capability\ndef f(x: int): ...", "line 2, f: the function has no doc"),
        (
            "import apwa\n@apwa.capability\ndef f(x):\n  'Does.'",
            "line 2, f: the parameter x has no type",
        ),
        (
            "import apwa\n@apwa.capability\ndef f(*x: int):\n  'Does.'",
            "the parameter *x: int cannot be given by name",
        ),
        (
            "import apwa, socket\n@apwa.capability\ndef f(x: socket.socket):\n  'Does.'",
            "no tool can be made of its parameters",
        ),
    ],
)
def test_a_module_that_cannot_be_used_says_why_and_where(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(Misuse) as error:
        _loaded(tmp_path, text)
    assert words in str(error.value)


def test_packages_load_with_their_parts_and_two_versions_side_by_side(tmp_path: Path) -> None:
    package = tmp_path / "tools"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from pathlib import Path\nimport apwa\nfrom .words import hello\n"
        "@apwa.capability\ndef greet(name: str) -> str:\n  'Greets.'\n"
        "  return hello(name) + Path(__file__).with_name('end.txt').read_text()\n"
    )
    (package / "words.py").write_text("def hello(name): return f'Hello {name}'")
    (package / "end.txt").write_text("!")
    [first] = load_module(pack_module(package))
    (package / "end.txt").write_text("?")
    [second] = load_module(pack_module(package))
    assert _called(first, name="Ada") == ("Hello Ada!", False)
    assert _called(second, name="Ada") == ("Hello Ada?", False)
    assert first.card.version != second.card.version


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "tools.py").write_text(
        "import apwa\n@apwa.capability\ndef lookup(key: str) -> str:\n  'Looks.'\n  return key\n"
    )
    with pytest.raises(Misuse, match="two capabilities called lookup"):
        Registry.builtin([pack_module(tmp_path / "tools.py")])


PLAN = """
apwa: 1
steps:
  convert:
    over: sums
    template: "Look up the rate of {{currency}}."
    contract: {rate: float}
    grant: [look_up_rate]
"""


def _apwa(at: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    import os

    kept = {n: v for n, v in os.environ.items() if not n.startswith("APWA_")}
    return subprocess.run(
        [sys.executable, "-m", "apwa", *arguments], cwd=at, stdin=subprocess.DEVNULL, text=True,
        env=kept | {"APWA_HOME": str(at / "home")} | env, capture_output=True, timeout=100,
        check=False,
    )  # fmt: skip


def test_a_run_grants_a_function_and_goes_on_with_it_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "sums.jsonl").write_text('{"currency": "USD"}\n{"currency": "CHF"}\n')
    (tmp_path / "tools.py").write_text(RATES)
    given = ("-t", "sums=sums.jsonl", "-m", "practice", "--yes", "-o", "out.jsonl")
    refused = _apwa(tmp_path, "run", "plan.yaml", *given)
    assert refused.returncode == 2 and "look_up_rate" in refused.stderr

    (tmp_path / "apwa.toml").write_text('modules = ["tools.py"]\n')
    stopped = _apwa(tmp_path, "run", "plan.yaml", *given, "--limit", "1")
    assert stopped.returncode == 0, stopped.stderr
    (tmp_path / "tools.py").write_text("raise SystemExit('nobody loads this')")
    rest = _apwa(tmp_path, "retry", "--rows", "1", "--force", "-o", "out.jsonl")
    assert rest.returncode == 0, rest.stderr
    [row] = [json.loads(line) for line in (tmp_path / "out.jsonl").open()][:1]
    assert row["rate"] == 1.1


def test_a_secret_that_is_not_set_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    (tmp_path / "sums.jsonl").write_text('{"currency": "USD"}\n')
    text = RATES.replace("pure=True", 'secrets=["RATES_TOKEN"]')
    (tmp_path / "tools.py").write_text(text)
    given = ("run", "plan.yaml", "-t", "sums=sums.jsonl", "-m", "practice", "--yes", "--no-pilot")
    refused = _apwa(tmp_path, *given, "--module", "tools.py")
    assert refused.returncode == 2 and "RATES_TOKEN is not set" in refused.stderr
    assert not list((tmp_path / "home" / "runs").iterdir())
    done = _apwa(tmp_path, *given, "--module", "tools.py", RATES_TOKEN="a secret of the rates")
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "home").rglob("*"):
        assert not path.is_file() or b"a secret of the rates" not in path.read_bytes()
