"""A user's own functions: what tool each becomes, how they load, and a run that uses one."""

from __future__ import annotations

import asyncio
import json
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
