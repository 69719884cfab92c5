"""A server of S3 for all tests of this folder, and an empty bucket for each."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from dataflow_assets.s3 import Bucket, open_bucket
from dataflow_assets_tests.s3_server import proxied, running_s3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets_tests.s3_server import Proxy, S3Server


@dataclass
class Shore:
    """An empty bucket, and how to look at it with other eyes than ours.

    Attributes:
        server: The server.
        name: The bucket's name.
        client: Another implementation's view of the server.
    """

    server: S3Server
    name: str
    client: Any

    @cached_property
    def bucket(self) -> Bucket:
        return Bucket(self.name)

    def put(self, key: str, content: str | bytes = b"x") -> None:
        body = content.encode() if isinstance(content, str) else content
        self.client.put_object(Bucket=self.name, Key=key, Body=body)

    def get(self, key: str) -> bytes:
        answer = self.client.get_object(Bucket=self.name, Key=key)
        return bytes(answer["Body"].read())

    def keys(self, prefix: str = "") -> list[str]:
        pages = self.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.name, Prefix=prefix)
        return [one["Key"] for page in found for one in page.get("Contents", ())]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with running_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def shore(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Shore:
    """An empty bucket, whose server the environment names."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    open_bucket.cache_clear()
    shore = Shore(s3_server, f"shore-{uuid.uuid4().hex[:12]}", s3_server.client())
    shore.client.create_bucket(Bucket=shore.name)
    return shore


@pytest.fixture
def proxy(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """The same, but the environment names a proxy before it."""
    with proxied(shore.server) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.server.endpoint)
        yield proxy
