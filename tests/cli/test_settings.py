"""Settings: flags over variables over files; what is wrong is named with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from apwa.cli.settings import merge, share
from apwa.vocabulary import Misuse


def test_flags_win_over_variables_and_variables_over_files(tmp_path: Path) -> None:
    (tmp_path / "apwa.toml").write_text('model = "openai:a"\nmax_cost = 1.5\nconcurrency = 4\n')
    env = {"APWA_MODEL": "openai:b", "APWA_CONCURRENCY": "8", "APWA_HOME": "/x"}
    settings = merge({"model": None, "concurrency": 16}, env, tmp_path)
    assert (settings.model, settings.concurrency, settings.max_cost) == ("openai:b", 16, 1.5)


def test_a_pyproject_table_serves_too_and_is_found_from_below(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.apwa]\nmodel = "vllm:x"\nmax_failures = "5%"\n')
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    settings = merge({}, {}, below)
    assert (settings.model, settings.max_failures) == ("vllm:x", 0.05)


def test_prices_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "apwa.toml").write_text('[prices."openai:x"]\ninput = 0.25\noutput = 2.0\n')
    assert merge({}, {}, tmp_path).prices == {"openai:x": {"input": 0.25, "output": 2.0}}


def test_a_flag_takes_back_no_rule_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "apwa.toml").write_text(
        '[policy]\n"a.x" = ["local", "openai:*"]\n"*" = ["local"]\n'
    )
    assert merge({"policy": None}, {}, tmp_path).policy == {
        "a.x": ["local", "openai:*"],
        "*": ["local"],
    }
    more = {"policy": {"a.x": ["openai:*", "ollama:*"], "b.y": []}}
    assert merge(more, {}, tmp_path).policy == {"a.x": ["openai:*"], "*": ["local"], "b.y": []}


def test_endpoints_and_parameters_come_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "apwa.toml").write_text(
        "output_tokens = 900\n[parameters]\ntemperature = 0.2\n[endpoints.corp]\n"
        'address = "http://127.0.0.1:9/v1?v=1"\nkey_command = "pass show corp"\n'
        'headers = {"X-Pass" = "$CORP_PASS"}\n'
    )
    settings = merge({}, {}, tmp_path)
    assert settings.parameters == {"temperature": 0.2} and settings.output_tokens == 900
    assert settings.endpoints["corp"].key_command == "pass show corp"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("parameters = {max_tokens = 5}", "max_tokens"),
        ("[endpoints.corp]\nadress = 'x'", "adress"),
        ("[endpoints.corp]\nheaders = {Authorization = 'Bearer sk-abc'}", "secret"),
    ],
)
def test_what_an_endpoint_may_not_hold_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "apwa.toml").write_text(text)
    with pytest.raises(Misuse, match=words) as caught:
        merge({}, {}, tmp_path)
    assert "apwa.toml" in caught.value.where and "sk-abc" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["modle = 'x'", "max_cost = 'much'", "not toml at all", "max_failures = '120%'"]
)
def test_a_wrong_setting_names_its_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "apwa.toml").write_text(text)
    with pytest.raises(Misuse) as caught:
        merge({}, {}, tmp_path)
    assert "apwa.toml" in caught.value.where


def test_shares_are_read_both_ways() -> None:
    assert share("5%", "x") == 0.05
    assert share("0.05", "x") == 0.05


def test_a_split_for_all_documents_comes_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "apwa.toml").write_text('split = "pages"\n')
    assert merge({}, {}, tmp_path).split == "pages"
    (tmp_path / "apwa.toml").write_text('split = "chapters"\n')
    with pytest.raises(Misuse, match="split"):
        merge({}, {}, tmp_path)
