"""The models of a run, each opened once: client, what its endpoint does, and its price."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
from collections import ChainMap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import msgspec

from apwa.journal import Journal
from apwa.models import (
    ChatFailure,
    EndpointTraits,
    ModelKit,
    ModelSettings,
    OpenedModel,
    ReadVariables,
    Way,
    ask_for_keys_again,
    check_endpoints,
    find_out,
    kit_of,
    local_file,
    open_model,
    own_price,
    practice_faults,
    price_of,
)
from apwa.plan import Destination
from apwa.runs.served import ModelProcesses
from apwa.runs.settings import RunSettings
from apwa.vocabulary import NUSD_PER_USD, Follow, Misuse, Paused, Price, RunFailed, Tier
from apwa.vocabulary.events import EndpointFound, Event, Trouble

NO_MODEL = Misuse(
    "no model is named",
    "--model",
    "Name one: --model openai:MODEL (or azure:, anthropic:, google:, openrouter:, ollama:, vllm:,"
    " native:PROVIDER:MODEL, http://HOST:PORT/v1#MODEL), or set APWA_MODEL, or"
    ' model = "…" in apwa.toml.'
    " On this machine: smollm2, or gguf:FILE. To try apwa without any: --model practice, rules that"
    " only play a model.",
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model as the run uses it."""

    spec: str
    opened: OpenedModel
    traits: EndpointTraits
    price: Price | None
    context: int | None


class Endpoints:
    """Opens models by name. Probes each once per run; what it found is kept in the journal."""

    def __init__(
        self, settings: RunSettings, journal: Journal, emit: Callable[[Event], None]
    ) -> None:
        check_endpoints(settings.endpoints, "settings")
        self._settings = settings
        self._journal = journal
        self._emit = emit
        self._open: dict[str, Endpoint] = {}
        self._clients: dict[str, OpenedModel] = {}
        self._read: dict[str, ReadVariables] = {}
        self._handed: dict[str, str] = {}  # variables that came after this process had begun
        self._urls: dict[str, str] = {}  # of servers that are ours
        self._processes = ModelProcesses(settings.practice, settings.context)
        self._lock = asyncio.Lock()

    def model_named(self, spec: str) -> str:
        """The model for a template or the manager: its own, else the run's.

        Raises Misuse where none is named: nothing falls back to the practice model by itself.
        """
        name = spec or self._settings.model
        if not name:
            raise NO_MODEL
        return name

    async def get(self, spec: str) -> Endpoint:
        """Raises Misuse (name, key) or Paused (account, endpoint) before any row is spent on."""
        name = self.model_named(spec)
        async with self._lock:
            if name not in self._open:
                self._open[name] = await self._enter(name)
            return self._open[name]

    async def _enter(self, spec: str) -> Endpoint:
        opened = await self.opened(spec)
        price = await self._price(spec, opened)
        if self._settings.max_cost is not None and price is None:
            raise Misuse(
                f"the price of {spec} is unknown, so a cap in money cannot be kept",
                "--max-cost",
                "Give it: --price INPUT,OUTPUT (US dollars per million tokens), or in apwa.toml:"
                f' [prices."{spec}"] input = …, output = …; or cap --max-tokens or --max-calls'
                " instead.",
            )
        traits = await self._traits(spec, opened)
        await self._keep_found(spec, traits, opened.way)
        context = self._settings.context or traits.context
        endpoint = Endpoint(spec, opened, traits, price, context)
        self._say(endpoint)
        return endpoint

    def _say(self, endpoint: Endpoint) -> None:
        traits, price = endpoint.traits, words_of(endpoint.price)
        name, notes = endpoint.opened.model_name, traits.notes
        self._emit(
            EndpointFound(endpoint.spec, name, traits.structured, endpoint.context, price, notes)
        )

    def unpriced(self) -> str:
        """A model of the run whose price is unknown; empty if there is none."""
        return next((e.spec for e in self._open.values() if e.price is None), "")

    async def _price(self, spec: str, opened: OpenedModel) -> Price | None:
        """The price by which the run counts: the user's, else the one that it began with."""
        price = own_price(opened.endpoint, opened.model_name, self._settings.prices)
        kept = self._journal.reader.fact(f"price:{spec}")
        if price is None and kept is not None:
            return msgspec.msgpack.decode(kept, type=Price)
        price = price or price_of(opened.endpoint, opened.model_name)
        if price is not None:
            await self._journal.put_fact(f"price:{spec}", msgspec.msgpack.encode(price))
        return price

    async def opened(self, spec: str) -> OpenedModel:
        """A client, not yet probed; starts the model's server if that is ours to start."""
        if spec not in self._clients:
            self._urls[spec] = await self._processes.url_of(spec)
            self._clients[spec], self._read[spec] = await self._opened_by(self._settings, spec)
        return self._clients[spec]

    async def _opened_by(
        self, settings: RunSettings, spec: str
    ) -> tuple[OpenedModel, ReadVariables]:
        read = ReadVariables(ChainMap(self._handed, os.environ))
        how = ModelSettings(read, self._urls[spec], settings.endpoints, self._notice)
        # in a thread, since a command may have to be asked for the key
        return await asyncio.to_thread(open_model, spec, how), read

    async def reopen(
        self,
        settings: RunSettings,
        variables: Mapping[str, str],
        allow: Callable[[], Awaitable[None]],
    ) -> list[str]:
        """Reach all models by other keys and addresses, from the next call on; their names.

        Args:
            settings: Of the run, with the endpoints as they are now.
            variables: Laid over the environment.
            allow: Raises if the new addresses may not be used; it finds them in place.

        Raises what ``opened``, a probe of an address that is new, and ``allow`` raise. Nothing is
        changed then.
        """
        async with self._lock:
            before = self._settings, self._handed, dict(self._clients), dict(self._read)
            check_endpoints(settings.endpoints, "settings")
            self._settings, self._handed = settings, {**self._handed, **variables}
            ask_for_keys_again()
            anew: list[OpenedModel] = []
            try:
                for spec in before[2]:
                    self._clients[spec], self._read[spec] = await self._opened_by(settings, spec)
                    anew.append(self._clients[spec])
                await allow()
                moved = {s for s in self._open if self._moved(s, self._clients[s])}
                found = {s: await self._probed(s, self._clients[s]) for s in moved}
            except BaseException:
                self._settings, self._handed, self._clients, self._read = before
                for opened in anew:
                    await opened.model.close()
                raise
            for spec, opened in self._clients.items():
                known = before[2][spec].model
                known.take_over(opened.model)
                self._clients[spec] = opened = replace(opened, model=known)
                if (endpoint := self._open.get(spec)) is not None:
                    traits = found.get(spec, endpoint.traits)
                    context = self._settings.context or traits.context
                    endpoint = replace(endpoint, opened=opened, traits=traits, context=context)
                    self._open[spec] = endpoint
                    await self._keep_found(spec, traits, opened.way)
                    self._say(endpoint)
            return list(self._clients)

    async def _keep_found(self, spec: str, traits: EndpointTraits, way: Way) -> None:
        await self._journal.put_fact(f"traits:{spec}", msgspec.msgpack.encode(traits))
        await self._journal.put_fact(f"way:{spec}", msgspec.msgpack.encode(way))

    async def destination(self, spec: str) -> Destination:
        """Where the calls of a template, or the manager, go. Sends nothing."""
        name = self.model_named(spec)
        return destination_of(name, await self.opened(name))

    def kit(self, spec: str) -> tuple[ModelKit, dict[str, str]] | None:
        """What another process needs to open the same model, secrets apart; None if it is not open.

        It is as of now: what the client has learned of the endpoint goes with it.
        """
        opened = self._clients.get(spec)
        if opened is None:
            return None
        read = self._read[spec].read
        return kit_of(spec, opened, read, self._urls[spec], self._settings.endpoints)

    def kits(self) -> list[tuple[ModelKit, dict[str, str]]]:
        """The kits of all models that are open."""
        found = [self.kit(spec) for spec in self._clients]
        return [kit for kit in found if kit is not None]

    def addresses(self) -> list[str]:
        """The addresses of all models that are open, as far as they are known."""
        return sorted({opened.way.address for opened in self._clients.values()} - {""})

    async def _traits(self, spec: str, opened: OpenedModel) -> EndpointTraits:
        kept = self._journal.reader.fact(f"traits:{spec}")
        if kept and not self._moved(spec, opened):
            traits = msgspec.msgpack.decode(kept, type=EndpointTraits)
            opened.model.adopt(traits.dialect)
            return traits
        return await self._probed(spec, opened)

    async def _probed(self, spec: str, opened: OpenedModel) -> EndpointTraits:
        """Raises Paused or RunFailed where the endpoint is of no use."""
        try:
            traits = await find_out(opened)
        except ChatFailure as failure:
            stop = Paused if failure.kind.follow in (Follow.PAUSE, Follow.WAIT) else RunFailed
            raise stop(
                f"{spec} does not answer ({failure.kind.value}): {failure.message}",
                "endpoint",
                failure.kind.remedy,
            ) from failure
        if traits.cuts_prompts:
            raise Paused(
                f"{spec} cuts prompts without a word: it read less of the probe than it was sent",
                "endpoint",
                _wider(traits),
            )
        return traits

    def _moved(self, spec: str, opened: OpenedModel) -> bool:
        """Whether the name stands for another address than when it was probed."""
        way = self._journal.reader.fact(f"way:{spec}")
        if way is None or self._urls[spec]:  # a server that is ours has another port each time
            return False
        return msgspec.msgpack.decode(way, type=Way).address != opened.way.address

    async def too_small(self, endpoint: Endpoint, step: str, tokens: int, room: int) -> Paused:
        """A server whose window could be larger, and must be for a row of a step.

        What is known of it is forgotten, so that a resumed run looks again.
        """
        await self._journal.put_fact(f"traits:{endpoint.spec}", b"")
        return Paused(
            f"step {step}: a row has about {tokens:,} tokens, and {room:,} of the"
            f" {endpoint.context:,} that {endpoint.spec} serves are left for it",
            "endpoint",
            _wider(endpoint.traits),
        )

    async def _remember(self, endpoint: Endpoint) -> None:
        """Keep what replies have taught about an endpoint since it was probed."""
        dialect = endpoint.opened.model.dialect
        if dialect != endpoint.traits.dialect:
            traits = msgspec.structs.replace(endpoint.traits, dialect=dialect)
            await self._journal.put_fact(f"traits:{endpoint.spec}", msgspec.msgpack.encode(traits))

    def _notice(self, words: str) -> None:
        self._emit(Trouble("endpoint", words))

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        entered, self._open = self._open, {}
        try:
            for endpoint in entered.values():
                await self._remember(endpoint)
            for opened in clients.values():
                await opened.model.close()
        finally:
            await self._processes.close()


def _wider(traits: EndpointTraits) -> str:
    return (
        f"{traits.widening or 'Let the server serve a larger context'}. Then resume; or chunk the"
        " rows in a query first."
    )


def destination_of(spec: str, opened: OpenedModel) -> Destination:
    """A model as policy rules see it.

    A name stands for the address that belongs to it, or that the user's settings give it; where a
    variable of the environment leads it elsewhere, only the address counts.
    """
    address = opened.elsewhere or opened.way.address
    names = [] if opened.elsewhere else [_plain(spec)]
    if address:
        names += [address, f"{address}#{opened.model_name}"]
    own = practice_faults(spec) is not None or local_file(spec) is not None
    shown = f"{spec} at {opened.elsewhere}" if opened.elsewhere else spec
    return Destination(shown, tuple(names), own or _is_this_machine(address))


def _plain(spec: str) -> str:
    """``OpenAI/x`` is the same as ``openai:x``."""
    found = re.match(r"([A-Za-z][\w-]*)[:/](?!//)", spec.strip())
    return spec.strip() if found is None else f"{found[1].lower()}:{spec.strip()[found.end() :]}"


def _is_this_machine(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def words_of(price: Price | None) -> str:
    """A price in words: dollars per million tokens, in and out."""
    if price is None:
        return "unknown"
    words = f"{_rates(price.at(0))} per M tokens"
    for tier in price.tiers:
        words += f"; {_rates(tier)} where the prompt has more than {tier.above:,}"
    return f"{words} ({price.source})" if price.source else words


def _rates(tier: Tier) -> str:
    scale = 1_000_000 / NUSD_PER_USD
    cached = "" if tier.cached_nusd is None else f", ${tier.cached_nusd * scale:g} cached"
    return f"${tier.input_nusd * scale:g} in{cached}, ${tier.output_nusd * scale:g} out"
