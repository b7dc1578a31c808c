"""From a model's name, as a person writes it, to a client of its endpoint.

Keys and addresses come from the environment variables that people have set already. A missing
key is said before anything else happens.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from apwa.models.client import LeanChat
from apwa.models.dialect import Dialect
from apwa.models.on_this_machine import local_file, practice_faults
from apwa.models.prices import LOCAL, PRACTICE
from apwa.vocabulary import Misuse

PRACTICE_MODEL = "apwa-practice"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Where keys, addresses and the practice model are found.

    Attributes:
        env: Environment variables; the process's own if None.
        own_url: The address, with ``/v1``, of the server that was started for this model: the
            practice model, or one of a model file; empty for any other.
        on_notice: Told once of each parameter that an endpoint refuses.
    """

    env: Mapping[str, str] | None = None
    own_url: str = ""
    on_notice: Callable[[str], None] = field(default=lambda notice: None)


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A model that can be called.

    Attributes:
        model: The client. Close it in the end.
        endpoint: The endpoint's name: ``openai``, or its address where it is a server of one's
            own. One endpoint has one pace.
        model_name: The model's name as the endpoint has it.
        practice: Whether the practice model answers: say so wherever it shows.
        key_variable: The environment variable of the key; empty if there is none.
    """

    model: LeanChat
    endpoint: str
    model_name: str
    practice: bool = False
    key_variable: str = ""


_PLAIN = Dialect()


@dataclass(frozen=True, slots=True)
class _Provider:
    address: str
    address_variable: str
    key_variable: str
    needs_key: bool = True
    dialect: Dialect = _PLAIN


_PROVIDERS = {
    "openai": _Provider(
        "https://api.openai.com/v1",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        dialect=Dialect(limit="max_completion_tokens", schema_with_tools=True),
    ),
    "openrouter": _Provider(
        "https://openrouter.ai/api/v1", "OPENROUTER_BASE_URL", "OPENROUTER_API_KEY"
    ),
    "anthropic": _Provider(
        "https://api.anthropic.com/v1", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"
    ),
    "google": _Provider(
        "https://generativelanguage.googleapis.com/v1beta/openai",
        "GOOGLE_BASE_URL",
        "GOOGLE_API_KEY",
    ),
    "ollama": _Provider(
        "http://localhost:11434/v1", "OLLAMA_BASE_URL", "OLLAMA_API_KEY", needs_key=False
    ),
    "vllm": _Provider("http://localhost:8000/v1", "VLLM_BASE_URL", "VLLM_API_KEY", needs_key=False),
}

_OWN_KEY = "APWA_API_KEY"
_WAYS = (
    "Name it openai:MODEL, anthropic:MODEL, google:MODEL, openrouter:MODEL, ollama:MODEL, "
    "vllm:MODEL, http://HOST:PORT/v1#MODEL for any server that speaks the OpenAI protocol, "
    "gguf:FILE or smollm2 for a model on this machine, or practice for the practice model."
)


def open_model(spec: str, settings: ModelSettings | None = None) -> OpenedModel:
    """Make a client for the model that ``spec`` names. Sends nothing yet.

    Raises:
        Misuse: The name is not understood, or a key or the practice model is missing.
    """
    settings = settings or ModelSettings()
    env = os.environ if settings.env is None else settings.env
    spec = spec.strip()
    if practice_faults(spec) is not None:
        return _open_practice(settings)
    file = local_file(spec)
    if file is not None:
        return _open_local(spec, file, settings)
    if spec.startswith(("http://", "https://")):
        return _open_address(spec, env, settings)
    name, model = _split(spec)
    provider = _PROVIDERS.get(name)
    if provider is None or not model:
        raise Misuse(f"the model {spec!r} is not understood", "model", _WAYS)
    return _open_provider(name, provider, model, env, settings)


def _split(spec: str) -> tuple[str, str]:
    """``openai:x`` and ``openai/x`` mean the same; what follows may hold either mark again."""
    ends = [at for at in (spec.find(":"), spec.find("/")) if at >= 0]
    if not ends:
        return "", spec
    return spec[: min(ends)].lower(), spec[min(ends) + 1 :]


def _open_practice(settings: ModelSettings) -> OpenedModel:
    if not settings.own_url:
        raise Misuse(
            "the practice model is not running", "model", "Start it with: apwa practice-model"
        )
    chat = LeanChat(_address(settings.own_url), on_notice=settings.on_notice)
    return OpenedModel(chat, PRACTICE, PRACTICE_MODEL, practice=True)


def _open_local(spec: str, file: str, settings: ModelSettings) -> OpenedModel:
    if not settings.own_url:
        raise Misuse(f"the model {spec} is not running", "model", "Name it as --model of a run.")
    chat = LeanChat(_address(settings.own_url), on_notice=settings.on_notice)
    return OpenedModel(chat, LOCAL, Path(file).stem)


def _open_address(spec: str, env: Mapping[str, str], settings: ModelSettings) -> OpenedModel:
    address, _, model = spec.partition("#")
    if not model or not urlsplit(address).hostname:
        raise Misuse(f"the model {spec!r} names no model of that server", "model", _WAYS)
    base = _address(address)
    key = _key(env, _OWN_KEY)
    chat = LeanChat(base, key, on_notice=settings.on_notice)
    return OpenedModel(chat, base, model, key_variable=_OWN_KEY if key else "")


def _open_provider(
    name: str,
    provider: _Provider,
    model: str,
    env: Mapping[str, str],
    settings: ModelSettings,
) -> OpenedModel:
    elsewhere = env.get(provider.address_variable, "").strip()
    base = _address(elsewhere or provider.address)
    moved = base != provider.address
    key = _key(env, provider.key_variable)
    if not key and provider.needs_key and not moved:
        raise Misuse(
            f"{provider.key_variable} is not set, which {name}:{model} needs",
            "model",
            f"Set {provider.key_variable}, or name another model: {_WAYS}",
        )
    organisation = env.get("OPENAI_ORG_ID", "").strip() if name == "openai" else ""
    chat = LeanChat(
        base,
        key,
        # another server at this address need not speak as the provider does
        dialect=Dialect() if moved else provider.dialect,
        headers={"openai-organization": organisation} if organisation else None,
        on_notice=settings.on_notice,
    )
    # by its address, so that the provider's prices are not taken for another's
    endpoint = base if moved and provider.needs_key else name
    return OpenedModel(chat, endpoint, model, key_variable=provider.key_variable if key else "")


def _address(text: str) -> str:
    """A base address as given; a bare server's gets the protocol's usual path."""
    address = text.strip().rstrip("/")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misuse(f"{text!r} is no address of a model server", "model", _WAYS)
    return address if parts.path else f"{address}/v1"


def _key(env: Mapping[str, str], variable: str) -> str:
    key = env.get(variable, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Misuse(f"{variable} holds something that is no key", "model", "Set it anew.")
    return key
