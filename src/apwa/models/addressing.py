"""Endpoints as a person describes them: address, key and headers. Plain data, without the key.

A key comes from an environment variable or from a command that prints it; a header may name a
variable with ``$NAME``. So what is kept with a run holds no secret.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

import msgspec

from apwa.models.failures import clip
from apwa.vocabulary import Misuse, names_secret, secret_in_address

BEARER = "authorization"
VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COMMAND_S = 60.0


class EndpointSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An endpoint under a name of the user's, or changes to one that apwa knows by name.

    Attributes:
        address: Base address, with its path; a query (``?api-version=…``) stays on each call.
        key_env: The environment variable that holds the key.
        key_command: A command that prints the key; ``key_env`` must then be left out.
        key_header: The header that carries the key, if not ``Authorization: Bearer``.
        headers: Further headers of each call. ``$NAME`` in a value stands for a variable.
    """

    address: str = ""
    key_env: str = ""
    key_command: str = ""
    key_header: str = ""
    headers: dict[str, str] = {}


class Way(msgspec.Struct, frozen=True):
    """How a shell reaches an endpoint. Kept with the run, so without any secret.

    Attributes:
        address: The base address; empty where none is known.
        key_in_shell: How a shell comes by the key: ``$OPENAI_API_KEY``; empty if there is none.
        key_header: The header that carries it; empty: it is a bearer token.
        headers: Further headers, variables in them by name.
        provider: The provider whose own protocol is spoken, with its SDK's own way of carrying
            the key; empty: OpenAI's protocol.
    """

    address: str
    key_in_shell: str = ""
    key_header: str = ""
    headers: dict[str, str] = {}
    provider: str = ""


def check_endpoints(endpoints: Mapping[str, EndpointSettings], place: str) -> None:
    """Raises Misuse, with the setting's name, for what could not be used."""
    for name, endpoint in endpoints.items():
        where = f"{place} [endpoints.{name}]"
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,39}", name):
            raise Misuse("the name of an endpoint is small letters and digits", where)
        if endpoint.key_env and endpoint.key_command:
            raise Misuse("key_env and key_command are both given", where, "Leave one out.")
        check_address(endpoint.address, where)
        for header, value in endpoint.headers.items():
            if not _HEADER.fullmatch(header) or not value.isprintable():
                raise Misuse(f"{header!r} is no header that can be sent", where)
            if names_secret(header) and not VARIABLE.search(value):
                raise Misuse(
                    f"the header {header} carries a secret, which may not stand here",
                    where,
                    'Name its variable: "$NAME". For the key itself: key_env or key_command.',
                )


def check_address(address: str, where: str) -> None:
    """Raises Misuse for an address that holds a secret: addresses stand in journals and reports."""
    if held := secret_in_address(address):
        raise Misuse(
            f"the model's address holds {held}, which would stand in the run's journal",
            where,
            "Leave it out, and name its variable in apwa.toml: [endpoints.NAME] address = …,"
            " key_env = …, and key_header = … where it is no bearer token. For a server without a"
            " name, the variable is APWA_API_KEY.",
        )


def resolved(headers: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """Headers with their variables' values. Raises Misuse for one that is not set."""

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if not env.get(name):
            raise Misuse(f"the variable {name}, which a header needs, is not set", "endpoints")
        return env[name]

    return {name: VARIABLE.sub(value, text) for name, text in headers.items()}


def secrets_of(headers: Mapping[str, str], env: Mapping[str, str]) -> list[str]:
    """The values of the variables that headers name: they stand in no message."""
    names = [found[1] or found[2] for text in headers.values() for found in VARIABLE.finditer(text)]
    return [env[name] for name in names if env.get(name)]


def key_from_command(command: str) -> str:
    """What a command prints. Raises Misuse with its own words, never with what it printed."""
    try:
        words = shlex.split(command)
        done = subprocess.run(
            words, capture_output=True, stdin=subprocess.DEVNULL, timeout=_COMMAND_S, check=False
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        why = "it took too long" if isinstance(error, subprocess.TimeoutExpired) else str(error)
        raise Misuse(f"the key's command cannot be run: {why}", "key_command") from None
    if done.returncode != 0:
        said = clip(done.stderr.decode("utf-8", "replace")) or "it said nothing"
        raise Misuse(f"the key's command ended with {done.returncode}: {said}", "key_command")
    key = done.stdout.decode("utf-8", "replace").strip()
    if not key:
        raise Misuse("the key's command printed nothing", "key_command")
    return key


def checked_key(key: str, source: str) -> str:
    """Raises Misuse for what no header could carry; says where it came from, never what it is."""
    if not key.isascii() or not key.isprintable() or " " in key:
        raise Misuse(f"{source} holds something that is no key", "model", "Set it anew.")
    return key


def page_of(base: str, page: str) -> str:
    """The address of a page below a base address, the base's query kept."""
    parts = urlsplit(base)
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urlunsplit((parts.scheme, parts.netloc, f"{path}/{page}", parts.query, ""))
