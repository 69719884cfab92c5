"""Declarations written from samples: they load at once, and the sample passes through them."""

from __future__ import annotations

import datetime as dt
import gzip
import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import openpyxl
import polars as pl
import psycopg
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow_assets.builders import scaffolding
from dataflow_assets.builders.scaffolding import sample as sampling
from dataflow_assets.builders.scaffolding import scaffold
from dataflow_assets.builders.scaffolding.wanted import Wanted
from dataflow_assets.components.loading import load_declarations
from dataflow_assets.components.scaffold import SourceParameters, write_source
from dataflow_assets.errors import (
    SampleError,
    SettingsError,
    SourceRefusedError,
    UnreadableFileError,
)
from dataflow_assets.settings import Settings, get_settings
from dataflow_assets_tests.http_server import Answer, Asked, json_answer, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dataflow_assets.builders.scaffolding import Scaffolded
    from dataflow_assets_tests.scenario import World

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
ORDERS = [
    {
        "order_id": n,
        "status": ("new", "paid")[n % 2],
        "sum": n / 4,
        "at": f"2024-03-01T10:{n:02}:00Z",
    }
    for n in range(40)
]


@dataclass
class Desk:
    """A folder of files, and what was scaffolded of them."""

    folder: Path
    done: list[Scaffolded] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(data_dir=self.folder / "data", files_dir=str(self.folder))

    def put(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def scaffold(self, sample: str | None = None, **words: Any) -> dict[str, Any]:  # noqa: ANN401
        """Scaffold, load the declaration as a code location does, and return its attributes."""
        done = scaffold("tried", Wanted(sample=sample, **words), self.settings)
        self.done.append(done)
        path = self.folder / "defs" / "tried" / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(done.text, encoding="utf-8")
        load_declarations(path.parent.parent)
        document: dict[str, Any] = yaml.safe_load(done.text)
        attributes: dict[str, Any] = document["attributes"]
        return attributes

    @property
    def unwrapped(self) -> str:
        """The last declaration, with its comments in one line each."""
        return re.sub(r"\n *#   ", " ", self.done[-1].text)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Rows received, loaded and quarantined."""
        trial = self.done[-1].trial
        assert trial is not None
        assert trial.received == trial.loaded + trial.tally.quarantined + trial.tally.duplicate
        return trial.received, trial.loaded, trial.tally.quarantined


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


ODD = "\r\n".join(
    [
        "Auszug vom März",
        "",
        'Nr;Größe in m;PLZ;Datum;Ok;Art;"Bemerkung; frei";Nr',
        *(
            f"{n};{n}.5;0{1000 + n};{n + 1:02}.03.2024;{('ja', 'nein')[n % 2]};"
            f'{("a", "b", "n/a")[n % 3]};"sagt ""{n}""; ja";{n}'
            for n in range(30)
        ),
        "31;N/A;04711;31.03.2024;ja;a;;31",
        "32;zu;viele;Felder;hier;a;b;c;d",
        "",
    ]
)


def test_an_odd_file(desk: Desk) -> None:
    said = desk.scaffold(desk.put("in/auszug.csv", ODD.encode("cp1252")))
    assert said["partitions"] == {"values": ["all"]}
    assert said["extract"]["files"] == {
        "path": "in/auszug.csv",
        "csv": {"delimiter": ";", "encoding": "cp1252", "skip_lines": 2},
    }
    columns = said["contract"]["columns"]
    assert said["contract"]["key"] == ["Nr"]
    assert said["contract"]["null_tokens"] == ["", "N/A", "n/a"]
    assert columns["Nr"] == {"type": "int64", "required": True}
    assert columns["grosse_in_m"] == {"type": "float64", "source_name": "Größe in m"}
    assert columns["PLZ"] == {"type": "string", "required": True}
    assert columns["Datum"]["formats"] == ["%d.%m.%Y"]
    words = {"type": "boolean", "formats": ["ja/nein"], "ignore_case": True, "required": True}
    assert columns["Ok"] == words
    assert columns["Art"] == "string"
    assert columns["Nr_2"] == {"type": "int64", "required": True}
    assert desk.counts == (32, 31, 1)
    assert "csv__ragged (1)" in desk.done[0].said[0]
    assert "csv__ragged (1)" in desk.done[0].text


def test_every_guess_says_what_it_saw(desk: Desk) -> None:
    desk.scaffold(desk.put("in/auszug.csv", ODD.encode("cp1252")))
    lines = desk.done[0].text.splitlines()
    columns = lines.index("    columns:")
    for number, line in enumerate(lines[columns + 1 :], start=columns + 1):
        if re.match(r"      \S+: ", line) and not line.lstrip().startswith("#"):
            assert lines[number - 1].lstrip().startswith("#"), line
        if line == "    rules:" or not line.startswith("     "):
            break
    assert "# all distinct in 31 rows, none without; 0 to 31" in desk.done[0].text


def written(name: str) -> bytes:
    """Return the orders in the format that a name ends in."""
    frame = pl.DataFrame(ORDERS)
    out = io.BytesIO()
    if name.endswith(".parquet"):
        frame.with_columns(pl.col("at").str.to_datetime(time_zone="UTC")).write_parquet(out)
    elif name.endswith(".xlsx"):
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        sheet.append(["Orders of March"])
        sheet.append([])
        sheet.append(list(ORDERS[0]))
        for order in ORDERS:
            sheet.append(list(order.values()))
        book.save(out)
    elif ".jsonl" in name or name.endswith(".log"):
        out.write("".join(json.dumps(order) + "\n" for order in ORDERS).encode())
    elif ".json" in name:
        out.write(json.dumps({"meta": {"n": 40}, "data": {"orders": ORDERS}}).encode())
    else:
        out.write(frame.write_csv(separator="\t" if ".tsv" in name else ",").encode())
    content = out.getvalue()
    if name.endswith(".gz"):
        return gzip.compress(content)
    if name.endswith(".zst"):
        return bytes(pa.compress(content, "zstd", asbytes=True))
    return content


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("o.csv", {}),
        ("o.csv.gz", {}),
        ("o.csv.zst", {}),
        ("o.tsv", {}),
        ("o.tsv.gz", {}),
        ("o.dat", {}),
        ("o.jsonl", {}),
        ("o.log", {"format": "jsonl"}),
        ("o.json", {"json": {"records": "data.orders"}}),
        ("o.json.gz", {"json": {"records": "data.orders"}}),
        ("o.parquet", {}),
        ("o.xlsx", {"excel": {"skip_lines": 2}}),
    ],
)
def test_formats(desk: Desk, name: str, words: dict[str, Any]) -> None:
    said = desk.scaffold(desk.put(name, written(name)))
    assert said["extract"]["files"] == {"path": name, **words}
    contract = said["contract"]
    assert contract["key"] == ["order_id"]
    kinds = {column: one["type"] for column, one in contract["columns"].items()}
    assert kinds == {"order_id": "int64", "status": "string", "sum": "float64", "at": "timestamp"}
    assert desk.counts == (40, 40, 0)


def test_an_archive_of_several_files(desk: Desk) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.csv", written("a.csv"))
        archive.writestr("b.csv", written("b.csv"))
    said = desk.scaffold(desk.put("o.zip", out.getvalue()))
    assert said["extract"]["files"] == {"path": "o.zip"}
    assert "key" not in said["contract"]
    assert desk.counts == (80, 80, 0)


def test_objects_within_records_become_columns(desk: Desk) -> None:
    rows = [
        {"id": n, "place": {"city": "Graz", "geo": {"lat": 47.5, "lon": 15.25}}, "tags": [1]}
        for n in range(25)
    ]
    columns = desk.scaffold(desk.put("p.json", json.dumps(rows)))["contract"]["columns"]
    assert columns["place_geo_lat"]["source_name"] == "place.geo.lat"
    assert columns["place_geo_lat"]["type"] == "float64"
    assert set(columns) == {"id", "place_city", "place_geo_lat", "place_geo_lon", "tags"}
    assert desk.counts == (25, 25, 0)


def test_a_date_in_the_name_makes_partitions(desk: Desk) -> None:
    said = desk.scaffold(desk.put("shop/sales_2024-03-01.csv", written("x.csv")))
    assert said["partitions"] == {"every": "day", "start": dt.date(2024, 3, 1)}
    assert said["extract"]["files"]["path"] == "shop/sales_{date:%Y-%m-%d}.csv"


def test_a_file_outside_of_the_folder_of_files(desk: Desk, tmp_path_factory: Any) -> None:  # noqa: ANN401
    path = tmp_path_factory.mktemp("elsewhere") / "o.csv"
    path.write_bytes(written("o.csv"))
    assert desk.scaffold(str(path))["extract"]["files"]["path"] == str(path)


def test_a_log_with_its_columns_in_a_comment(desk: Desk) -> None:
    head = "#separator \\x09\n#fields\tts\tid.orig_h\tport\n#types\ttime\taddr\tport\n"
    rows = "".join(f"15219117{n}.5\t10.0.0.{n}\t{n if n % 2 else '-'}\n" for n in range(10, 40))
    said = desk.scaffold(desk.put("conn.log", head + rows))
    assert said["extract"]["files"]["csv"] == {"header": False, "comment": "#"}
    assert said["contract"]["null_tokens"] == ["", "-"]
    columns = said["contract"]["columns"]
    assert columns["ts"]["formats"] == ["%s%.f"]
    assert columns["port"] == "int64"
    assert list(columns) == ["ts", "id.orig_h", "port"]


def test_values_unlike_the_samples_are_warned_about(desk: Desk) -> None:
    rows = "".join(f"{n},it's {('a', 'b')[n % 2]},X{n:03}\n" for n in range(120))
    rules = desk.scaffold(desk.put("o.csv", "id,Kind of thing,code\n" + rows))["contract"]["rules"]
    assert rules == {
        "kind_of_thing_known": {
            "sql": "kind_of_thing in ('it''s a', 'it''s b')",
            "severity": "warn",
        },
        "code_shape": {"sql": "regexp_like(code, '^X[0-9]{3}$')", "severity": "warn"},
    }


def test_a_nul_byte_stays_in_quarantine(desk: Desk) -> None:
    desk.scaffold(
        desk.put("o.csv", "id,name\n" + "".join(f"{n},x\n" for n in range(99)) + "99,a\0b\n")
    )
    assert desk.counts == (100, 99, 1)
    assert "name__nul_byte (1)" in desk.done[0].said[0]


def test_quotes_amid_fields(desk: Desk) -> None:
    text = "id\tname\n" + "".join(f'{n}\t"size {n}\n' for n in range(20))
    said = desk.scaffold(desk.put("o.tsv", text))
    assert said["extract"]["files"]["csv"] == {"quote": None}
    assert desk.counts == (20, 20, 0)


def test_apostrophes_leave_the_usual_quote(desk: Desk) -> None:
    text = "id,airport\n" + "1,O'HARE\n2,MIAMI\n" * 20
    said = desk.scaffold(desk.put("o.csv", text))
    assert said["extract"]["files"] == {"path": "o.csv"}
    assert desk.counts == (40, 40, 0)


def test_quotes_behind_a_backslash(desk: Desk) -> None:
    text = "id,name\n" + "".join(f'{n},"a \\"word\\", yes"\n' for n in range(20))
    said = desk.scaffold(desk.put("o.csv", text))
    assert said["extract"]["files"]["csv"] == {"escape": "\\"}
    assert desk.counts == (20, 20, 0)


def test_a_big_sample_is_read_in_part(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_ROWS", 1_000)
    rows = "".join(f"{n},x\n" for n in range(5_000))
    desk.scaffold(desk.put("o.csv", f"id,name\n{rows}"))
    assert desk.counts == (1_000, 1_000, 0)
    assert "a part of it: at most 100,000 rows" in desk.unwrapped


@pytest.mark.parametrize("name", ["o.csv", "o.csv.gz", "o.jsonl", "o.json"])
def test_a_big_file_is_cut(desk: Desk, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(scaffolding.files, "MOST_BYTES", 1_000)
    desk.scaffold(desk.put(name, written(name)))
    received, loaded, quarantined = desk.counts
    assert 5 < received < 40
    assert (loaded, quarantined) == (received, 0)


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("README.md", "# Title", "Markdown"),
        ("a.png", b"\x89PNG\r\n\x1a\n", "PNG"),
        ("a.csv", b"", "empty"),
        ("a.html", "<html></html>", "web page"),
        ("a.txt", "This is a text,\nwhich goes on and on, for people to read it all.\n", "people"),
        ("a.json", "[1, 2, 3]", "no objects"),
        ("a.json", '{"a": ', "no objects|no JSON"),
        ("a.xml", "<?xml version='1.0'?><rss/>", "give the address"),
        ("a.xlsx", b"PK\x03\x04broken", "cannot be read|corrupt|truncated"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n", mtime=0)[:-9], "cannot be read"),
        (".hidden.csv", "a,b\n1,2\n", "never read"),
        ("a.csv.part", "a,b\n1,2\n", "never read"),
    ],
)
def test_what_is_no_sample_is_refused(
    desk: Desk, name: str, content: str | bytes, why: str
) -> None:
    with pytest.raises((SampleError, UnreadableFileError), match=why):
        desk.scaffold(desk.put(name, content))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"sample": "nowhere.csv"}, "No such file"),
        ({"sample": "."}, "no file"),
        ({"sample": "postgresql://anna:hidden@h/x"}, "an address of postgresql"),
        ({"table": "orders"}, "which database"),
        ({"database_url_env": "NOT_SET", "table": "orders"}, "NOT_SET is not set"),
    ],
)
def test_wrong_words_are_refused(desk: Desk, words: dict[str, str], why: str) -> None:
    with pytest.raises((SampleError, SettingsError), match=why) as refused:
        desk.scaffold(**words)
    assert "hidden" not in str(refused.value)


def test_without_a_sample(desk: Desk) -> None:
    said = desk.scaffold()
    assert said["contract"]["columns"] == {"id": "string"}
    assert "# key: [id]" in desk.done[0].text


cells = st.one_of(
    st.text(max_size=8),
    st.integers().map(str),
    st.dates().map(str),
    st.sampled_from(["", "N/A", "-", "1.5", "{{ env.X }}", "a'b", '"', "{", "#", "\ufeff", "_x"]),
)


@given(
    rows=st.lists(st.lists(cells, min_size=2, max_size=4), min_size=2, max_size=8),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
@settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_no_sample_is_too_odd(desk: Desk, rows: list[list[str]], delimiter: str) -> None:
    text = "\n".join(delimiter.join(row) for row in rows)
    try:
        path = desk.put("fuzz.csv", text.encode("utf-8", "surrogatepass"))
        desk.scaffold(path)
    except (SampleError, UnreadableFileError):
        return
    received, loaded, quarantined = desk.counts
    trial = desk.done[-1].trial
    assert trial is not None
    assert trial.broken == {}
    assert received == loaded + quarantined


def test_the_declaration_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the trial says is what a run does."""
    inbox = world.root / "data" / "inbox" / "shop"
    inbox.mkdir(parents=True)
    (inbox / "sales_2024-04-01.csv").write_bytes(ODD.encode("cp1252"))
    monkeypatch.setenv("DATA_DIR", str(world.root / "data"))
    get_settings.cache_clear()
    shutil.rmtree(world.root / "defs")
    parameters = SourceParameters(sample=str(inbox / "sales_2024-04-01.csv"))
    said = write_source(world.root / "defs" / "shop-sales", parameters)
    get_settings.cache_clear()
    assert said[1].startswith("32 rows received, 31 loaded, 1 quarantined")
    world.forget_definitions()
    assert world.materialize("2024-04-01").success
    assert world.rows("cleaned", "2024-04-01", "shop_sales").height == 31
    assert world.rows("quarantine", "2024-04-01", "shop_sales").height == 1


def test_a_declaration_is_never_overwritten(desk: Desk) -> None:
    folder = desk.folder / "defs" / "orders"
    sample = SourceParameters(sample=desk.put("o.csv", written("o.csv")))
    write_source(folder, sample)
    before = (folder / "defs.yaml").read_text(encoding="utf-8")
    with pytest.raises(SampleError, match="a declaration already"):
        write_source(folder, sample)
    assert (folder / "defs.yaml").read_text(encoding="utf-8") == before


@pytest.mark.parametrize("name", ["2024", "_", "é", "x" * 80])
def test_names_that_no_source_may_have(desk: Desk, name: str) -> None:
    with pytest.raises(SampleError, match="no name of a source"):
        write_source(desk.folder / name, SourceParameters())


def api(asked: Asked) -> Answer:
    """Answer as APIs do: the way is the first part of the path."""
    way = asked.path.strip("/")
    plain = {
        "csv": Answer(written("o.csv").replace(b",", b";"), headers={"Content-Type": "text/csv"}),
        "feed": Answer(FEED.encode(), headers={"Content-Type": "application/rss+xml"}),
        "page": Answer(b"<!doctype html><html></html>", headers={"Content-Type": "text/html"}),
        "invoice": json_answer({"id": 1, "total": 250}),
        "window": json_answer(ORDERS if asked.params.get("from") == "2024-03-01" else []),
    }
    if way in plain:
        return plain[way]
    if way == "items":
        return items(asked)
    if way == "secret":
        known = asked.params.get("api_key") == "hidden1" or "Bearer hidden2" in str(asked.headers)
        return json_answer(ORDERS) if known else json_answer({}, status=401)
    at = int(asked.params.get("offset") or asked.params.get("page_token") or 0)
    return paged(way, at, asked.headers["Host"])


def items(asked: Asked) -> Answer:
    """Answer 10 of 38 items, those of an offset; whatever else `from` may be, it is a day."""
    if not re.fullmatch(r"2026-03-0[12]", asked.params.get("from", "2026-03-01")):
        return json_answer({}, status=400)
    begin = int(asked.params.get("offset") or asked.params.get("skip") or 0)
    rows = [{"id": one, "name": f"n{one}"} for one in range(begin, min(begin + 10, 38))]
    return json_answer({"meta": {"count": len(rows), "total": 38}, "data": {"items": rows}})


def paged(way: str, at: int, host: str) -> Answer:
    """Answer with a page of 15 orders."""
    part, following = ORDERS[at : at + 15], at + 15 if at + 15 < len(ORDERS) else None
    if way == "link":
        link = f'<http://{host}/link?offset={following}>; rel="next"'
        return json_answer(part, 200, **({"Link": link} if following else {}))
    bodies: dict[str, object] = {
        "next": {"results": part, "next": following and f"/next?offset={following}"},
        "cursor": {"data": {"items": part}, "meta": {"next_page_token": following}},
        "offset": {"total": 40, "offset": at, "limit": 15, "rows": part},
    }
    return json_answer(bodies[way])


ITEMS = "".join(
    f"<item><guid>g{n}</guid><title>t</title><pubDate>Fri, 01 Mar 2024 10:{n:02}:00 GMT</pubDate>"
    "</item>"
    for n in range(25)
)
FEED = f'<?xml version="1.0"?><rss version="2.0"><channel><title>x</title>{ITEMS}</channel></rss>'


@pytest.fixture
def host() -> Iterator[str]:
    with serving(api) as server:
        yield server.url


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("link", {"pages": {"link": {}}}),
        ("next", {"records": "results", "pages": {"next": {"path": "next"}}}),
        (
            "cursor",
            {
                "records": "data.items",
                "pages": {"cursor": {"path": "meta.next_page_token", "param": "page_token"}},
            },
        ),
        (
            "offset?limit=15",
            {
                "records": "rows",
                "pages": {
                    "offset": {
                        "param": "offset",
                        "limit_param": "limit",
                        "limit": 15,
                        "total": "total",
                    }
                },
            },
        ),
    ],
)
def test_pages_of_an_api(desk: Desk, host: str, path: str, words: dict[str, Any]) -> None:
    said = desk.scaffold(f"{host}/{path}")
    assert said["extract"]["rest"] == {"url": f"{host}/{path.partition('?')[0]}", **words}
    assert said["contract"]["key"] == ["order_id"]
    assert desk.counts == (30, 30, 0)
    assert "# tried: the next page has 15 other records" in desk.done[0].text


@pytest.mark.parametrize(
    ("query", "pages"),
    [
        (
            "from=2026-03-01&to=2026-03-02&limit=10&offset=0",
            {"param": "offset", "limit_param": "limit", "limit": 10, "total": "meta.total"},
        ),
        (
            "skip=0&from=2026-03-01&to=2026-03-02",
            {"param": "skip", "limit_param": None, "limit": 10, "total": "meta.total"},
        ),
    ],
)
def test_a_day_is_no_offset(desk: Desk, host: str, query: str, pages: dict[str, Any]) -> None:
    rest = desk.scaffold(f"{host}/items?{query}")["extract"]["rest"]
    assert rest["pages"] == {"offset": pages}
    assert rest["params"] == {"from": "{begin:%Y-%m-%d}", "to": "{end:%Y-%m-%d}"}
    assert "total" not in rest
    assert desk.counts == (20, 20, 0)


def test_an_answer_that_has_not_all_rows(desk: Desk, host: str) -> None:
    rest = desk.scaffold(f"{host}/items?from=2026-03-01&to=2026-03-02")["extract"]["rest"]
    assert "pages" not in rest
    assert rest["total"] == "meta.total"
    done = desk.done[0]
    assert done.said[-1].startswith("The answer had 10 of 38 rows (meta.total), and nothing tells")
    text = " ".join(line.strip().removeprefix("# ").strip() for line in done.text.splitlines())
    assert "pages: MORE ROWS: The answer had 10 of 38 rows (meta.total)" in text
    assert (
        "pages: {offset: {param: offset, limit_param: limit, limit: 10, total: meta.total}" in text
    )


def test_the_total_of_one_record_is_its_own(desk: Desk, host: str) -> None:
    assert "total" not in desk.scaffold(f"{host}/invoice")["extract"]["rest"]
    assert desk.counts == (1, 1, 0)


def test_secrets_are_not_written(desk: Desk, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = desk.scaffold(f"{host}/secret?api_key=hidden1")
    assert said["extract"]["rest"]["params"] == {"api_key": {"env": "TRIED_API_KEY"}}
    assert "hidden" not in desk.done[0].text
    assert "Set TRIED_API_KEY before a run." in desk.done[0].said
    monkeypatch.setenv("SHOP_TOKEN", "hidden2")
    said = desk.scaffold(f"{host}/secret", token_env="SHOP_TOKEN")  # noqa: S106 - a name
    assert said["extract"]["rest"]["auth"] == {"bearer": {"token_env": "SHOP_TOKEN"}}
    with pytest.raises(SourceRefusedError, match="401"):
        desk.scaffold(f"{host}/secret")


def test_a_window_in_the_address(desk: Desk, host: str) -> None:
    said = desk.scaffold(f"{host}/window?from=2024-03-01&to=2024-03-02&kind=a")
    assert said["partitions"] == {"every": "day", "start": dt.date(2024, 3, 1)}
    assert said["extract"]["rest"]["params"] == {
        "from": "{begin:%Y-%m-%d}",
        "to": "{end:%Y-%m-%d}",
        "kind": "a",
    }


def test_csv_over_http(desk: Desk, host: str) -> None:
    said = desk.scaffold(f"{host}/csv")
    assert said["extract"]["rest"]["format"] == "csv"
    assert said["extract"]["rest"]["csv"] == {"delimiter": ";"}
    assert desk.counts == (40, 40, 0)


def test_a_feed(desk: Desk, host: str) -> None:
    said = desk.scaffold(f"{host}/feed?key=hidden")
    assert said["extract"]["feed"] == {
        "url": f"{host}/feed",
        "auth": {"api_key": {"key_env": "TRIED_KEY", "param": "key"}},
    }
    assert said["partitions"]["current"] is True
    assert said["contract"]["columns"]["published_at"] == "timestamp"
    assert desk.counts == (25, 25, 0)
    assert "hidden" not in desk.done[0].text


def test_a_web_page_is_no_sample(desk: Desk, host: str) -> None:
    with pytest.raises(SampleError, match="web page"):
        desk.scaffold(f"{host}/page")


TABLE = (
    'create table orders (id integer primary key, price decimal(8, 2), "at" timestamp, note text)'
)


def test_a_file_of_sqlite(desk: Desk) -> None:
    path = desk.put("shop.db", b"")
    with sqlite3.connect(path) as base:
        base.execute(TABLE)
        rows = [(n, n + 0.25, f"2024-03-01 10:{n:02}:00", None) for n in range(30)]
        base.executemany("insert into orders values (?, ?, ?, ?)", rows)
    base.close()
    with pytest.raises(SampleError, match="Give table: one of orders"):
        desk.scaffold(path)
    said = desk.scaffold(path, table="orders")
    assert said["extract"]["database"] == {
        "system": "sqlite",
        "url_env": "TRIED_DB",
        "table": "orders",
    }
    kinds = {
        name: one if isinstance(one, str) else one["type"]
        for name, one in said["contract"]["columns"].items()
    }
    assert kinds == {"id": "int64", "price": "decimal(8, 2)", "at": "timestamp", "note": "string"}
    assert desk.counts == (30, 30, 0)
    assert f"Set TRIED_DB to sqlite:///{path} before a run." in desk.done[-1].said


def test_a_file_of_duckdb(desk: Desk) -> None:
    path = desk.folder / "shop.duckdb"
    with duckdb.connect(path) as base:
        base.execute(
            f"{TABLE.replace(' primary key', '')}; insert into orders select "
            "n, n, timestamp '2024-03-01' + to_days(n::int), 'x' from range(30) t(n)"
        )
    with pytest.raises(SampleError, match="Give table: one of orders"):
        desk.scaffold(str(path))
    said = desk.scaffold(str(path), query="select * from orders where id < 10")
    assert said["extract"]["database"]["query"] == "select * from orders where id < 10"
    assert desk.counts == (10, 10, 0)
    assert "window: {column: at}" in desk.unwrapped


def test_a_table_of_postgres(desk: Desk, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(database) as base:
        base.execute("create schema shop")
        base.execute(TABLE.replace("orders", "shop.orders"))
        base.execute(
            "insert into shop.orders select n, n, '2024-03-01'::timestamp + n * '1 day'::interval, "
            "case when n % 2 = 0 then 'yes' else 'no' end from generate_series(1, 500) n"
        )
    monkeypatch.setenv("SHOP_DB", database)
    monkeypatch.setattr("dataflow_assets.builders.scaffolding.tables.MOST_ROWS", 200)
    said = desk.scaffold(database_url_env="SHOP_DB", table="shop.orders")
    assert said["extract"]["database"] == {
        "system": "postgres",
        "url_env": "SHOP_DB",
        "table": "shop.orders",
    }
    assert said["contract"]["key"] == ["id"]
    assert said["contract"]["columns"]["note"] == {"type": "boolean", "required": True}
    assert desk.counts == (201, 201, 0)
    assert database not in desk.done[-1].text
    with pytest.raises(SourceRefusedError, match="nothing_there"):
        desk.scaffold(database_url_env="SHOP_DB", table="nothing_there")


def test_dg_scaffolds_a_source(tmp_path: Path) -> None:
    """The real command, in a project of its own: refused first, then written, then loaded."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "dataflow_assets", project / "dataflow_assets")
    for name in ("dg.toml", "pyproject.toml"):
        shutil.copy(ROOT / name, project / name)
    shutil.rmtree(project / "dataflow_assets" / "defs")
    (project / "dataflow_assets" / "defs").mkdir()
    (project / "dataflow_assets" / "defs" / "__init__.py").touch()
    inbox = project / "data" / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "sales_2024-03-01.csv").write_bytes(ODD.encode("cp1252"))

    def dg(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / "dg"), *words],
            cwd=project,
            env={
                "PATH": f"{BIN}:/usr/bin:/bin",
                "HOME": str(tmp_path),
                "PYTHONPATH": str(project),
                "PYTHONWARNINGS": "ignore",
                "NO_COLOR": "1",
                "COLUMNS": "200",
            },
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    scaffold_it = ("scaffold", "defs", "dataflow_assets.Source")
    refused = dg(*scaffold_it, "sales", "--sample", "pyproject.toml")
    assert refused.returncode == 1
    assert "Error: [DA120]" in refused.stderr
    assert "Traceback" not in refused.stderr
    done = dg(*scaffold_it, "sales", "--sample", "data/inbox/sales_2024-03-01.csv")
    assert done.returncode == 0, done.stderr
    assert "32 rows received, 31 loaded, 1 quarantined (csv__ragged (1))." in done.stdout
    loaded = dg("list", "defs")
    assert loaded.returncode == 0, loaded.stderr
    assert "cleaned/sales" in loaded.stdout
