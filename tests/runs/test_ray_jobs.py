"""Drivers as Ray jobs, where the part of Ray that takes them does not answer as it should."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from apwa.runs.detached import jobs
from apwa.runs.detached.jobs import Jobs


class Client:
    """Ray's, which loses some answers.

    Attributes:
        lost: How many answers to a submission are lost, after it was taken.
        away: How many calls find nobody.
        taken: Jobs that Ray has.
    """

    def __init__(self) -> None:
        self.lost = self.away = 0
        self.taken: list[str] = []

    def __call__(self) -> Client:
        if self.away:
            self.away -= 1
            raise ConnectionError("nobody there")
        return self

    def submit_job(self, *, submission_id: str, **_: Any) -> None:
        if submission_id in self.taken:
            raise RuntimeError("there is such a job")
        self.taken.append(submission_id)
        if self.lost:
            self.lost -= 1
            raise RuntimeError("code 500")

    def get_job_info(self, job: str) -> Any:
        if job not in self.taken:
            raise RuntimeError("code 404")
        return SimpleNamespace(submission_id=job, status="RUNNING", message=None)

    def list_jobs(self) -> list[Any]:
        return [self.get_job_info(job) for job in self.taken]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(jobs, "_client", made)
    clock = iter(range(10_000))
    fake = SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda s: None)
    monkeypatch.setattr(jobs, "time", fake)
    return made


def test_a_job_is_handed_over_once(client: Client) -> None:
    client.away, client.lost = 5, 1
    Jobs().begin("j", {})
    assert client.taken == ["j"]


def test_a_ray_that_is_never_there_is_said(client: Client) -> None:
    client.away = 10_000
    with pytest.raises(ConnectionError):
        Jobs().begin("j", {})


def test_a_job_that_cannot_be_seen_is_not_taken_for_one_that_is_over(client: Client) -> None:
    client.away = 1
    unseen, unknown = Jobs().state("j"), Jobs().state("j")
    assert not unseen.over and "nobody there" in unseen.message
    assert unknown.over and unknown.status == ""
    client.taken.append("j")
    assert Jobs().state("j") == ("RUNNING", "")
