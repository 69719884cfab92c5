from __future__ import annotations

import hashlib
import os
import re
import time
from typing import TYPE_CHECKING

import pytest

from dataflow_assets import s3
from dataflow_assets.errors import S3RefusedError, S3UnavailableError, SettingsError
from dataflow_assets.s3 import PART_BYTES, Address, Bucket, Writing
from dataflow_assets_tests.s3_server import ACCESS_KEY, KMS_KEY, SECRET_KEY, Spoiled

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dataflow_assets_tests.integration.s3.conftest import Shore
    from dataflow_assets_tests.s3_server import Proxy

BIG = os.urandom(2 * PART_BYTES + 4321)
REQUESTS: list[Callable[[Bucket, Path], object]] = [
    lambda bucket, _: bucket.read("a"),
    lambda bucket, _: bucket.tail("a", 4),
    lambda bucket, _: bucket.write("a", b"x"),
    lambda bucket, _: bucket.create("new", b"x"),
    lambda bucket, _: bucket.delete("a"),
    lambda bucket, _: list(bucket.below("")),
    lambda bucket, path: bucket.upload(path, "a"),
]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up early, so that a test need not wait."""
    monkeypatch.setattr(s3, "TRIES", 2)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small"
    path.write_bytes(b"small")
    return path


def test_what_is_written_is_read(shore: Shore) -> None:
    shore.bucket.write("a/b.txt", b"hello")
    assert shore.get("a/b.txt") == shore.bucket.read("a/b.txt") == b"hello"
    assert shore.bucket.tail("a/b.txt", 2) == b"lo"
    assert shore.bucket.tail("a/b.txt", 99) == b"hello"
    found = shore.bucket.find("a/b.txt")
    assert found is not None
    assert (found.key, found.size) == ("a/b.txt", 5)
    assert abs(found.mtime_ns / 1e9 - time.time()) < 60
    shore.bucket.delete("a/b.txt")
    shore.bucket.delete("a/b.txt")
    assert shore.bucket.find("a/b.txt") is None
    assert shore.bucket.read("a/b.txt") is None
    assert shore.bucket.tail("a/b.txt", 2) is None


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, len(BIG)])
def test_files_of_any_size_go_there_and_back(shore: Shore, tmp_path: Path, size: int) -> None:
    here, back = tmp_path / "here", tmp_path / "back"
    here.write_bytes(BIG[:size])
    shore.bucket.upload(here, "big", {"colour": "red"})
    found = shore.bucket.find("big")
    assert found is not None
    assert found.attributes == {**(found.attributes or {}), "colour": "red"}
    checksum = shore.bucket.download(found, back)
    assert back.read_bytes() == BIG[:size]
    assert checksum == hashlib.sha256(BIG[:size]).hexdigest()


def test_what_is_written_anew_while_it_is_read_is_not_mixed(shore: Shore, tmp_path: Path) -> None:
    shore.put("a", BIG)
    found = shore.bucket.find("a")
    assert found is not None
    shore.put("a", BIG[::-1])
    assert shore.bucket.download(found, tmp_path / "a") is None
    assert shore.bucket.read("a", etag=found.etag) is None


def test_an_object_is_read_here_and_there(shore: Shore) -> None:
    shore.put("a", BIG)
    with shore.bucket.open("a") as stream:
        stream.seek(-10, os.SEEK_END)
        assert stream.read() == BIG[-10:]
        stream.seek(1000)
        assert stream.read(300_000) == BIG[1000:301_000]


def test_only_one_of_many_makes_an_object(shore: Shore) -> None:
    made = list(s3.at_once(lambda number: shore.bucket.create("lock", b"%d" % number), range(40)))
    assert made.count(True) == 1
    assert shore.get("lock") == b"%d" % made.index(True)


def test_more_keys_than_a_page_holds_are_listed(shore: Shore) -> None:
    keys = [f"many/{number:05}.csv" for number in range(2345)]
    list(s3.at_once(lambda key: shore.bucket.write(key, b"x"), [*keys, "many2/x", "a"]))
    assert [found.key for found in shore.bucket.below("many")] == keys
    after = shore.bucket.below("many", after=keys[1233])
    assert [found.key for found in after] == keys[1234:]
    assert len(list(shore.bucket.below(""))) == len(keys) + 2


@pytest.mark.parametrize(
    "key", ["a b+c%20é.csv", "#?&*.csv", "100%/[x]", "q\"'<>.csv", "~x", "日本"]
)
def test_odd_keys_are_as_good_as_others(shore: Shore, key: str) -> None:
    shore.put(f"odd/{key}", key)
    (found,) = shore.bucket.below("odd")
    assert found.key == f"odd/{key}"
    assert shore.bucket.read(found.key) == key.encode()


def test_a_key_that_cannot_be_used_is_named(shore: Shore) -> None:
    shore.put("odd//x.csv")
    with pytest.raises(S3RefusedError, match=re.escape("odd//x.csv")):
        list(shore.bucket.below("odd"))


def test_encryption_and_tags_are_asked_for(shore: Shore, tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(BIG)
    writing = Writing("aws:kms", KMS_KEY, {"team": "harbour", "cost": "4/2"})
    bucket = Bucket(shore.name, writing)
    bucket.write("a", b"x")
    bucket.upload(path, "big")
    client = shore.client
    for key in ("a", "big"):
        head = client.head_object(Bucket=shore.name, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", KMS_KEY)
        tags = client.get_object_tagging(Bucket=shore.name, Key=key)["TagSet"]
        assert {one["Key"]: one["Value"] for one in tags} == {"team": "harbour", "cost": "4/2"}
    assert shore.get("big") == BIG


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"])
def test_a_wrong_key_fails_at_once(
    shore: Shore,
    small: Path,
    monkeypatch: pytest.MonkeyPatch,
    request_: Callable[[Bucket, Path], object],
    variable: str,
) -> None:
    if not shore.server.is_ceph:
        pytest.skip("moto checks no key")
    shore.put("a", b"before")
    monkeypatch.setenv(variable, "wrong-but-secret")
    began = time.monotonic()
    with pytest.raises(S3RefusedError, match="does not let us in") as failure:
        request_(shore.bucket, small)
    assert time.monotonic() - began < 2
    assert f"s3://{shore.name}" in str(failure.value)
    assert "AWS_" in failure.value.mend
    for secret in ("wrong-but-secret", SECRET_KEY, ACCESS_KEY):
        assert secret not in "".join(map(str, _chain(failure.value)))
    assert shore.get("a") == b"before"


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_missing_bucket_is_named_at_once(
    shore: Shore, small: Path, request_: Callable[[Bucket, Path], object]
) -> None:
    began = time.monotonic()
    with pytest.raises(S3RefusedError, match="no bucket 'not-there-") as failure:
        request_(Bucket(f"not-there-{shore.name}"), small)
    assert time.monotonic() - began < 2
    assert "S3_BUCKET" in failure.value.mend


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_storm_is_weathered(
    shore: Shore,
    proxy: Proxy,
    small: Path,
    status: int,
    request_: Callable[[Bucket, Path], object],
) -> None:
    shore.put("a", b"before")
    proxy.spoiled.append(Spoiled(3, status=status))
    request_(shore.bucket, small)
    assert proxy.spoiled[0].times == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("request_", REQUESTS)
def test_a_storm_without_end_is_an_error(
    shore: Shore, proxy: Proxy, small: Path, request_: Callable[[Bucket, Path], object]
) -> None:
    shore.put("a", b"before")
    proxy.spoiled.append(Spoiled(99, status=503))
    with pytest.raises(S3UnavailableError, match="SlowDown") as failure:
        request_(shore.bucket, small)
    assert failure.value.transient
    assert len(proxy.requests) == 3
    assert shore.get("a") == b"before"


@pytest.mark.parametrize("cut_after", [0, 1, 100_000, PART_BYTES - 1])
def test_a_connection_cut_amid_a_body_is_made_good(
    shore: Shore, proxy: Proxy, tmp_path: Path, cut_after: int
) -> None:
    shore.put("big", BIG)
    found = shore.bucket.find("big")
    assert found is not None
    proxy.spoiled.append(Spoiled(3, cut_after=cut_after, method="GET"))
    checksum = shore.bucket.download(found, tmp_path / "big")
    assert checksum == hashlib.sha256(BIG).hexdigest()
    assert proxy.spoiled[0].times == 0


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_is_always_cut_is_an_error(
    shore: Shore, proxy: Proxy, tmp_path: Path
) -> None:
    shore.put("big", BIG)
    found = shore.bucket.find("big")
    assert found is not None
    proxy.spoiled.append(Spoiled(999, cut_after=10, method="GET"))
    with pytest.raises(S3UnavailableError):
        shore.bucket.download(found, tmp_path / "big")


def test_a_bucket_is_made_once(shore: Shore) -> None:
    bucket = Bucket(f"{shore.name}-new")

    assert [bucket.make(), bucket.make()] == [True, False]
    assert [one.key for one in bucket.below("")] == []


def test_a_list_cut_in_the_middle_is_whole_or_an_error(shore: Shore, proxy: Proxy) -> None:
    list(s3.at_once(lambda number: shore.bucket.write(f"d/{number}", b"x"), range(50)))
    proxy.spoiled.append(Spoiled(1, cut_after=500, contains="list-type"))
    assert len(list(shore.bucket.below("d"))) == 50


def test_a_server_that_hangs_is_asked_again(
    shore: Shore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3, "REQUEST_TIMEOUT", s3.REQUEST_TIMEOUT / 120)
    shore.put("a", b"slow")
    proxy.spoiled.append(Spoiled(1, wait_s=2, method="GET"))
    assert shore.bucket.read("a") == b"slow"


@pytest.mark.usefixtures("impatient")
def test_a_server_that_is_not_there_is_named(shore: Shore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(S3UnavailableError, match="AWS_ENDPOINT_URL"):
        shore.bucket.read("a")


def test_the_endpoint_of_s3_alone_comes_first(
    shore: Shore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", shore.server.endpoint)
    shore.bucket.write("a", b"x")
    assert shore.get("a") == b"x"


def test_credentials_of_a_profile_are_used(
    shore: Shore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "credentials"
    path.write_text(
        f"[harbour]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(path))
    monkeypatch.setenv("AWS_PROFILE", "harbour")
    shore.bucket.write("a", b"x")
    assert shore.get("a") == b"x"


def test_no_credentials_at_all_are_an_error_of_settings(
    shore: Shore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(SettingsError, match="no credentials"):
        shore.bucket.read("a")


@pytest.mark.parametrize(
    ("url", "bucket", "key"),
    [
        ("s3://b", "b", ""),
        ("s3://b/", "b", ""),
        ("s3://b/a/c/", "b", "a/c"),
        ("s3://b//a", "b", "a"),
    ],
)
def test_addresses(url: str, bucket: str, key: str) -> None:
    address = Address.parse(url)
    assert (address.bucket, address.key) == (bucket, key)
    assert str(address) == f"s3://{bucket}/{key}".rstrip("/")


@pytest.mark.parametrize("url", ["s3:/b", "s3://", "http://b/c", "b"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="no address"):
        Address.parse(url)


def _chain(error: BaseException | None) -> list[BaseException]:
    return [] if error is None else [error, *_chain(error.__cause__ or error.__context__)]
