"""What another process needs to open the same model: plain data, and secrets apart from it."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping

import msgspec

from apwa.models.addressing import EndpointSettings, key_from_command
from apwa.models.dialect import Dialect
from apwa.models.endpoints import ModelSettings, OpenedModel, open_model

_KEY = "APWA_KEY_OF_"  # and the endpoint's name: stands for the command that printed the key


_printed = functools.cache(key_from_command)  # a kit is made for each host
ask_for_keys_again = _printed.cache_clear


class ModelKit(msgspec.Struct, frozen=True):
    """How a model was opened. Holds no secret.

    Attributes:
        spec: Its name, as a person writes it.
        own_url: The address of the server that was started for this model; empty for any other.
        endpoints: The user's endpoints.
        dialect: How its endpoint wants to be spoken to, as far as is known.
    """

    spec: str
    own_url: str
    endpoints: dict[str, EndpointSettings]
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
    spec: str,
    opened: OpenedModel,
    read: Mapping[str, str],
    own_url: str,
    endpoints: Mapping[str, EndpointSettings],
) -> tuple[ModelKit, dict[str, str]]:
    """A kit of a model opened with the variables ``read``, and these: keys are among them."""
    variables = dict(read)
    described: dict[str, EndpointSettings] = {}
    for name, endpoint in endpoints.items():
        if endpoint.key_command:
            # the command is this machine's: its answer goes, not it
            variable = _KEY + name.replace("-", "_").upper()
            if spec.partition(":")[0] == name or spec.partition("/")[0] == name:
                variables[variable] = _printed(endpoint.key_command)
            endpoint = msgspec.structs.replace(endpoint, key_command="", key_env=variable)
        described[name] = endpoint
    return ModelKit(spec, own_url, described, opened.model.dialect), variables


def open_kit(kit: ModelKit, variables: Mapping[str, str]) -> OpenedModel:
    """Open the model again. Raises Misuse if something that it needs is missing."""
    opened = open_model(kit.spec, ModelSettings(variables, kit.own_url, kit.endpoints))
    opened.model.adopt(kit.dialect)
    return opened
