"""Language models: one lean client for every server that speaks the OpenAI protocol.

It names models, finds out what their endpoints do, sends and reads calls, says what went wrong
and what it cost. It never retries for pace, never decides what a failure means for a row, keeps
no list of models, and shows a key to nobody.
"""

from apwa.models.addressing import EndpointSettings, Way, check_address, check_endpoints
from apwa.models.client import LeanChat
from apwa.models.dialect import Dialect, LearningChat
from apwa.models.endpoints import ModelSettings, OpenedModel, open_model
from apwa.models.kits import ModelKit, ReadVariables, ask_for_keys_again, kit_of, open_kit
from apwa.models.on_this_machine import local_file, practice_faults
from apwa.models.openai_codec import OpenAICodec, canonical_bytes, curl_line
from apwa.models.prices import PRACTICE, context_of, cost, own_price, price_of
from apwa.models.probing import EndpointTraits, find_out
from apwa.models.provider_wire import native_wire, shell_options
from apwa.models.seam import (
    ChatFailure,
    ChatModel,
    ChatReply,
    ChatRequest,
    Codec,
    Image,
    Message,
    Part,
    PreparedChat,
    Role,
    Stop,
    Structured,
    Text,
    Tokens,
    ToolCall,
    ToolSpec,
    Transport,
    WireReply,
    WireRequest,
)
from apwa.models.transport import HttpTransport, proxy_for

__all__ = [
    "PRACTICE",
    "ChatFailure",
    "ChatModel",
    "ChatReply",
    "ChatRequest",
    "Codec",
    "Dialect",
    "EndpointSettings",
    "EndpointTraits",
    "HttpTransport",
    "Image",
    "LeanChat",
    "LearningChat",
    "Message",
    "ModelKit",
    "ModelSettings",
    "OpenAICodec",
    "OpenedModel",
    "Part",
    "PreparedChat",
    "ReadVariables",
    "Role",
    "Stop",
    "Structured",
    "Text",
    "Tokens",
    "ToolCall",
    "ToolSpec",
    "Transport",
    "Way",
    "WireReply",
    "WireRequest",
    "ask_for_keys_again",
    "canonical_bytes",
    "check_address",
    "check_endpoints",
    "context_of",
    "cost",
    "curl_line",
    "find_out",
    "kit_of",
    "local_file",
    "native_wire",
    "open_kit",
    "open_model",
    "own_price",
    "practice_faults",
    "price_of",
    "proxy_for",
    "shell_options",
]
