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

from apwa.models.addressing import (
    EndpointSettings,
    Way,
    check_address,
    checked_key,
    key_from_command,
    resolved,
    secrets_of,
)
from apwa.models.client import LeanChat
from apwa.models.dialect import Dialect, LearningChat
from apwa.models.on_this_machine import local_file, practice_faults
from apwa.models.prices import LOCAL, PRACTICE
from apwa.models.providers import PROVIDERS, is_native, open_native, split_native
from apwa.vocabulary import Misuse

PRACTICE_MODEL = "apwa-practice"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Where keys, addresses and the practice model are found.

    Attributes:
        env: Environment variables; the process's own if None.
        own_url: The address, with ``/v1``, of the server that was started for this model: the
            practice model, or one of a model file; empty for any other.
        endpoints: The user's endpoints, and changes to those known by name.
        on_notice: Told once of each parameter that an endpoint refuses.
    """

    env: Mapping[str, str] | None = None
    own_url: str = ""
    endpoints: Mapping[str, EndpointSettings] = field(default_factory=dict[str, EndpointSettings])
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
        way: How a shell reaches the endpoint.
        elsewhere: Its address, where a variable of the environment leads it to another than its
            name says.
    """

    model: LearningChat
    endpoint: str
    model_name: str
    way: Way
    practice: bool = False
    elsewhere: str = ""


_PLAIN = Dialect()


@dataclass(frozen=True, slots=True)
class _Provider:
    address: str
    address_variable: str
    key_variable: str
    needs_key: bool = True
    key_header: str = ""
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
_AZURE = "azure"
_AZURE_ADDRESS = "AZURE_OPENAI_ENDPOINT"
_WAYS = (
    "Name it openai:MODEL, azure:MODEL, anthropic:MODEL, google:MODEL, openrouter:MODEL, "
    "ollama:MODEL, vllm:MODEL, http://HOST:PORT/v1#MODEL for any server that speaks the OpenAI "
    "protocol, native:PROVIDER:MODEL for a provider's own, gguf:FILE or smollm2 for a model on "
    "this machine, or practice for the practice model."
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
    if is_native(spec):
        return _open_native(spec, env, settings)
    name, model = _split(spec)
    own = settings.endpoints.get(name, EndpointSettings())
    provider = _azure(model, env, own) if name == _AZURE else _PROVIDERS.get(name)
    if provider is None and own.address:
        provider = _Provider(_address(own.address), "", own.key_env, needs_key=False)
    if provider is None or not model:
        raise Misuse(f"the model {spec!r} is not understood", "model", _ways(settings.endpoints))
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
    way = Way(_address(settings.own_url))
    return OpenedModel(chat, PRACTICE, PRACTICE_MODEL, way, practice=True)


def _open_local(spec: str, file: str, settings: ModelSettings) -> OpenedModel:
    if not settings.own_url:
        raise Misuse(f"the model {spec} is not running", "model", "Name it as --model of a run.")
    chat = LeanChat(_address(settings.own_url), on_notice=settings.on_notice)
    return OpenedModel(chat, LOCAL, Path(file).stem, Way(_address(settings.own_url)))


def _ways(endpoints: Mapping[str, EndpointSettings]) -> str:
    own = ", ".join(f"{name}:MODEL" for name in endpoints if name not in _PROVIDERS)
    return f"{_WAYS} Yours: {own}." if own else _WAYS


def _open_address(spec: str, env: Mapping[str, str], settings: ModelSettings) -> OpenedModel:
    address, _, model = spec.partition("#")
    check_address(address, "model")
    if not model or not urlsplit(address).hostname:
        raise Misuse(f"the model {spec!r} names no model of that server", "model", _WAYS)
    base = _address(address)
    key = checked_key(env.get(_OWN_KEY, "").strip(), _OWN_KEY)
    chat = LeanChat(base, key, on_notice=settings.on_notice)
    return OpenedModel(chat, base, model, Way(base, f"${_OWN_KEY}" if key else ""))


def _open_provider(
    name: str,
    provider: _Provider,
    model: str,
    env: Mapping[str, str],
    settings: ModelSettings,
) -> OpenedModel:
    own = settings.endpoints.get(name, EndpointSettings())
    variable = env.get(provider.address_variable, "").strip()
    # azure's address is made from the user's setting already
    elsewhere = variable or (own.address if name != _AZURE else "")
    base = _address(elsewhere or provider.address)
    moved = base != provider.address
    key, in_shell = _key_of(name, model, provider, own, env, required=not moved)
    in_words = {header.lower(): value for header, value in own.headers.items()}
    if name == "openai" and env.get("OPENAI_ORG_ID"):
        in_words.setdefault("openai-organization", "$OPENAI_ORG_ID")
    key_header = own.key_header.lower() or provider.key_header
    chat = LeanChat(
        base,
        key,
        key_header=key_header,
        # another server at this address need not speak as the provider does
        dialect=Dialect() if moved else provider.dialect,
        headers=resolved(in_words, env),
        secrets=secrets_of(in_words, env),
        on_notice=settings.on_notice,
    )
    # by its address, so that the provider's prices are not taken for another's
    endpoint = base if moved and provider.needs_key else name
    way = Way(base, in_shell, key_header, in_words)
    led = moved if variable else name == _AZURE and not own.address and not _of_azure(base)
    return OpenedModel(chat, endpoint, model, way, elsewhere=base if led else "")


def _open_native(spec: str, env: Mapping[str, str], settings: ModelSettings) -> OpenedModel:
    name, model = split_native(spec)
    native = PROVIDERS[name]
    own = settings.endpoints.get(name, EndpointSettings())
    led = env.get(native.address_variable, "").strip()
    address = led or own.address
    provider = _Provider(native.address, "", native.key_variable, bool(native.key_variable))
    if not native.key_variable and (own.key_env or own.key_command):
        raise Misuse(
            f"the key of {spec} cannot be set here", f"[endpoints.{name}]",
            "Its own SDK finds it: see docs/models.md.",
        )  # fmt: skip
    key, in_shell = _key_of(name, model, provider, own, env, required=not address)
    headers = {header.lower(): value for header, value in own.headers.items()}
    chat = open_native(
        name, model, key, address, resolved(headers, env), settings.on_notice,
        secrets=secrets_of(headers, env),
    )  # fmt: skip
    endpoint = address if address and native.key_variable else name
    elsewhere = led if led.rstrip("/") != native.address else ""
    way = Way(chat.base_url, in_shell, headers=headers, provider=name)
    return OpenedModel(chat, endpoint, model, way, elsewhere=elsewhere)


def _key_of(
    name: str,
    model: str,
    provider: _Provider,
    own: EndpointSettings,
    env: Mapping[str, str],
    *,
    required: bool,
) -> tuple[str, str]:
    """The key, and how a shell comes by it."""
    if own.key_command:
        key = checked_key(key_from_command(own.key_command), "what the key's command printed")
        return key, f"$({own.key_command})"
    variable = own.key_env or provider.key_variable
    key = checked_key(env.get(variable, "").strip(), variable)
    if not key and (own.key_env or (provider.needs_key and required)):
        raise Misuse(
            f"{variable} is not set, which {name}:{model} needs",
            "model",
            f"Set {variable}, or name another model: {_WAYS}",
        )
    return key, f"${variable}" if key else ""


def _azure(model: str, env: Mapping[str, str], own: EndpointSettings) -> _Provider:
    """Azure: the model is a deployment, and a version of the API, where one is set, a query."""
    resource = (own.address or env.get(_AZURE_ADDRESS, "")).strip().rstrip("/")
    if not resource:
        raise Misuse(
            f"{_AZURE_ADDRESS} is not set, which {_AZURE}:{model} needs",
            "model",
            "Set it to the resource's address, such as https://NAME.openai.azure.com.",
        )
    check_address(resource, "model")
    version = env.get("OPENAI_API_VERSION", "").strip()
    if urlsplit(resource).path:  # the whole address is given
        address = _address(resource)
    elif version:
        address = f"{resource}/openai/deployments/{model}?api-version={version}"
    else:
        address = f"{resource}/openai/v1"
    return _Provider(address, "", "AZURE_OPENAI_API_KEY", key_header="api-key")


def _of_azure(address: str) -> bool:
    return (urlsplit(address).hostname or "").endswith((".azure.com", ".azure.us", ".azure.cn"))


def _address(text: str) -> str:
    """A base address as given; a bare server's gets the protocol's usual path."""
    address = text.strip().rstrip("/")
    check_address(address, "model")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misuse(f"{text!r} is no address of a model server", "model", _WAYS)
    return address if parts.path or parts.query else f"{address}/v1"
