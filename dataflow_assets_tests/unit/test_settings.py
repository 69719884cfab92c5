from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

import pytest

from dataflow_assets.builders.resources import build_resources
from dataflow_assets.errors import SettingsError
from dataflow_assets.settings import Settings, get_settings

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _forget_settings() -> None:
    get_settings.cache_clear()


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"MEMORY_LIMIT_MB": "10"}, "MEMORY_LIMIT_MB"),
        ({"S3_BUCKET": "s3://lake"}, "S3_BUCKET"),
        ({"S3_BUCKET": "a/b"}, "S3_BUCKET"),
        ({"S3_BUCKET": ""}, "S3_BUCKET"),
        ({"S3_PREFIX": "a/../b"}, "S3_PREFIX"),
        ({"S3_SSE": "aes"}, "S3_SSE"),
        ({"S3_TAGS": "team"}, "S3_TAGS"),
        ({"S3_TAGS": "=harbour"}, "S3_TAGS"),
        ({"S3_TAGS": f"team={'x' * 257}"}, "S3_TAGS"),
        ({"S3_TAGS": ",".join(f"t{number}=x" for number in range(11))}, "S3_TAGS"),
        ({"S3_SSE_KMS_KEY_ID": "key"}, "S3_SSE_KMS_KEY_ID"),
        ({"S3_SSE": "AES256", "S3_SSE_KMS_KEY_ID": "key"}, "S3_SSE_KMS_KEY_ID"),
    ],
)
def test_a_wrong_value_stops_the_start_and_is_named(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as failure:
        get_settings()
    assert failure.value.culprit == named
    assert named in failure.value.problem


def test_s3_is_described_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BUCKET", "lake")
    monkeypatch.setenv("S3_PREFIX", "/the//data/")
    monkeypatch.setenv("S3_SSE", "aws:kms")
    monkeypatch.setenv("S3_SSE_KMS_KEY_ID", "key")
    monkeypatch.setenv("S3_TAGS", "team=harbour, cost=4=2,")
    monkeypatch.setenv("FILES_DIR", "s3://inbox/today")
    stores = build_resources(get_settings())["stores"]
    assert stores.s3_lake == "s3://lake/the/data"
    assert (stores.s3_sse, stores.s3_sse_kms_key_id) == ("aws:kms", "key")
    assert stores.s3_tags == {"team": "harbour", "cost": "4=2"}
    assert stores.files == "s3://inbox/today"
    assert str(stores.open().files) == "s3://inbox/today"


def test_without_s3_all_is_in_folders(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    stores = build_resources(settings)["stores"]
    assert (stores.s3_lake, stores.s3_tags) == ("", {})
    assert stores.files == str(tmp_path / "inbox")
    assert stores.lake == str(tmp_path / "lake")


def test_credentials_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "lighthouse")
    monkeypatch.setenv("S3_BUCKET", "lake")
    assert "lighthouse" not in repr(get_settings())
    assert hash(get_settings())  # the code location is kept by its settings
    assert "lighthouse" not in repr(build_resources(get_settings()))


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hidden@host/database",
        "postgresql://user:hid%zzden@host/database",
        "postgresql://user:hidden@host",
        "user:hidden@host/database",
        "postgresql://user:12/hidden@host/database",
    ],
)
def test_a_wrong_database_url_stops_the_start_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    get_settings.cache_clear()
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(SettingsError, match=r"\[DA110\].*DATABASE_URL is not what it can be") as no:
        get_settings()
    shown = "".join(traceback.format_exception(no.value))
    assert "hid" not in shown.replace("hide_input", "")


def test_a_database_is_shown_without_user_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://user:hid%2Fden@host:5433/db?sslmode=require")
    settings = Settings()
    assert settings.database == "postgresql://host:5433/db"
    assert "den" not in repr(settings)


def test_an_empty_database_url_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "")
    assert Settings().database is None
