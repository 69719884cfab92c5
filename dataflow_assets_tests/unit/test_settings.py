from __future__ import annotations

import traceback

import pytest

from dataflow_assets.errors import SettingsError
from dataflow_assets.settings import Settings, get_settings


@pytest.mark.parametrize(
    "url",
    [
        "mysql://user:hidden@host/database",
        "postgresql://user:hid%zzden@host/database",
        "postgresql://user:hidden@host",
        "user:hidden@host/database",
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
