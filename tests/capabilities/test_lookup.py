from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from apwa.capabilities import Lookup, Registry
from apwa.vocabulary import BadInput, Misuse


async def asked(arguments: dict[str, Any], key: Any) -> str:
    session = await Lookup().open(arguments)
    assert [tool.name for tool in session.tools] == ["look_up"]
    result = await session.call("look_up", {"key": key})
    return "".join(part.text for part in result.parts)


async def test_rows_in_the_grant_are_found_by_their_key() -> None:
    grant = {"rows": [{"sku": "A-1", "price": 2.5}, {"sku": "B 2", "price": 3}], "key": "sku"}
    assert await asked(grant, "A-1") == '{"sku":"A-1","price":2.5}'
    assert await asked(grant, " b  2 ") == '{"sku":"B 2","price":3}'
    assert await asked(grant, "C-3") == "nothing under this key"
    assert "give the argument key" in await asked(grant, None)


async def test_files_are_read_from_under_the_working_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "prices.csv").write_text("sku,price\nA,1\nA,2\n")
    (home / "codes.json").write_text('[{"code": 7, "name": "seven"}]')
    (home / ".secret.json").write_text('[{"code": 7}]')
    (tmp_path / "outside.csv").write_text("sku\nA\n")
    (home / "link.csv").symlink_to(tmp_path / "outside.csv")
    monkeypatch.chdir(home)
    assert await asked({"path": "prices.csv", "key": "sku"}, "A") == (
        '{"sku":"A","price":"1"}\n{"sku":"A","price":"2"}'
    )
    assert "seven" in await asked({"path": "codes.json", "key": "code"}, 7)
    for path in ("../outside.csv", "link.csv", str(tmp_path / "outside.csv"), ".secret.json"):
        with pytest.raises(Misuse):
            await asked({"path": path, "key": "sku"}, "A")
    for path, key in (("absent.csv", "sku"), ("prices.csv", "code")):
        with pytest.raises(BadInput):
            await asked({"path": path, "key": key}, "A")


def test_the_cards_say_what_a_grant_may_hold() -> None:
    registry = Registry.builtin()
    assert registry.names == ["calculator", "lookup"]
    valid = jsonschema_rs.validator_for(registry.get("lookup").card.arguments).is_valid
    assert valid({"rows": [{"a": 1}], "key": "a"}) and valid({"path": "x.csv", "key": "a"})
    assert not valid({"key": "a"}) and not valid({"rows": [], "path": "x", "key": "a"})
    assert jsonschema_rs.validator_for(registry.get("calculator").card.arguments).is_valid({})


def test_an_unknown_capability_is_named_with_the_known_ones() -> None:
    with pytest.raises(Misuse, match="no capability 'shell'") as refused:
        Registry.builtin().get("shell")
    assert refused.value.todo == "There are: calculator, lookup."
    with pytest.raises(Misuse):
        Registry.builtin().add(Lookup())
