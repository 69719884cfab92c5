"""What a declaration may say of a database."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets_tests.scenario import changed

SHOP: dict[str, Any] = {
    "name": "shop",
    "partitions": {"every": "day", "start": "2024-01-01"},
    "extract": {"database": {"system": "postgres", "url_env": "SHOP_DB", "table": "shop.orders"}},
    "contract": {"columns": {"id": "int64"}},
}
WINDOW = "extract__database__window"


def test_what_is_shown_of_it() -> None:
    extract = SourceDeclaration.model_validate(SHOP).extract
    assert (extract.kind, extract.place) == ("postgres", "shop.orders of SHOP_DB")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extract__database__query": "select 1"}, "either table or query"),
        ({"extract__database__table": None}, "either table or query"),
        ({"extract__database__table": "shop."}, "is no table"),
        ({"extract__database__system": "oracle"}, "postgres"),
        ({"extract__files": {"path": "x"}}, "exactly one of"),
        ({WINDOW: {"column": "at", "overlap": "2d"}}, "needs a key"),
        ({WINDOW: {"column": "at", "stored_as": "%d.%m"}}, "neither one of epoch_s"),
        ({WINDOW: {"column": "at", "timezone": "Mars"}}, "no IANA time zone"),
        ({WINDOW: {"column": "at"}, "partitions": {"values": ["all"]}}, "needs partitions"),
        ({"partitions": {"values": ["a", "b"]}}, "would each hold all rows"),
        ({"automation": {"sensor": {}}}, "a sensor looks for files"),
        ({"automation": {"cron": "0 1 * * *", "last": 0}}, "greater than or equal to 1"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SourceDeclaration.model_validate(changed(SHOP, **changes))


def test_a_url_in_the_place_of_a_name_is_refused_and_not_shown() -> None:
    url = "postgresql://reader:s3cret@host/shop"
    with pytest.raises(ValidationError, match="no name of an environment variable") as failure:
        SourceDeclaration.model_validate(changed(SHOP, extract__database__url_env=url))
    assert "s3cret" not in str(failure.value)
