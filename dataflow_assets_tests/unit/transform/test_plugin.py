from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from dataflow_assets.declaration.contract import Contract
from dataflow_assets.errors import DeclarationError, PluginError
from dataflow_assets.transform.clean import Cleaned, CleaningPlan
from dataflow_assets.transform.plugin import read_transforms
from dataflow_assets_tests.packages import installed, write_package
from dataflow_assets_tests.unit.transform.raw_rows import raw_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = """
    import polars as pl
    from pydantic import BaseModel
    from dataflow_assets.declaration.base import Declared
    from dataflow_assets.transform.plugin import TransformPlugin

    class Give(Declared):
        column: str = "name"
        code: str

    def give(declared, schema):
        return {declared.column: eval(declared.code)}

    class Nothing(Declared):
        pass

    def fail(declared, schema):
        raise KeyError("lost")

    GIVE = TransformPlugin(parameters=Give, expressions=give)
    FAIL = TransformPlugin(parameters=Nothing, expressions=fail)
    NO_MAPPING = TransformPlugin(parameters=Nothing, expressions=lambda declared, schema: [])
    OTHER = object()
"""
POINTS = {f"transforms/{name}": name.upper() for name in ("give", "fail", "no_mapping", "other")}


@pytest.fixture(autouse=True)
def _plugins(tmp_path: Path) -> Iterator[None]:
    with installed(write_package(tmp_path / "site", "giving", POINTS, CODE)):
        yield


def contract_with(*transforms: dict[str, Any], **words: Any) -> Contract:  # noqa: ANN401 - as declared
    return Contract.model_validate(
        {
            "columns": {"name": "string", "size": "int64", "at": "timestamp"},
            "transforms": transforms,
            **words,
        }
    )


def give(code: str, column: str = "name") -> dict[str, Any]:
    return {"use": "give", "code": code, "column": column}


@pytest.mark.parametrize(
    "code",
    [
        "pl.col('name').str.to_uppercase()",
        "pl.concat_str('name', pl.col('size').cast(pl.String))",
        "pl.lit('x')",
        "pl.when(pl.col('size') > 1).then(pl.lit('big')).otherwise('name')",
        "pl.col('name').replace_strict({'1': 'one'}, default=None)",
        "pl.col('name').map_batches(lambda s: s, return_dtype=pl.String, is_elementwise=True)",
    ],
)
def test_what_gives_each_row_its_value_is_taken(code: str) -> None:
    (step,) = read_transforms(contract_with(give(code)))
    assert step.writes == ("name",)


@pytest.mark.parametrize(
    "code",
    [
        "pl.col('size').sum()",
        "pl.col('size') - pl.col('size').mean().cast(pl.Int64)",
        "pl.col('size').shift()",
        "pl.col('size').cum_sum()",
        "pl.col('size').sum().over('name')",
        "pl.col('size').fill_null(strategy='forward')",
        "pl.col('size').sort()",
        "pl.col('size').reverse()",
        "pl.col('size').rank('dense').cast(pl.Int64)",
        "pl.col('size').drop_nulls()",
        "pl.col('size').filter(pl.col('size') > 1)",
        "pl.col('size').map_batches(lambda s: s.reverse(), return_dtype=pl.Int64)",
        "pl.len().cast(pl.Int64)",
        "pl.int_range(pl.len())",
    ],
)
def test_what_looks_at_other_rows_is_refused(code: str) -> None:
    with pytest.raises(PluginError, match=r"'give' of the package giving 1\.0 gives for 'size'"):
        read_transforms(contract_with(give(code, "size")))


@pytest.mark.parametrize(
    ("transform", "kind", "problem"),
    [
        (give("pl.col('size')"), PluginError, "int64, but the contract declares string"),
        (give("pl.col('nowhere')"), PluginError, "what cannot be"),
        (give("'text'"), PluginError, "no expression, but str"),
        (give("pl.lit('x')", "other"), DeclarationError, "which the contract does not name"),
        ({"use": "fail"}, PluginError, "fails: KeyError: 'lost'"),
        ({"use": "no_mapping"}, PluginError, "gives no mapping"),
        ({"use": "other"}, PluginError, "is no TransformPlugin, but object"),
        ({"use": "nobody"}, DeclarationError, "there is no plug-in 'nobody'"),
        ({"use": "give"}, DeclarationError, "Field required"),
        ({"use": "fail", "by": 3}, DeclarationError, "Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    transform: dict[str, Any], kind: type[DeclarationError], problem: str
) -> None:
    with pytest.raises(DeclarationError, match=problem) as refused:
        read_transforms(contract_with(give("pl.col('name')"), transform))
    assert type(refused.value) is kind
    assert refused.value.place[:3] == ("contract", "transforms", "1")


def plan_of(contract: Contract, columns: dict[str, list[str | None]]) -> CleaningPlan:
    return CleaningPlan(contract, tuple(columns))


def clean(contract: Contract, columns: dict[str, list[str | None]]) -> Cleaned:
    return plan_of(contract, columns).clean_in_memory(raw_rows(columns).collect())


def test_transforms_act_in_their_order_before_any_rule() -> None:
    contract = contract_with(
        give("pl.col('name') + 'a'"),
        give("pl.col('name') + 'b'"),
        give("pl.col('size') * 2", "size"),
        columns={"name": {"pattern": "[xy]ab"}, "size": {"type": "int64", "max": 10}},
        where="name <> 'yab'",
    )
    done = clean(contract, {"name": ["x", "y", "z", "x"], "size": ["5", "5", "5", "6"]})
    assert done.good.collect().select("name", "size").rows() == [("xab", 10)]
    findings = done.findings.collect()
    assert findings["outcome"].to_list() == ["filtered", "quarantined", "quarantined"]
    reasons = [one["rule"] for row in findings["reasons"] for one in row]
    assert reasons == ["name__pattern", "size__range"]
    assert findings["reasons"][1][0]["value"] == "z"  # as it was received


def test_a_text_that_cannot_be_read_stays_a_reason() -> None:
    contract = contract_with(give("pl.lit(7).cast(pl.Int64)", "size"))
    done = clean(contract, {"name": ["x"], "size": ["many"]})
    assert done.good.collect().is_empty()


def test_a_column_that_nobody_sends_is_filled() -> None:
    contract = contract_with(
        give("pl.col('name').str.slice(0, 1)", "initial"),
        columns={"name": "string", "initial": {"required": True}},
    )
    done = clean(contract, {"name": ["xyz"]})
    assert done.good.collect()["initial"].to_list() == ["x"]


def test_a_key_that_a_transform_makes_is_the_key() -> None:
    contract = contract_with(
        give("pl.col('name').str.to_lowercase()"),
        columns={"name": "string", "size": "int64"},
        key=["name"],
    )
    columns: dict[str, list[str | None]] = {
        "name": ["A", "a", "b", None],
        "size": ["1", "2", "3", "4"],
    }
    plan, rows = plan_of(contract, columns), raw_rows(columns)
    hashes = plan.key_hashes(rows).collect()["_hash"]
    assert (hashes[0], hashes.len()) == (hashes[1], 3)
    found = plan.candidates(rows, np.array([hashes[0]])).collect()
    assert found.rows() == [(0, "a"), (1, "a")]
