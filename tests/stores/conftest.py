"""One S3 server for all tests of a module, and a web server for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.servers import S3Server, WebServer


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.stop()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with its keys in the environment, and its bucket empty."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    listed = s3_server.client.list_objects_v2(Bucket="bucket").get("Contents", [])
    for each in listed:
        s3_server.client.delete_object(Bucket="bucket", Key=each["Key"])
    return s3_server


@pytest.fixture
def server() -> Iterator[WebServer]:
    web = WebServer()
    web.start()
    yield web
    web.stop()
