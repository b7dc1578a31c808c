"""The executor's suite over a host in a Ray actor: the same tests as over the other hosts."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator

import pytest

from apwa.capabilities import Registry
from apwa.executor import Host
from apwa.executor.cluster import Baggage, Equip, HostActor, RayHost, need_ray
from apwa.models import Dialect, ModelKit
from apwa.vocabulary.messages import Described, FromHost, Gone, OpenStep
from tests.executor.endpoint import FakeEndpoint, a_step
from tests.executor.test_executor_over_hosts import (
    endpoint,
    test_a_bad_row_stops_nobody,
    test_a_cap_is_never_passed_and_used_up_to_the_last_call,
    test_a_cap_of_tokens_holds_what_the_endpoint_counted,
    test_a_cap_that_is_set_or_lowered_while_calls_are_under_way_is_not_passed,
    test_a_refused_row_that_waits_holds_up_no_other,
    test_a_wrong_key_pauses_the_run_and_charges_no_row,
    test_all_rows_are_done_though_the_endpoint_is_moody,
    test_calls_that_are_called_back_count_as_spent,
)
from tests.executor.test_stops_over_hosts import test_a_stop_does_not_wait_out_the_endpoints_pace

_numbers = itertools.count(1)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tested here is counts: on a busy machine an actor may stand still for long."""
    monkeypatch.setattr("apwa.executor.core.SILENCE_S", 100.0)
    monkeypatch.setattr("apwa.executor.executor._SETTLE_S", 60.0)
    monkeypatch.setattr("apwa.executor.executor._SHUTDOWN_S", 60.0)


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    ray = need_ray()
    ray.init("local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
async def host(_ray: None, endpoint: FakeEndpoint) -> AsyncIterator[Host]:
    made = _host(f"{endpoint.url}#fake-1")
    yield made
    need_ray().kill(made._actor)


def _host(model: str) -> RayHost:
    name = f"h{next(_numbers)}"
    kit = ModelKit(model, "", {}, Dialect())
    actor = need_ray().remote(HostActor).options(num_cpus=1, max_concurrency=64).remote(name, "")
    return RayHost(
        name,
        actor,
        Baggage([], {}, Registry.builtin()),
        lambda spec: Equip(spec, kit, {}),
        lambda: False,
    )


async def test_a_host_that_cannot_open_the_model_ends_and_says_why(_ray: None) -> None:
    host = _host("nobody:a-model")
    await host.start()
    heard: list[FromHost] = []
    async for message in host.messages():
        heard.append(message)
        if isinstance(message, Described):
            host.send(OpenStep("run", a_step()))
    await host.stop()
    gone = heard[-1]
    assert isinstance(gone, Gone) and gone.unfit and not gone.alone
    assert "nobody" in gone.words
