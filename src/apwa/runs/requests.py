"""What was sent for one row, as a line for a shell: the request itself, the key by its name."""

from __future__ import annotations

import msgspec

from apwa.journal import JournalReader
from apwa.models import EndpointTraits, Message, OpenAICodec, Text, Way, curl_line
from apwa.plan import user_message
from apwa.vocabulary import Values, WorkSpec
from apwa.worker import request_of


def shell_line(reader: JournalReader, spec: WorkSpec, values: Values) -> str:
    """The first request of a row as a ``curl`` line; empty if its endpoint was never reached.

    Args:
        reader: Of the run.
        spec: The row's step.
        values: The row's values, in the order of the step's columns.
    """
    way, traits = reader.fact(f"way:{spec.endpoint}"), reader.fact(f"traits:{spec.endpoint}")
    if not way or not traits:
        return ""
    reached = msgspec.msgpack.decode(way, type=Way)
    if not reached.address:  # a provider's own protocol: its SDK makes the request
        return ""
    dialect = msgspec.msgpack.decode(traits, type=EndpointTraits).dialect
    shared = request_of(spec)
    user = Message("user", [Text(user_message(spec, values)[0])])
    request = msgspec.structs.replace(shared, messages=[*shared.messages, user])
    wire = OpenAICodec(reached.address, dialect, reached.headers).encode(request)
    return curl_line(wire, reached.key_in_shell, reached.key_header)
