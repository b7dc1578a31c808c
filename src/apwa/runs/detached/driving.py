"""The driver of a detached run: the entry point of its Ray job."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from apwa.executor.cluster import need_ray
from apwa.garbage import look_less_often
from apwa.runs.detached.keeper import NAME, NAMESPACE
from apwa.runs.detached.orders import Order, Refused
from apwa.runs.directory import find_run, home_of
from apwa.runs.driver import Driver
from apwa.runs.starting import begin, take_up
from apwa.vocabulary import ApwaError


def main(job: str) -> int:
    """Do what the keeper has an order for; the run's exit code."""
    look_less_often()
    ray = need_ray()
    ray.init("auto", namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    keeper = ray.get_actor(NAME, namespace=NAMESPACE)
    content, variables = ray.get(keeper.take.remote(job))
    os.environ.update(variables)
    order = msgspec.msgpack.decode(content, type=Order)

    def refuse(refused: Refused) -> None:
        ray.get(keeper.refuse.remote(job, msgspec.json.encode(refused)))

    return asyncio.run(drive(job, order, home_of(os.environ), refuse))


async def drive(job: str, order: Order, home: Path, refuse: Callable[[Refused], None]) -> int:
    """Drive the run; what it cannot begin with is told to ``refuse``."""
    try:
        driver = await _driver(order, home)
    except ApwaError as error:
        refuse(Refused(error.what, error.where, error.todo, error.exit_code))
        return error.exit_code
    driver.desk.directory.keep_begun(job)
    return (await driver.drive(resumed=order.request is None)).ending.exit_code


async def _driver(order: Order, home: Path) -> Driver:
    if order.request is not None and order.settings is not None:
        return await begin(
            order.request, order.settings, home, name=order.run, modules=order.modules
        )
    directory = find_run(home, order.run)
    return await take_up(directory, order.changes, again=order.again, plan=order.plan)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
