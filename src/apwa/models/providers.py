"""``native:PROVIDER:MODEL``: providers by their own protocols (extra ``providers``).

The libraries take seconds to import, so nothing of them is touched before such a name is used.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apwa.vocabulary import Misuse

if TYPE_CHECKING:
    from apwa.models.provider_chat import ProviderChat

NATIVE = "native"


@dataclass(frozen=True, slots=True)
class NativeProvider:
    """A provider that can be reached by its own protocol.

    Attributes:
        key_variable: Where its key is, as its own SDK has it; empty where it finds keys itself.
        address_variable: Another address, as its own SDK has it.
        address: Its own, for prices and messages.
        body_field: The setting by which it takes fields that it alone knows; empty: none.
        raw: Settings that its class leaves out for some models, without a word to the caller.
        effort_field: Where its class takes an effort unchanged; empty: as ``thinking``, which it
            translates.
        curl_options: What ``curl`` needs to sign its requests; empty: they are not signed.
    """

    key_variable: str
    address_variable: str
    address: str
    body_field: str = "extra_body"
    raw: frozenset[str] = frozenset()
    effort_field: str = ""
    curl_options: str = ""


_SIGNED_FOR_AWS = (
    '--aws-sigv4 "aws:amz:${AWS_REGION:-$AWS_DEFAULT_REGION}:bedrock"'
    ' --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"'
    ' -H "x-amz-security-token: $AWS_SESSION_TOKEN"'  # an empty one is not sent
)
PROVIDERS: Mapping[str, NativeProvider] = {
    "anthropic": NativeProvider(
        "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "https://api.anthropic.com"
    ),
    "google": NativeProvider(
        "GOOGLE_API_KEY",
        "GOOGLE_GEMINI_BASE_URL",
        "https://generativelanguage.googleapis.com",
        body_field="",
    ),
    "bedrock": NativeProvider(
        "",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        "",
        "bedrock_additional_model_requests_fields",
        curl_options=_SIGNED_FOR_AWS,
    ),
    "openai": NativeProvider(
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "https://api.openai.com/v1",
        raw=frozenset({"temperature", "top_p"}),
        effort_field="openai_reasoning_effort",
    ),
}


def is_native(spec: str) -> bool:
    """Whether a name asks for a provider's own protocol."""
    return spec.strip().startswith(f"{NATIVE}:")


def split_native(spec: str) -> tuple[str, str]:
    """Provider and model. Raises Misuse for a name that is none, or a missing library."""
    _, provider, *rest = [*spec.strip().split(":", 2), "", ""]
    model = rest[0]
    if provider not in PROVIDERS or not model:
        known = ", ".join(f"native:{name}:MODEL" for name in PROVIDERS)
        raise Misuse(f"the model {spec!r} is not understood", "model", f"There are: {known}.")
    if importlib.util.find_spec("pydantic_ai") is None:
        raise Misuse(
            "providers' own protocols need libraries that are not installed",
            "model",
            "Install them with: pip install 'apwa[providers]'",
        )
    return provider, model


def open_native(
    provider: str,
    model: str,
    key: str,
    address: str,
    headers: Mapping[str, str],
    on_notice: Callable[[str], None],
    *,
    secrets: Sequence[str] = (),
) -> ProviderChat:
    """A client for a model. Raises Misuse where its SDK finds no credentials or region."""
    from pydantic_ai.exceptions import UserError

    from apwa.models.provider_chat import ProviderChat

    known = PROVIDERS[provider]
    try:
        made = _MAKERS[provider](model, key, address, dict(headers))
    except (UserError, ValueError, ImportError) as error:
        words = f"{NATIVE}:{provider}:{model} cannot be opened: {error}"
        raise Misuse(words, "model", "See docs/models.md for what each provider needs.") from None
    return ProviderChat(
        made, address or known.address or made.base_url, key,
        body_field=known.body_field, raw=known.raw, effort_field=known.effort_field,
        secrets=secrets, on_notice=on_notice,
    )  # fmt: skip


def _anthropic(model: str, key: str, address: str, headers: dict[str, str]) -> Any:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    client = AsyncAnthropic(
        api_key=key, base_url=address or None, default_headers=headers, max_retries=0
    )
    return AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client))


def _google(model: str, key: str, address: str, headers: dict[str, str]) -> Any:
    from google.genai import Client
    from google.genai.types import HttpOptions
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider

    options = HttpOptions(base_url=address or None, headers=headers)
    client = Client(api_key=key, vertexai=False, http_options=options)
    return GoogleModel(model, provider=GoogleProvider(client=client))


def _openai(model: str, key: str, address: str, headers: dict[str, str]) -> Any:
    from openai import AsyncOpenAI
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    client = AsyncOpenAI(
        api_key=key or "none", base_url=address or None, default_headers=headers, max_retries=0
    )
    return OpenAIResponsesModel(model, provider=OpenAIProvider(openai_client=client))


def _bedrock(model: str, key: str, address: str, headers: dict[str, str]) -> Any:
    import boto3
    from botocore.config import Config
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    given: dict[str, str] = {}
    if key:  # a stand-in, for a request that goes nowhere: AWS's SDK finds real ones itself
        given = {"aws_access_key_id": key, "aws_secret_access_key": key}
        region = region or "us-east-1"
    if not region:
        raise ValueError("AWS_REGION is not set")
    most = Config(retries={"total_max_attempts": 1}, max_pool_connections=256, read_timeout=600)
    make: Any = boto3.Session().client  # a session of its own finds the credentials of now
    client = make(
        "bedrock-runtime", region_name=region, endpoint_url=address or None, config=most, **given
    )
    return BedrockConverseModel(model, provider=BedrockProvider(bedrock_client=client))


_MAKERS: Mapping[str, Callable[[str, str, str, dict[str, str]], Any]] = {
    "anthropic": _anthropic,
    "google": _google,
    "openai": _openai,
    "bedrock": _bedrock,
}
