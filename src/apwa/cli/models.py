"""The verbs about models: doctor, practice-model."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from apwa import __version__
from apwa.cli.settings import current, merge
from apwa.cli.words import safe
from apwa.vocabulary import above_zero

if TYPE_CHECKING:
    from apwa.models import EndpointTraits, OpenedModel
    from apwa.runs import RunSettings

_KEYS = (
    "OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL",
    "GOOGLE_API_KEY", "GOOGLE_GEMINI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT",
    "AWS_REGION", "AWS_PROFILE", "OPENROUTER_API_KEY", "OLLAMA_BASE_URL", "VLLM_BASE_URL",
    "HTTPS_PROXY", "SSL_CERT_FILE", "APWA_API_KEY", "APWA_MODEL", "APWA_HOME",
)  # fmt: skip


def doctor(
    *,
    model: Annotated[str | None, Parameter(name=["--model", "-m"])] = None,
    context: int | None = None,
) -> int:
    """Say what is here, and what a model's endpoint does: a few small calls.

    Parameters
    ----------
    model
        The model to look at; default: the one configured.
    context
        The model's context size in tokens, where it cannot be found out.
    """
    import duckdb
    import pyarrow

    from apwa.runs import home_of

    above_zero({"--context": context})
    env, here = current()
    python = sys.version.split()[0]
    print(f"apwa {__version__}, Python {python}, DuckDB {duckdb.__version__}, pyarrow "
          f"{pyarrow.__version__}")  # fmt: skip
    home = home_of(env)
    print(f"runs: {home} ({'writable' if _writable(home) else 'NOT writable: set APWA_HOME'})")
    print("set: " + (", ".join(name for name in _KEYS if env.get(name)) or "no key, no address"))
    configured = merge({"model": model, "context": context}, env, here)
    if not configured.model:
        print("model: none named; see: apwa run --help")
        return 0
    return asyncio.run(_look(configured))


def _writable(home: Path) -> bool:
    while not home.exists():
        home = home.parent
    return os.access(home, os.W_OK)


async def _look(configured: RunSettings) -> int:
    from apwa.models import (
        ChatFailure,
        ModelSettings,
        find_out,
        open_model,
        price_of,
    )
    from apwa.runs import ModelProcesses, words_of

    name = configured.model
    processes = ModelProcesses(configured.practice, configured.context)
    try:
        url = await processes.url_of(name)
        opened = open_model(name, ModelSettings(own_url=url, endpoints=configured.endpoints))
        try:
            traits = await find_out(opened, context=configured.context, thorough=True)
        except ChatFailure as failure:
            print(f"model: {name} does not answer ({failure.kind.value}): {safe(failure.message)}")
            print(f"  {failure.kind.remedy.replace(', then resume', '')}")  # no run goes on here
            return 4
        else:
            if not traits.answered:
                print(f"model: {name} gives no answer")
                for note in traits.notes:
                    print(f"  note                    {safe(note)}")
                return 4
        finally:
            await opened.model.close()
    finally:
        await processes.close()
    price = price_of(opened.endpoint, opened.model_name, configured.prices)
    _tell(opened, traits, words_of(price), configured.context)
    return 0


def _tell(opened: OpenedModel, traits: EndpointTraits, price: str, given: int | None) -> None:
    rules = " (the practice model: rules that only play a model)" if opened.practice else ""
    print(f"model: {opened.model_name} at {opened.endpoint}{rules}")
    dialect = traits.dialect
    print(f"  answers under a schema  {_FORMS[traits.structured]}")
    print(f"  output limit            {dialect.limit}")
    refused = ", ".join(sorted(dialect.dropped)) or "nothing that was tried"
    print(f"  refuses                 {refused}")
    print(f"  reasoning               {_reasoning(traits)}")
    print(f"  replies                 {'streams only' if dialect.streams else 'whole'}")
    context = "unknown; give --context" if traits.context is None else f"{traits.context:,} tokens"
    print(f"  context                 {context}{'' if given is None else ', as given'}")
    if traits.widening:
        print(f"  to serve more           {traits.widening}")
    print(f"  prompts too long        {_overflow(traits)}")
    print(f"  reports usage           {'yes' if traits.reports_usage else 'no'}")
    print(f"  price                   {price}")
    for note in traits.notes:
        print(f"  note                    {safe(note)}")


_FORMS = {
    "json_schema": "held to it (json_schema)",
    "tool": "held to it as a forced tool call (tool)",
    "json_object": "held to JSON only (json_object)",
    "prompt": "asked in words only (prompt)",
}


def _reasoning(traits: EndpointTraits) -> str:
    if not traits.reasons:
        return "none seen"
    return "shown, kept apart from answers" if traits.thoughts else "hidden, counted as output"


def _overflow(traits: EndpointTraits) -> str:
    if traits.cuts_prompts:
        return "cut without a word: noticed here by their token counts"
    return "not tried" if traits.cuts_prompts is None else "refused"


def practice_model(
    *,
    port: int = 8808,
    faults: str = "",
    by_hand: Path | None = None,
    record: Path | None = None,
    replay: Path | None = None,
) -> int:
    """Serve the practice model, rules that only play a model, over the OpenAI protocol.

    Parameters
    ----------
    port
        Where to listen on 127.0.0.1; 0: any free port.
    faults
        How to misbehave, such as 429=0.5,latency=200; see docs/practice-model.md.
    by_hand
        Write each request to a file in this directory and wait for its answer file.
    record
        Write each exchange to this directory.
    replay
        Answer from recordings in this directory.
    """
    from apwa.practice import main

    arguments = ["--port", str(port), "--faults", faults]
    for flag, folder in (("--by-hand", by_hand), ("--record", record), ("--replay", replay)):
        if folder is not None:
            arguments += [flag, str(folder)]
    return main(arguments)
