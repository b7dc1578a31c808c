"""What another process needs to open the same model: plain data, and secrets apart from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from apwa.models.dialect import Dialect
from apwa.models.endpoints import ModelSettings, OpenedModel, open_model


class ModelKit(msgspec.Struct, frozen=True):
    """How a model was opened.

    Attributes:
        spec: Its name, as a person writes it.
        own_url: The address of the server that was started for this model; empty for any other.
        variables: The environment variables that opening it has read, but the key's.
        key_variable: The key's variable; empty if there is none.
        dialect: How its endpoint wants to be spoken to, as far as is known.
    """

    spec: str
    own_url: str
    variables: dict[str, str]
    key_variable: str
    dialect: Dialect


class ReadVariables(Mapping[str, str]):
    """An environment that remembers which of its variables were asked for and were there."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.read: dict[str, str] = {}

    def __getitem__(self, name: str) -> str:
        value = self.read[name] = self._env[name]
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def kit_of(
    spec: str, opened: OpenedModel, read: Mapping[str, str], own_url: str
) -> tuple[ModelKit, str]:
    """A kit of a model opened with the variables ``read``, and the key that it needs."""
    variables = {name: value for name, value in read.items() if name != opened.key_variable}
    kit = ModelKit(spec, own_url, variables, opened.key_variable, opened.model.dialect)
    return kit, read.get(opened.key_variable, "")


def open_kit(kit: ModelKit, key: str, env: Mapping[str, str]) -> OpenedModel:
    """Open the model again. A key of this machine's own environment is taken before ``key``.

    Raises Misuse if something that it needs is missing here.
    """
    variables = dict(kit.variables)
    if kit.key_variable:
        variables[kit.key_variable] = env.get(kit.key_variable) or key
    opened = open_model(kit.spec, ModelSettings(variables, kit.own_url))
    opened.model.adopt(kit.dialect)
    return opened
