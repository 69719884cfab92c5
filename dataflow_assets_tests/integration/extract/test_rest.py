from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.errors import (
    BreakerOpenError,
    SettingsError,
    SourceRefusedError,
    SourceUnavailableError,
)
from dataflow_assets.extract.extractor import Request, Surroundings
from dataflow_assets.extract.kinds import open_extractor
from dataflow_assets.io.lake import Lake
from dataflow_assets_tests.http_server import Answer, Asked, Server, json_answer, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from dataflow_assets.extract.files import Snapshot

DAY = "2024-04-01"
HASTE = {"connect": "1s", "silence": "1s", "answer": "2s", "tries": 2, "longest_wait": "0s"}
Row = dict[str, Any]


def rows_of(count: int) -> list[Row]:
    return [{"id": number, "name": f"row {number}"} for number in range(count)]


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda _: json_answer([])) as running:
        yield running


class Asker:
    """Extracts one partition of a source, as often as wanted."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url

    def declared(self, *, partitions: object = None, **rest: object) -> SourceDeclaration:
        given = {"url": f"{self.url}/items", "patience": HASTE, **rest}
        return SourceDeclaration.model_validate(
            {
                "name": "items",
                "partitions": partitions or {"values": ["all"]},
                "extract": {"rest": given},
                "contract": {"key": ["id"], "columns": {"id": "int64", "name": "string"}},
            }
        )

    def fetch(
        self, partition: str = "all", *, partitions: object = None, **rest: object
    ) -> Sequence[Snapshot]:
        source = self.declared(partitions=partitions, **rest)
        lake = Lake(self.root / "lake", 5)
        around = Surroundings(self.root, self.root / "scratch", lake.shared(".hosts"))
        self.extractor = open_extractor(source, around, [partition])
        begin, end = source.partitions.window_of(partition) or (None, None)
        archive = self.root / "lake" / "archive" / "items"
        request = Request(partition, begin, end, archive, stays=True, before=list)
        return self.extractor.fetch(request)

    def rows(self, partition: str = "all", **rest: Any) -> list[Row]:  # noqa: ANN401 - YAML
        snapshots = self.fetch(partition, **rest)
        found: list[Row] = []
        for shot in snapshots:
            schema = self.extractor.reader.schema(shot)
            for table in self.extractor.reader.rows(shot, schema):
                found += table.to_pylist()
        return [{"id": int(row["id"]), "name": row["name"]} for row in found]

    def written(self) -> bytes:
        """Return the names and bytes of all that was written, but not the archived bodies."""
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        kept = [path for path in paths if path.suffix != ".page" and "archive" not in path.parts]
        return b"\n".join([*(str(path).encode() for path in paths), *map(_content, kept)])


def _content(path: Path) -> bytes:
    return path.read_bytes()


@pytest.fixture
def asker(tmp_path: Path, server: Server) -> Asker:
    return Asker(tmp_path, server.url)


ROWS = rows_of(25)


def by_offset(rows: list[Row], most: int = 1000) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        begin, limit = int(asked.params["offset"]), int(asked.params["limit"])
        part = rows[begin : begin + min(limit, most)]
        return json_answer({"items": part, "meta": {"total": len(rows)}})

    return answer


def by_number(asked: Asked) -> Answer:
    page, size = int(asked.params["page"]), int(asked.params.get("per_page", 10))
    part = ROWS[(page - 1) * size : page * size]
    return json_answer({"items": part, "total": str(len(ROWS)), "pages": -(-len(ROWS) // size)})


def by_cursor(asked: Asked) -> Answer:
    begin = int(asked.params.get("after", "0"))
    end = begin + 10
    meta = {"next": str(end) if end < len(ROWS) else None, "more": end < len(ROWS)}
    return json_answer({"items": ROWS[begin:end], "meta": meta})


def by_next(server: Server, *, relative: bool) -> Callable[[Asked], Answer]:
    def answer(asked: Asked) -> Answer:
        begin = int(asked.params.get("from", "0"))
        url = f"?from={begin + 10}" if relative else f"{server.url}/items?from={begin + 10}"
        links = {"next": url} if begin + 10 < len(ROWS) else {}
        return json_answer({"items": ROWS[begin : begin + 10], "links": links})

    return answer


def by_link(asked: Asked) -> Answer:
    begin = int(asked.params.get("from", "0"))
    first = '<https://127.0.0.1/?from=0>; rel="first"; title="a, b"'
    more = f', </items?from={begin + 10}>; rel="last next"' if begin + 10 < len(ROWS) else ""
    return json_answer(ROWS[begin : begin + 10], Link=first + more)


WAYS: dict[str, tuple[Callable[[Server], Callable[[Asked], Answer]], dict[str, Any], int]] = {
    "none": (lambda _: lambda _: json_answer({"items": ROWS}), {}, 1),
    "offset, by total": (
        lambda _: by_offset(ROWS),
        {"pages": {"offset": {"limit": 10, "total": "meta.total"}}},
        3,
    ),
    "offset, to the empty page": (
        lambda _: by_offset(ROWS),
        {"pages": {"offset": {"limit": 10}}},
        4,
    ),
    "offset, fewer rows than asked for": (
        lambda _: by_offset(ROWS, most=4),
        {"pages": {"offset": {"limit": 10}}},
        8,
    ),
    "offset, overlapping": (
        lambda _: by_offset(ROWS),
        {"pages": {"offset": {"limit": 10, "overlap": 2}}},
        4,
    ),
    "offset, overlap above what the host gives": (
        lambda _: by_offset(ROWS, most=3),
        {"pages": {"offset": {"limit": 10, "overlap": 5}}},
        24,
    ),
    "number, to the empty page": (lambda _: by_number, {"pages": {"number": {}}}, 4),
    "number, by total": (
        lambda _: by_number,
        {"pages": {"number": {"total": "total", "size_param": "per_page", "size": 5}}},
        5,
    ),
    "number, by pages": (
        lambda _: by_number,
        {"pages": {"number": {"total_pages": "pages"}}},
        3,
    ),
    "cursor": (
        lambda _: by_cursor,
        {"pages": {"cursor": {"path": "meta.next", "param": "after"}}},
        3,
    ),
    "cursor and more": (
        lambda _: by_cursor,
        {"pages": {"cursor": {"path": "meta.next", "param": "after", "more": "meta.more"}}},
        3,
    ),
    "next, whole": (
        lambda server: by_next(server, relative=False),
        {"pages": {"next": {"path": "links.next"}}},
        3,
    ),
    "next, relative": (
        lambda server: by_next(server, relative=True),
        {"pages": {"next": {"path": "links.next"}}},
        3,
    ),
    "link": (lambda _: by_link, {"pages": {"link": {}}, "records": None}, 3),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_cutting_pages(server: Server, asker: Asker, way: str) -> None:
    make, declared, requests = WAYS[way]
    server.answer = make(server)
    rows = asker.rows(**{"records": "items", **declared})
    assert list({row["id"]: row for row in rows}.values()) == ROWS
    assert len(server.asked) == requests
    if "overlap" not in way:
        assert rows == ROWS


def test_nothing_there(server: Server, asker: Asker) -> None:
    nothing: object
    for nothing in ([], {"items": None}, {"items": []}):
        answer = json_answer(nothing)
        server.answer = lambda _, answer=answer: answer  # type: ignore[misc]
        declared = {} if isinstance(nothing, list) else {"records": "items"}
        assert asker.rows(pages={"offset": {}}, **declared) == []


def test_post_with_pages_in_the_body(server: Server, asker: Asker) -> None:
    def answer(asked: Asked) -> Answer:
        begin, limit = asked.json["offset"], asked.json["limit"]
        assert asked.headers["Content-Type"] == "application/json"
        assert asked.json["filter"] == {"day": "all", "tags": ["x-all"]}
        return json_answer(ROWS[begin : begin + limit])

    server.answer = answer
    body = {"filter": {"day": "{partition}", "tags": ["x-{partition}"]}}
    snapshots = asker.fetch(method="POST", body=body, pages={"offset": {"limit": 10}})
    assert {asked.method for asked in server.asked} == {"POST"}
    names = [shot.file.name.partition("/")[2] for shot in snapshots]
    assert names == ["items#1", "items#2", "items#3", "items#4"]


def test_a_record_nested_too_deep_keeps_no_other_from_coming(server: Server, asker: Asker) -> None:
    """Neither on its page, nor on the next, whose address stands behind it."""
    deep = "[" * 100_000 + "]" * 100_000

    def answer(asked: Asked) -> Answer:
        begin = int(asked.params.get("from", "0"))
        records = [*map(json.dumps, ROWS[begin : begin + 10]), f'{{"id": 0, "name": {deep}}}']
        more = f'"?from={begin + 10}"' if begin + 10 < len(ROWS) else "null"
        body = f'{{"items": [{", ".join(records)}], "links": {{"next": {more}}}}}'
        return Answer(body.encode(), headers={"Content-Type": "application/json"})

    server.answer = answer
    found = []
    for shot in asker.fetch(records="items", pages={"next": {"path": "links.next"}}):
        schema = asker.extractor.reader.schema(shot)
        for table in asker.extractor.reader.rows(shot, schema):
            found += table.to_pylist()
    good = [{"id": int(row["id"]), "name": row["name"]} for row in found if not row["_reject"]]
    assert good == ROWS
    assert [row["_reject"] for row in found if row["_reject"]] == ["too_deep"] * 3


def test_csv_bodies(server: Server, asker: Asker) -> None:
    def answer(asked: Asked) -> Answer:
        begin = int(asked.params.get("from", "0"))
        text = io.StringIO()
        writer = csv.DictWriter(text, ["id", "name"])
        writer.writeheader()
        writer.writerows(ROWS[begin : begin + 20])
        body = gzip.compress(text.getvalue().encode())
        more = {"Link": f"</items?from={begin + 20}>; rel=next"} if begin == 0 else {}
        return Answer(body, headers={"Content-Type": "text/csv", **more})

    server.answer = answer
    assert asker.rows(format="csv", pages={"link": {}}) == ROWS


def test_the_window_is_in_the_request(server: Server, asker: Asker) -> None:
    url = f"{server.url}/v/{{begin:%Y}}/items?to={{end:%Y-%m-%dT%H:%M:%S+00:00}}"
    asker.fetch(
        DAY,
        partitions={"every": "day", "start": "2024-01-01", "timezone": "Europe/Berlin"},
        url=url,
        params={"s": "{begin:%s}", "ms": "{end:%s}000", "last": "{last:%d}", "day": "{partition}",
                "n": 5, "b": True},
        headers={"X-Day": "{partition}"},
    )  # fmt: skip
    begin = dt.datetime(2024, 3, 31, 22, tzinfo=dt.UTC)
    asked = server.asked[0]
    assert asked.path == "/v/2024/items"
    assert asked.headers["X-Day"] == DAY
    assert asked.params == {
        "to": "2024-04-01T22:00:00+00:00",
        "s": str(int(begin.timestamp())),
        "ms": str(int(begin.timestamp() + 86400) * 1000),
        "last": "01",
        "day": DAY,
        "n": "5",
        "b": "true",
    }


@pytest.mark.parametrize(
    ("answer", "declared", "told"),
    [
        (lambda asked: json_answer({"items": [len(asked.params)], "next": "?a=b"}),
         {"pages": {"next": {"path": "next"}}}, "leads back"),
        (lambda _: json_answer({"items": ROWS, "next": 7}),
         {"pages": {"next": {"path": "next"}}}, "no address at next"),
        (lambda asked: json_answer({"items": [len(asked.params)], "c": "x"}),
         {"pages": {"cursor": {"path": "c", "param": "c"}}}, "leads back"),
        (lambda _: json_answer({"items": ROWS, "more": True}),
         {"pages": {"cursor": {"path": "c", "param": "c", "more": "more"}}}, "no cursor at c"),
        (lambda _: json_answer({"items": ROWS}), {"pages": {"offset": {}}}, "very rows"),
        (lambda _: json_answer({"items": ROWS}), {"pages": {"number": {}}}, "very rows"),
        (lambda _: json_answer({"items": ROWS}),
         {"pages": {"offset": {"total": "all"}}}, "no number at all"),
        (lambda _: json_answer({"things": ROWS}), {"pages": {"offset": {}}}, "nothing at items"),
        (lambda asked: json_answer({"items": [dict(asked.params)]}),
         {"pages": {"number": {}, "most": 7}}, "beyond page 7"),
    ],
)  # fmt: skip
def test_pages_without_end_or_sense_are_refused(
    server: Server,
    asker: Asker,
    answer: Callable[[Asked], Answer],
    declared: dict[str, Any],
    told: str,
) -> None:
    server.answer = answer
    with pytest.raises(SourceRefusedError, match=told):
        asker.fetch(records="items", **declared)
    assert len(server.asked) <= 8


NOTHING = Answer(status=204)
ENDS: dict[str, dict[str, Any]] = {
    "one page": {},
    "offset": {"pages": {"offset": {"limit": 10}}, "records": "items"},
    "offset, by total": {"pages": {"offset": {"limit": 10, "total": "meta.total"}}},
    "offset, overlapping": {"pages": {"offset": {"limit": 10, "overlap": 2}}},
    "number, by pages": {"pages": {"number": {"total_pages": "pages"}}},
    "cursor": {"pages": {"cursor": {"path": "next", "param": "after", "more": "more"}}},
    "next": {"pages": {"next": {"path": "next"}}},
    "link": {"pages": {"link": {}}},
    "rows of CSV": {"pages": {"link": {}}, "format": "csv"},
}


@pytest.mark.parametrize("way", ENDS)
def test_no_content_is_no_rows(server: Server, asker: Asker, way: str) -> None:
    server.answer = lambda _: NOTHING
    assert asker.rows(**ENDS[way]) == []
    assert len(server.asked) == 1


def test_no_content_behind_the_last_row_is_the_end(server: Server, asker: Asker) -> None:
    def answer(asked: Asked) -> Answer:
        begin = int(asked.params["offset"])
        return json_answer(ROWS[begin : begin + 10]) if begin < len(ROWS) else NOTHING

    server.answer = answer
    assert asker.rows(pages={"offset": {"limit": 10}}) == ROWS


def test_no_content_amid_a_list_is_a_list_that_moved(server: Server, asker: Asker) -> None:
    whole = by_offset(ROWS)
    server.answer = lambda asked: NOTHING if asked.params["offset"] == "10" else whole(asked)
    with pytest.raises(SourceUnavailableError, match="moved between pages"):
        asker.fetch(records="items", pages={"offset": {"limit": 10, "total": "meta.total"}})


@pytest.mark.parametrize("declared", [{}, {"pages": {"offset": {}}}])
@pytest.mark.parametrize("body", [b"", b" \n"])
def test_an_empty_body_is_refused_at_once(
    server: Server, asker: Asker, body: bytes, declared: dict[str, Any]
) -> None:
    server.answer = lambda _: Answer(body)
    with pytest.raises(SourceRefusedError, match="answered 200 with an empty body"):
        asker.fetch(**declared)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ('{"data": {"items": [{"id": 1}]}, "data": {"items": []}, "next": null}', "data"),
        ('{"data": {"items": [{"id": 1}], "items": []}, "next": null}', "items"),
        ('{"data": {"items": [{"id": 1}]}, "next": "a", "next": null}', "next"),
    ],
)
def test_a_name_twice_on_the_way_is_refused(
    server: Server, asker: Asker, body: str, name: str
) -> None:
    server.answer = lambda _: Answer(body.encode())
    with pytest.raises(SourceRefusedError, match=f"has '{name}' twice, on the way to "):
        asker.fetch(records="data.items", pages={"next": {"path": "next"}})


def test_a_page_for_people_is_no_page(server: Server, asker: Asker) -> None:
    server.answer = lambda _: Answer(b"<html>Back soon</html>")
    with pytest.raises(SourceUnavailableError, match="no JSON"):
        asker.fetch(pages={"offset": {}})


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusals_are_not_asked_again(server: Server, asker: Asker, status: int) -> None:
    server.answer = lambda _: Answer(status=status)
    with pytest.raises(SourceRefusedError, match=str(status)):
        asker.fetch()
    assert len(server.asked) == 1


def test_a_broken_host_is_left_alone(server: Server, asker: Asker) -> None:
    server.answer = lambda _: Answer(status=503)
    for _ in range(5):
        with pytest.raises(SourceUnavailableError, match="503"):
            asker.fetch()
    with pytest.raises(BreakerOpenError, match="answered 503"):
        asker.fetch()
    assert len(server.asked) == 10


def test_the_rate_is_kept(server: Server, asker: Asker) -> None:
    server.answer = by_offset(ROWS)
    pages = {"offset": {"limit": 3}}
    asker.fetch(records="items", pages=pages, rate={"requests": 20, "per": "1s"})
    times = [asked.at for asked in server.asked]
    assert times[-1] - times[1] >= 0.05 * (len(times) - 2) * 0.9  # the first waits for imports


# Rows that move between pages


def test_rows_that_come_in_front_are_not_lost(server: Server, asker: Asker) -> None:
    rows = rows_of(30)

    def answer(asked: Asked) -> Answer:
        begin = int(asked.params["offset"])
        page = json_answer(rows[begin : begin + 10])
        rows.insert(0, {"id": 100 + len(rows), "name": "new"})
        return page

    server.answer = answer
    found = {row["id"] for row in asker.rows(pages={"offset": {"limit": 10, "overlap": 1}})}
    assert found >= set(range(30))


@pytest.mark.parametrize("overlap", [1, 3])
def test_rows_that_go_in_front_hide_none(server: Server, asker: Asker, overlap: int) -> None:
    rows = rows_of(60)

    def answer(asked: Asked) -> Answer:
        begin = int(asked.params["offset"])
        page = json_answer(rows[begin : begin + 10])
        if len(server.asked) in (2, 3):
            del rows[:2]
        return page

    server.answer = answer
    found = {row["id"] for row in asker.rows(pages={"offset": {"limit": 10, "overlap": overlap}})}
    assert found >= set(range(4, 60))


def test_a_total_that_changes_begins_anew(server: Server, asker: Asker) -> None:
    rows = rows_of(25)

    def answer(asked: Asked) -> Answer:
        if len(server.asked) == 3:
            rows.pop(0)
        return by_offset(rows)(asked)

    server.answer = answer
    pages = {"offset": {"limit": 10, "total": "meta.total"}}
    found = asker.rows(records="items", pages=pages)
    assert [row["id"] for row in found] == list(range(1, 25))
    assert [asked.params["offset"] for asked in server.asked] == ["0", "10", "20", "0", "10", "20"]


def test_rows_that_never_stand_still_are_given_up(server: Server, asker: Asker) -> None:
    rows = rows_of(25)

    def answer(asked: Asked) -> Answer:
        rows.append({"id": len(rows), "name": "x"})
        return by_offset(rows)(asked)

    server.answer = answer
    pages = {"offset": {"limit": 10, "total": "meta.total"}}
    with pytest.raises(SourceUnavailableError, match="moved between pages"):
        asker.fetch(records="items", pages=pages)
    assert len(server.asked) == 8


def test_a_total_that_is_not_reached_is_no_end(server: Server, asker: Asker) -> None:
    server.answer = lambda asked: json_answer(
        {"items": ROWS[:10] if asked.params["page"] == "1" else [], "total": 25}
    )
    with pytest.raises(SourceUnavailableError, match="moved between pages"):
        asker.fetch(records="items", pages={"number": {"total": "total"}})


# Going on where a run stopped


class Killed(BaseException):
    pass


def dying_at(request: int, answer: Callable[[Asked], Answer], server: Server) -> None:
    """Let the run end in the middle of a request, as if it was killed."""

    def or_die(asked: Asked) -> Answer:
        return Answer(status=404) if len(server.asked) == request else answer(asked)

    server.answer = or_die


def test_a_run_goes_on_where_another_stopped(server: Server, asker: Asker) -> None:
    answer = by_offset(ROWS)
    declared: dict[str, Any] = {"records": "items", "pages": {"offset": {"limit": 5}}}
    dying_at(4, answer, server)
    with pytest.raises(SourceRefusedError):
        asker.fetch(**declared)
    server.answer = answer
    assert asker.rows(**declared) == ROWS
    assert [asked.params["offset"] for asked in server.asked] == [
        "0", "5", "10", "15", "15", "20", "25",
    ]  # fmt: skip
    assert list((asker.root / "scratch" / "pages").glob("*/*")) == []
    assert len(asker.rows(**declared)) == 25
    assert len(server.asked) == 13


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"q": "other"}},
        {"pages": {"offset": {"limit": 6}}},
        {"headers": {"X-Tenant": "other"}},
        {"resume": "0s"},
    ],
)
def test_pages_of_another_request_or_too_old_are_not_used(
    server: Server, asker: Asker, change: dict[str, Any]
) -> None:
    answer = by_offset(ROWS)
    declared: dict[str, Any] = {"records": "items", "pages": {"offset": {"limit": 5}}}
    dying_at(4, answer, server)
    with pytest.raises(SourceRefusedError):
        asker.fetch(**declared)
    server.answer = answer
    assert asker.rows(**{**declared, **change}) == ROWS
    assert server.asked[4].params["offset"] == "0"


@pytest.mark.parametrize("spoil", ["tail", "half a line", "page", "page gone", "head", "gap"])
def test_spoilt_pages_are_received_again(server: Server, asker: Asker, spoil: str) -> None:
    answer = by_offset(ROWS)
    declared: dict[str, Any] = {"records": "items", "pages": {"offset": {"limit": 5}}}
    dying_at(5, answer, server)
    with pytest.raises(SourceRefusedError):
        asker.fetch(**declared)
    folder = asker.root / "scratch" / "pages" / "items" / "all"
    notes = (folder / "pages.jsonl").read_bytes()
    lines = notes.splitlines(keepends=True)
    if spoil == "tail":
        (folder / "pages.jsonl").write_bytes(notes + b'{"position": {"ur')
    elif spoil == "half a line":
        (folder / "pages.jsonl").write_bytes(notes[:-20])
    elif spoil == "page":
        (folder / "000003.page").write_bytes(b"[]")
    elif spoil == "page gone":
        (folder / "000003.page").unlink()
    elif spoil == "head":
        (folder / "pages.jsonl").write_bytes(b"\xff\n" + b"".join(lines[1:]))
    else:
        (folder / "pages.jsonl").write_bytes(b"".join(lines[:2] + lines[3:]))
    first = {"tail": 20, "half a line": 15, "page": 10, "page gone": 10, "head": 0, "gap": 5}
    server.answer = answer
    assert asker.rows(**declared) == ROWS
    assert server.asked[5].params["offset"] == str(first[spoil])


# Secrets

TOKEN = "t0p-s3cret/+= value"  # noqa: S105 - made up
AUTHS: dict[str, tuple[dict[str, Any], Callable[[Asked], bool]]] = {
    "bearer": (
        {"auth": {"bearer": {"token_env": "API_TOKEN"}}},
        lambda asked: asked.headers["Authorization"] == f"Bearer {TOKEN}",
    ),
    "basic": (
        {"auth": {"basic": {"user_env": "API_USER", "password_env": "API_TOKEN"}}},
        lambda asked: (
            asked.headers["Authorization"] == "Basic dGhlLXVzZXI6dDBwLXMzY3JldC8rPSB2YWx1ZQ=="
        ),
    ),
    "key in a header": (
        {"auth": {"api_key": {"header": "X-Key", "key_env": "API_TOKEN"}}},
        lambda asked: asked.headers["X-Key"] == TOKEN,
    ),
    "key in the query": (
        {"auth": {"api_key": {"param": "key", "key_env": "API_TOKEN"}}},
        lambda asked: asked.params["key"] == TOKEN,
    ),
    "a parameter": (
        {"params": {"who": {"env": "API_TOKEN"}}},
        lambda asked: asked.params["who"] == TOKEN,
    ),
    "a header": (
        {"headers": {"X-Who": {"env": "API_TOKEN"}}},
        lambda asked: asked.headers["X-Who"] == TOKEN,
    ),
}


@pytest.fixture
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", TOKEN)
    monkeypatch.setenv("API_USER", "the-user")


@pytest.mark.usefixtures("_secrets")
@pytest.mark.parametrize("way", AUTHS)
def test_every_way_to_prove_who_asks(
    server: Server, asker: Asker, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """The host tells the secret again in its links, and fails now and then."""
    caplog.set_level("DEBUG")
    declared, knows = AUTHS[way]

    def answer(asked: Asked) -> Answer:
        if not knows(asked):
            return Answer(status=401)
        if len(server.asked) == 2:
            return Answer(status=500)
        begin = int(asked.params.get("from", 0))
        query = "&".join(f"{name}={_quoted(text)}" for name, text in asked.params.items()
                         if name != "from")  # fmt: skip
        more = {"next": f"{server.url}/items?{query}&from={begin + 10}"}
        return json_answer({"items": ROWS[begin : begin + 10], **(more if begin < 20 else {})})

    server.answer = answer
    dying_at(4, answer, server)
    with pytest.raises(SourceRefusedError) as refused:
        asker.fetch(records="items", pages={"next": {"path": "next"}}, **declared)
    on_the_way = asker.written()
    server.answer = answer
    snapshots = asker.fetch(records="items", pages={"next": {"path": "next"}}, **declared)
    shown = [asker.written(), on_the_way, caplog.text.encode(), str(refused.value).encode()]
    shown += [repr(shot).encode() for shot in snapshots]
    for form in (TOKEN, "t0p-s3cret", "dGhlLXVzZXI6"):
        assert not [text for text in shown if form.encode() in text]
    assert len(snapshots) == 3
    assert len(server.asked) == 5


def _quoted(text: str) -> str:
    return text.replace("+", "%2B").replace(" ", "%20").replace("=", "%3d")


@pytest.mark.parametrize("value", [None, "", "line\nend", "ümlaut"])
def test_a_variable_that_cannot_be_used(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("API_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("API_TOKEN", value)
    with pytest.raises(SettingsError, match="API_TOKEN") as caught:
        asker.fetch(auth={"bearer": {"token_env": "API_TOKEN"}})
    assert not value or value not in str(caught.value)


class TokenHost:
    """Gives tokens, and takes them for a while."""

    def __init__(self, life: int, send: str) -> None:
        self.life = life
        self.send = send
        self.given: list[str] = []
        self.good: set[str] = set()

    def __call__(self, asked: Asked) -> Answer:
        if asked.path == "/token":
            form = asked.body.decode()
            assert "grant_type=client_credentials" in form
            assert ("client_secret=" in form) == (self.send == "body")
            assert (asked.headers["Authorization"] is not None) == (self.send == "header")
            token = f"access-token-{len(self.given)}"
            self.given.append(token)
            self.good = {token}
            return json_answer({"access_token": token, "expires_in": self.life})
        if asked.headers["Authorization"] not in {f"Bearer {token}" for token in self.good}:
            return Answer(status=401)
        return by_offset(ROWS)(asked)


OAUTH = {"client_id_env": "API_USER", "client_secret_env": "API_TOKEN", "scope": "read"}
OFFSET: dict[str, Any] = {"records": "items", "pages": {"offset": {"limit": 10}}}


@pytest.mark.usefixtures("_secrets")
@pytest.mark.parametrize("send", ["header", "body"])
def test_tokens_are_asked_for_once_and_renewed(
    server: Server, asker: Asker, caplog: pytest.LogCaptureFixture, send: str
) -> None:
    caplog.set_level("DEBUG")
    server.answer = host = TokenHost(3600, send)
    auth = {"oauth2": {"token_url": f"{server.url}/token", "send": send, **OAUTH}}
    assert asker.rows(auth=auth, **OFFSET) == ROWS
    assert len(host.given) == 1

    def revoked(asked: Asked) -> Answer:
        if len(server.asked) in (8, 12):
            host.good.clear()
        return host(asked)

    server.answer = revoked
    assert asker.rows(auth=auth, **OFFSET) == ROWS
    assert len(host.given) == 4
    shown = asker.written() + caplog.text.encode()
    assert b"access-token" not in shown
    assert TOKEN.encode() not in shown


@pytest.mark.usefixtures("_secrets")
def test_a_token_that_ends_is_renewed_before(server: Server, asker: Asker) -> None:
    server.answer = host = TokenHost(0, "header")
    auth = {"oauth2": {"token_url": f"{server.url}/token", **OAUTH}}
    assert asker.rows(auth=auth, **OFFSET) == ROWS
    assert len(host.given) == 4
    assert [asked.path for asked in server.asked] == ["/token", "/items"] * 4


@pytest.mark.usefixtures("_secrets")
@pytest.mark.parametrize(
    "answer",
    [
        json_answer({"error": "invalid_client"}, 401),
        json_answer({"token": "x"}),
        json_answer({"access_token": "line\nend"}),
        json_answer([]),
        Answer(b"<html>"),
    ],
)
def test_no_token_is_told(server: Server, asker: Asker, answer: Answer) -> None:
    server.answer = lambda _: answer
    with pytest.raises(SourceRefusedError, match="/token"):
        asker.fetch(auth={"oauth2": {"token_url": f"{server.url}/token", **OAUTH}})
    assert len(server.asked) == 1


@pytest.mark.usefixtures("_secrets")
def test_a_host_that_refuses_every_token_is_asked_twice(server: Server, asker: Asker) -> None:
    host = TokenHost(3600, "header")
    server.answer = lambda asked: host(asked) if asked.path == "/token" else Answer(status=401)
    with pytest.raises(SourceRefusedError, match="401"):
        asker.fetch(auth={"oauth2": {"token_url": f"{server.url}/token", **OAUTH}})
    assert [asked.path for asked in server.asked] == ["/token", "/items", "/token", "/items"]


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({"url": "ftp://host/"}, "must begin with https"),
        ({"url": "https://user:word@host/"}, "holds no password"),
        ({"url": "https://host/{day}"}, "no placeholder"),
        ({"url": "https://{partition}.host/"}, "host"),
        ({"params": {"a": "{beginn:%Y}"}}, "no placeholder"),
        ({"body": {"a": 1}}, "needs method: POST"),
        ({"method": "POST", "pages": {"offset": {}}}, "go into body"),
        ({"pages": {}}, "exactly one"),
        ({"pages": {"offset": {}, "link": {}}}, "exactly one"),
        ({"pages": {"offset": {"limit": 5, "overlap": 5}}}, "less than limit"),
        ({"auth": {"api_key": {"key_env": "X"}}}, "either header or param"),
        ({"auth": {"bearer": {"token": "abc"}}}, "token"),
        ({"format": "csv", "pages": {"offset": {}}}, "by link only"),
        ({"format": "csv", "records": "a"}, "belongs to format: json"),
        ({"params": {"a": "{begin:%Y}"}}, "need partitions"),
        ({"partitions": {"values": ["a", "b"]}}, "need {partition}"),
        ({"partitions": {"every": "day", "start": "2024-01-01"}}, "the same"),
    ],
)
def test_mistakes_are_told(asker: Asker, declared: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        asker.declared(**declared)
    assert told in str(caught.value)


def test_names_are_short_and_differ(server: Server, asker: Asker) -> None:
    server.answer = lambda asked: json_answer(
        {"items": [dict(asked.params)], "c": None if len(server.asked) == 3
         else "x" * 2000 + str(len(server.asked))}
    )  # fmt: skip
    pages = {"cursor": {"path": "c", "param": "c"}}
    names = [shot.file.name for shot in asker.fetch(records="items", pages=pages)]
    assert len(set(names)) == 3
    assert max(map(len, names)) < 450


def test_the_same_answers_are_archived_once(server: Server, asker: Asker) -> None:
    server.answer = by_offset(ROWS)
    first = asker.fetch(**OFFSET)
    again = asker.fetch(**OFFSET)
    assert [(shot.file.name, shot.version) for shot in first] == [
        (shot.file.name, shot.version) for shot in again
    ]
    archived = [path for path in (asker.root / "lake" / "archive").rglob("*") if path.is_file()]
    assert len(archived) == 4
    assert json.loads(archived[0].read_bytes())["meta"] == {"total": 25}
