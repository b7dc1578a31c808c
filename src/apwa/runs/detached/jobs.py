"""Drivers as Ray jobs of the cluster that this process belongs to."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

HEAD = "node:__internal_head__"  # Ray's own name of the head as a resource

_SUBMIT_S = 60.0  # for the part of a new head that takes jobs


class JobState(NamedTuple):
    """How a job stands.

    Attributes:
        status: Ray's word; empty where the cluster knows no such job, "UNSEEN" where that part of
            it which knows cannot be asked just now.
        message: Ray's words about it; of a job that failed, the end of what it has printed.
    """

    status: str
    message: str

    @property
    def over(self) -> bool:
        return self.status not in ("PENDING", "RUNNING", "UNSEEN")


class Jobs:
    """Begins, looks at and stops drivers. Jobs have the names that they are given here."""

    def begin(self, job: str, env: Mapping[str, str]) -> None:
        """Hand a driver to Ray; a head that has just begun is waited for.

        Raises RuntimeError or OSError if Ray takes no jobs.
        """
        end = time.monotonic() + _SUBMIT_S
        while True:
            try:
                _client().submit_job(
                    submission_id=job,
                    entrypoint=f"{sys.executable} -m apwa.runs.detached.driving {job}",
                    entrypoint_resources={HEAD: 0.001},
                    runtime_env={"env_vars": dict(env)},
                )
                return
            except (RuntimeError, OSError):
                if self.state(job).status not in ("", "UNSEEN"):
                    return  # it was taken, and only the answer was lost
                if time.monotonic() > end:
                    raise
                time.sleep(1.0)

    def state(self, job: str) -> JobState:
        try:
            client = _client()
            try:
                found = client.get_job_info(job)
            except RuntimeError:  # unknown, or something else was wrong
                found = next((j for j in client.list_jobs() if j.submission_id == job), None)
        except (RuntimeError, OSError) as error:
            return JobState("UNSEEN", f"Ray cannot be asked now: {error}")
        if found is None:
            return JobState("", "")
        return JobState(str(found.status), str(found.message or ""))

    def stop(self, job: str) -> None:
        """Ask a job to end, and kill it if it does not within some seconds."""
        _client().stop_job(job)


def _client() -> Any:
    import ray
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient(ray.get_runtime_context().gcs_address)
