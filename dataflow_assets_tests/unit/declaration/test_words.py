"""What a declaration's words mean, and which of them do not go together."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from dataflow_assets.builders.stores import digest_of
from dataflow_assets.declaration.base import Duration
from dataflow_assets.declaration.checks import Checks
from dataflow_assets.declaration.contract import Column, Contract
from dataflow_assets.declaration.entity import EntityDeclaration
from dataflow_assets.declaration.extract import CsvDialect, Files
from dataflow_assets.declaration.partitions import Partitions
from dataflow_assets.declaration.rules import Limit
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets_tests.scenario import ARRIVALS, HARBOUR, changed

DURATION: TypeAdapter[dt.timedelta] = TypeAdapter(Duration)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("15m", 900), ("26h", 93_600), ("2d", 172_800), ("0s", 0)]
)
def test_a_duration(text: str, seconds: int) -> None:
    assert DURATION.validate_python(text) == dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "1.5h", "-3m", "26 h", "1w", "30S", "PT30S"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValidationError, match="is no duration, such as 30s"):
        DURATION.validate_python(text)


def test_a_column_may_be_its_type_alone() -> None:
    assert Column.model_validate("int64") == Column(type="int64")


@pytest.mark.parametrize("kind", ["decimal(1,0)", "decimal(38, 38)", "decimal(4, 2)", "timestamp"])
def test_a_type(kind: str) -> None:
    assert Column(type=kind).type == kind


@pytest.mark.parametrize(
    "kind", ["", "str", "Int64", "decimal", "decimal(39, 0)", "decimal(0, 0)", "decimal(3, 4)"]
)
def test_no_type(kind: str) -> None:
    with pytest.raises(ValidationError, match=r"is no type[;:]"):
        Column(type=kind)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"type": "string", "min": 1}, "min and max do not apply to string"),
        ({"type": "boolean", "max": 1}, "min and max do not apply to boolean"),
        ({"type": "int64", "pattern": "1"}, "apply to strings only"),
        ({"type": "int64", "max_length": 1}, "apply to strings only"),
        ({"type": "int64", "formats": ["%d"]}, "formats do not apply to int64"),
        ({"type": "boolean", "formats": ["yes"]}, "no pair of words"),
        ({"type": "boolean", "formats": ["yes/"]}, "no pair of words"),
        ({"one_of": []}, "at least one value"),
        ({"timezone": "Mars"}, "no IANA time zone"),
        ({"min_length": -1}, "greater than or equal to 0"),
        ({"type": "int64", "min": 1, "above": 1}, "min and above say the same in two ways"),
        ({"type": "string", "below": "x"}, "min and max do not apply to string"),
        ({"type": "date", "multiple_of": 2}, "multiple_of does not apply to date"),
        ({"type": "int64", "multiple_of": 0}, "not above 0"),
        ({"limit": {}}, "give either rows"),
        ({"limit": {"rows": 1, "share": 0.1}}, "give either rows"),
        ({"limit": {"share": 1.5}}, "less than or equal to 1"),
    ],
)
def test_words_of_a_column_that_do_not_go_together(column: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Column.model_validate(column)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"columns": {}}, "needs columns, or a model"),
        ({"columns": {"a": "string", "A": "string"}, "key": []}, "upper and lower case"),
        (
            {"columns": {"a": {"source_name": "b"}, "b": "string"}},
            "two columns, 'a' and 'b', have the name 'b' in files",
        ),
        (
            {"columns": {"a": {"aliases": ["b"]}, "b": "string"}},
            "two columns, 'a' and 'b', have the name 'b' in files",
        ),
        (
            {"columns": {"a": {"source_name": "b", "aliases": ["c", "b"]}}},
            "the column 'a' has the name 'b' twice",
        ),
        ({"columns": {"a": {"aliases": [""]}}}, "at least 1 character"),
        ({"columns": {"a": {"aliases": "b"}}}, "valid tuple"),
        ({"missing_columns": "discard"}, "'evolve' or 'freeze'"),
        ({"changed_types": "freese"}, "'evolve', 'freeze', 'discard' or 'quarantine'"),
        ({"changed_types": {"share": 1}}, "less than 1"),
        ({"columns": {"_a": "string"}}, "String should match"),
        ({"columns": {"": "string"}}, "at least 1 character"),
        ({"keep": "newest"}, "first"),
        ({"rules": {"Bad": {"sql": "true"}}}, "String should match"),
        ({"rules": {"bad": {"sql": ""}}}, "at least 1 character"),
        ({"rules": {"bad": {}}}, "exactly one of sql, unique, .*; here is none"),
        ({"rules": {"bad": {"sql": "true", "unique": "a"}}}, "here is sql and unique"),
        ({"rules": {"bad": {"unique": "b"}}}, "unique of the rule bad names 'b'"),
        ({"rules": {"bad": {"unique": []}}}, "at least 1 item"),
        ({"rules": {"bad": {"monotonic": {"column": "a", "per": "b"}}}}, "monotonic .*names 'b'"),
        ({"rules": {"bad": {"no_gaps": {"column": "a", "step": 0}}}}, "step 0 is not above 0"),
        ({"rules": {"bad": {"monotonic": {"column": "a", "per": "a"}}}}, "per names 'a'"),
        ({"rules": {"bad": {"no_gaps": {"column": "a", "step": 1, "per": "a"}}}}, "per names 'a'"),
        ({"rules": {"bad": {"no_gaps": {"column": "a", "step": True}}}}, "no step"),
        (
            {"rules": {"bad": {"no_gaps": {"column": "a", "step": 1}, "severity": "quarantine"}}},
            "none can be quarantined",
        ),
        ({"rules": {"bad": {"references": {"columns": "a"}}}}, "either a source or an entity"),
        (
            {"rules": {"bad": {"references": {"columns": "a", "source": "x", "to": ["b", "c"]}}}},
            "to lists 2 columns, where columns lists 1",
        ),
        (
            {"rules": {"bad": {"references": {"columns": "a", "entity": "x", "partition": "all"}}}},
            "an entity is looked into as a whole",
        ),
    ],
)
def test_words_of_a_contract_that_do_not_go_together(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Contract.model_validate({"columns": {"a": "string"}, **changes})


def test_columns_of_the_key_are_required() -> None:
    contract = Contract.model_validate({"columns": {"a": "string", "b": "string"}, "key": ["a"]})

    assert (contract.is_required("a"), contract.is_required("b")) == (True, False)


@pytest.mark.parametrize(
    ("partitions", "reason"),
    [
        ({}, "give either every and start"),
        ({"every": "day"}, "needs start"),
        ({"every": "year", "start": "2024-01-01"}, "'hour', 'day', 'week' or 'month'"),
        ({"every": "day", "start": "2024-01-02", "end": "2024-01-02"}, "must lie after start"),
        ({"every": "hour", "start": "2024-01-01", "timezone": "Europe/Berlin"}, "timezone: UTC"),
        ({"values": []}, "at least one"),
        ({"values": ["a", "a"]}, "twice"),
        ({"values": ["a/b"]}, "String should match"),
        ({"values": [".."]}, "String should match"),
        ({"values": ["a"], "start": "2024-01-01"}, "belong to windows of time"),
    ],
)
def test_words_of_partitions_that_do_not_go_together(
    partitions: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        Partitions.model_validate(partitions)


@pytest.mark.parametrize(
    ("dialect", "reason"),
    [
        ({"delimiter": ""}, "at least 1 character"),
        ({"delimiter": '"'}, "different characters"),
        ({"delimiter": "\n"}, "line end"),
        ({"quote": "''"}, "at most 1 character"),
        ({"quote": "\u201c"}, "ASCII"),
        ({"encoding": "utf-9"}, "no encoding"),
        ({"encoding": "base64"}, "no text encoding"),
        ({"skip_lines": -1}, "greater than or equal to 0"),
        ({"header": "search"}, "find"),
    ],
)
def test_words_of_a_dialect_that_do_not_go_together(dialect: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        CsvDialect.model_validate(dialect)


@pytest.mark.parametrize("path", ["a/{day}.csv", "a/{.csv", "../a.csv", "a/../b.csv", ""])
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        Files(path=path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"partitions": {"values": ["a", "b"]}}, "needs partitions: {every"),
        (
            {"partitions": {"values": ["a", "b"]}, "extract__files__path": "x/*.csv"},
            r"need a \{partition\} in the path",
        ),
        ({"extract__files__csv__header": False}, "drop source_name"),
        (
            {
                "extract__files__csv__header": False,
                "contract": {"columns": {"a": {"aliases": ["b"]}}},
            },
            "drop source_name and aliases",
        ),
        ({"automation__cron": "15 1 * *"}, "String should match"),
        ({"tags": {"a": 1}}, "valid string"),
    ],
)
def test_words_of_a_source_that_do_not_go_together(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        SourceDeclaration.model_validate(changed(HARBOUR, **changes))


def test_a_share_is_no_percentage() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        Checks.model_validate({"quarantined": {"max_share": 5}})


def test_preferred_sources_win_and_the_rest_follow_in_order() -> None:
    mapping = {"id": "x"}
    entity = EntityDeclaration.model_validate(
        {
            "name": "e",
            "key": ["id"],
            "columns": {"id": "string"},
            "from": {"a": mapping, "b": mapping, "c": mapping},
            "prefer": ["c"],
        }
    )

    assert entity.precedence() == ("c", "a", "b")


@pytest.mark.parametrize(("written", "sql"), [(1, "1"), (1.5, "1.5"), (True, "true"), ("a", "a")])
def test_constants_of_a_mapping_may_be_written_as_yaml(written: object, sql: str) -> None:
    entity = EntityDeclaration.model_validate(changed(ARRIVALS, from__harbour__rank=written))

    assert entity.mappings["harbour"]["rank"] == sql


def test_an_entity_that_says_nothing_of_writing_is_what_it_was() -> None:
    """Its digest stands beside what it published before there was the word."""
    silent = EntityDeclaration.model_validate(ARRIVALS)
    explicit = EntityDeclaration.model_validate(changed(ARRIVALS, write={"mode": "replace"}))
    other = EntityDeclaration.model_validate(changed(ARRIVALS, write="upsert"))

    assert digest_of(silent) == digest_of(explicit) == "5e5c22843a945810"
    assert digest_of(other) != digest_of(silent)


@pytest.mark.parametrize(
    ("write", "closes"),
    [
        ("history", True),
        ({"mode": "history", "deletes": "keep"}, False),
        ({"mode": "history", "valid_from": "arrived_at"}, False),
        ({"mode": "history", "valid_from": "arrived_at", "deletes": "close"}, True),
    ],
)
def test_a_history_of_snapshots_closes_what_is_gone(
    write: str | dict[str, str], *, closes: bool
) -> None:
    entity = EntityDeclaration.model_validate(changed(ARRIVALS, write=write))

    assert entity.write.closes_absent is closes


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"write": "merge"}, "'replace', 'append', 'upsert' or 'history'"),
        ({"write": {"latest_by": "rank"}}, "Field required"),
        ({"write": {"mode": "upsert", "newest_by": "rank"}}, "Extra inputs"),
        ({"write": {"mode": "append", "latest_by": "rank"}}, "latest_by belongs to mode: upsert"),
        ({"write": {"mode": "upsert", "deletes": "close"}}, "deletes belongs to mode: history"),
        (
            {"write": {"mode": "upsert", "valid_from": "rank"}},
            "valid_from belongs to mode: history",
        ),
        ({"write": {"mode": "upsert", "latest_by": "at"}}, "latest_by names 'at', which is no col"),
        ({"write": {"mode": "upsert", "latest_by": "arrival_id"}}, "a column of the key"),
        (
            {"write": {"mode": "upsert", "latest_by": "note"}, "columns__note": "string"},
            "latest_by names 'note', a string; it must be int or",
        ),
        ({"write": {"mode": "history", "valid_from": "rank"}}, "it must be timestamp"),
        (
            {"write": {"mode": "history", "valid_from": "at"}, "columns__at": "timestamp"},
            "from harbour must map 'at', which says when a row changed",
        ),
        ({"write": "history", "columns__Valid_To": "timestamp"}, "'Valid_To' of its own"),
    ],
)
def test_ways_of_writing_that_do_not_fit(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        EntityDeclaration.model_validate(changed(ARRIVALS, **changes))


def test_a_column_may_be_called_valid_from_where_no_history_is_kept() -> None:
    entity = EntityDeclaration.model_validate(changed(ARRIVALS, columns__valid_from="date"))

    assert "valid_from" in entity.columns


def test_declarations_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Column(type="int64").type = "string"  # type: ignore[misc]


NEWS: dict[str, Any] = {
    "name": "news",
    "partitions": {"every": "day", "start": "2026-01-01", "current": True},
    "extract": {"feed": {"url": "https://example.org/feeds/news.xml?token=hidden"}},
    "contract": {"columns": {"id": "string"}},
}


def test_a_feed_tells_of_now_and_shows_no_query() -> None:
    extract = SourceDeclaration.model_validate(NEWS).extract
    assert (extract.kind, extract.place) == ("feed", "example.org/feeds/news.xml")
    assert extract.tells_of_now
    assert "feed_title" in extract.known_columns


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"partitions__current": False}, "a feed says what is now: add current: true"),
        ({"automation__last": 2}, "last counts windows that are over, which no feed fills"),
        ({"automation__sensor": {}}, "a sensor looks for files, and a feed has none: use cron"),
        ({"extract__feed__url": "example.org/feed"}, "is no address, such as https://"),
        ({"extract__feed__url": "file:///etc/passwd"}, "is no address, such as https://"),
        ({"extract__feed__url": "https://a:b@example.org/"}, "holds a user or a password"),
        ({"extract__feed__url": "https://{partition}.example.org/"}, "is no address"),
        ({"extract__feed__url": "https://example.org/{date}"}, "a brace that is no placeholder"),
        ({"extract__feed__url": "https://example.org/{partition}"}, "needs partitions: {values"),
        ({"partitions": {"values": ["a", "b"]}}, "need a {partition} in the url"),
        ({"partitions": {"values": ["a"], "current": True}}, "belong to windows of time"),
        (
            {"extract__files": {"path": "x"}},
            "give exactly one of files, rest, database, feed, not files and feed",
        ),
        ({"extract": {}}, "give exactly one of files, rest, database, feed, not none"),
        ({"extract": {"fed": {}}}, "there is no kind of source 'fed'. Did you mean 'feed'?"),
    ],
)
def test_what_does_not_go_with_a_feed(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(reason)):
        SourceDeclaration.model_validate(changed(NEWS, **changes))


@pytest.mark.parametrize(("kind", "path"), [("feed", "news"), ("rest", "{begin:%s}/{end:%s}")])
def test_an_address_is_looked_at_once_it_is_filled_in(kind: str, path: str) -> None:
    for host in ("{{ env.HOST }}", "{{ env('HOST', 'http://127.0.0.1') }}"):
        waiting = {**NEWS, "extract": {kind: {"url": f"{host}/{path}"}}}
        SourceDeclaration.model_validate(waiting)
    with pytest.raises(ValidationError, match="https://"):
        SourceDeclaration.model_validate({**NEWS, "extract": {kind: {"url": f"host/{path}"}}})


def test_feeds_of_a_list_have_addresses_of_their_own() -> None:
    feed = SourceDeclaration.model_validate(
        {
            **changed(NEWS, extract__feed__url="https://example.org/{partition}.xml"),
            "partitions": {"values": ["a.b", "c"]},
        }
    ).extract.feed
    assert feed is not None
    assert feed.url_of("a.b") == "https://example.org/a.b.xml"
    assert feed.place_of("c") == "example.org/c.xml"


def test_a_limit_counts_exactly() -> None:
    share = Limit(share=0.07)
    assert share.allows(7, 100)  # 0.07 * 100 is more than 7 to a float
    assert not share.allows(8, 100)
    assert Limit(rows=0).allows(0, 5)
    assert not Limit(rows=1).allows(2, 1_000_000)
    assert [str(one) for one in (share, Limit(rows=1), Limit(rows=2000))] == [
        "7 % of the rows",
        "1 row",
        "2,000 rows",
    ]


def test_words_that_are_not_said_change_no_digest() -> None:
    said = Contract.model_validate({"columns": {"a": "int64"}, "rules": {"r": {"sql": "a > 1"}}})
    dumped = said.model_dump(mode="json")
    assert "model" not in dumped
    assert dumped["rules"]["r"] == {"sql": "a > 1", "severity": "quarantine", "description": ""}
    assert not {"limit", "above", "below", "multiple_of"} & dumped["columns"]["a"].keys()


def test_words_about_drift_are_in_the_digest_if_they_are_said() -> None:
    def digest_with(**words: object) -> str:
        column = {"a": {"type": "string", "aliases": words.pop("aliases", [])}}
        return digest_of(Contract.model_validate({"columns": column, **words}))

    unsaid = digest_with()
    same = {"aliases": [], "missing_columns": "evolve", "changed_types": "quarantine"}
    assert digest_with(**same) == unsaid
    said: list[dict[str, object]] = [
        {"aliases": ["b"]},
        {"missing_columns": "freeze"},
        {"changed_types": "evolve"},
        {"changed_types": {"share": 0.4}},
    ]
    digests = {digest_with(**words) for words in said}
    assert len(digests - {unsaid}) == len(said)
