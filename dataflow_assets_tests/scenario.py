"""One awkward source, and a world to run it in.

What belongs here: the sample source with its oddities, and the helper that holds files, settings,
stores and Dagster instance of one test together. What does not: any expectation of one test.
"""

from __future__ import annotations

import copy
import gzip
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
import yaml

from dataflow_assets.builders.dry import beside
from dataflow_assets.builders.rereading import read_again, why_unknown
from dataflow_assets.builders.resources import StoresResource, build_resources
from dataflow_assets.components.loading import load_declarations
from dataflow_assets.declaration.source import SourceDeclaration
from dataflow_assets.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import polars as pl

    from dataflow_assets.builders.stores import Stores
    from dataflow_assets.io.lake import Layer

GAP_DAY = "2024-03-31"  # clocks in Berlin jump from 02:00 to 03:00: an hour does not exist
DAY = "2024-04-01"
NEXT_DAY = "2024-04-02"
LAST_DAY = "2024-04-30"

HARBOUR: dict[str, Any] = {
    "name": "harbour",
    "description": "Ships that entered the harbour, as its clerks type them.",
    "owners": ["team:harbour"],
    "tags": {"region": "north"},
    # The zone lacks an hour in March; the end keeps the number of partitions the same for ever.
    "partitions": {
        "every": "day",
        "start": "2024-03-29",
        "end": "2024-05-01",
        "timezone": "Europe/Berlin",
    },
    # No suffix in the path: plain and compressed files stand side by side.
    "extract": {"files": {"path": "harbour/{date:%Y-%m-%d}*", "csv": {"delimiter": ";"}}},
    "contract": {
        "key": ["ship", "arrived_at"],
        "keep": {"latest_by": "order"},
        "where": "kind <> 'test'",
        "null_tokens": ["", "n/a"],
        "columns": {
            "ship": {"source_name": "Ship", "max_length": 20, "description": "Name on the bow"},
            "arrived_at": {
                "type": "timestamp",
                "source_name": "Arrived at",  # a blank in the name
                "formats": ["%d.%m.%Y %H:%M"],
                "timezone": "Europe/Berlin",
            },
            "draught": {"type": "float64", "source_name": "Draught", "min": 0, "max": 25},
            "kind": {"required": True, "source_name": "Kind"},
            "order": "int64",  # a reserved word of SQL
        },
        "rules": {
            "loaded_ships_are_deep": {"sql": "kind <> 'tanker' or draught > 5", "severity": "warn"}
        },
    },
    "automation": {"sensor": {"settle": "30s"}},
}
ARRIVALS: dict[str, Any] = {
    "name": "arrivals",
    "description": "Every arrival once.",
    "owners": ["team:harbour"],
    "key": ["arrival_id"],
    "columns": {
        "arrival_id": {"type": "string", "description": "Ship and minute"},
        "arrived_at": "timestamp",
        "draught": "float64",
        "rank": "int64",
    },
    "from": {
        "harbour": {
            "arrival_id": "lower(ship) || '/' || cast(arrived_at as varchar)",
            "arrived_at": "arrived_at",
            "draught": "draught",
            "rank": '"order"',
        }
    },
}

HEADER = "Ship;Arrived at;Draught;Kind;order"
AWKWARD_LINES = [
    "\ufeffShip; Arrived at ;Draught;Kind;order;Remark",  # byte order mark, blanks, a column more
    "Anna;31.03.2024 01:30;4.5;cargo;1;",  # loses to the correction below
    "Berta;31.03.2024 02:30;4.5;cargo;1;",  # the hour that does not exist: quarantined
    '"Cap; Horn";31.03.2024 03:30;4.5;cargo;1;"calls it ""the Cape"""',  # delimiter, quotes
    '"Dora\r\nof Husum";31.03.2024 03:31;4.5;cargo;1;',  # a line end inside quotes
    "Emmy \U0001f6a2;31.03.2024 03:32;n/a;cargo;1;",  # four bytes in UTF-8; no value
    "Anna;31.03.2024 01:30;4.6;cargo;2;late",  # the same key, a later order
    ";31.03.2024 03:33;4.5;cargo;1;",  # the key lacks a value: quarantined
    "Frida;31.03.2024 03:34;deep;cargo;1;",  # no number: quarantined
    "Gesa;31.03.2024 03:35;99.9;cargo;1;",  # deeper than the harbour: quarantined
    "Hilde;31.03.2024 03:36;3.0;tanker;1;",  # odd, but only warned about
    "Probe;31.03.2024 03:37;3.0;test;1;",  # filtered by `where`
    "Ship; Arrived at ;Draught;Kind;order;Remark",  # two exports in one file: filtered
    "Ida;31.03.2024 03:38;3.0",  # fields are missing: quarantined
    "",  # a blank line is no row
    "Jo\0hn;31.03.2024 03:39;3.0;cargo;1;",  # no warehouse can hold a NUL byte: quarantined
    "",
]
AWKWARD_MORE_LINES = [
    "order;Kind;Arrived at;Ship",  # another order of columns, and no draught
    "3;cargo;31.03.2024 04:00;Karla",  # the last line has no end
]
AWKWARD_COUNTS = {
    "received": 15,
    "loaded": 6,
    "quarantined": 6,
    "duplicate": 1,
    "filtered": 2,
}
AWKWARD_RULES = {
    "arrived_at__type": 1,
    "ship__required": 1,
    "draught__type": 1,
    "draught__range": 1,
    "csv__ragged": 1,
    "ship__nul_byte": 1,
}


def drop_awkward(world: World) -> None:
    """Put the awkward files of `GAP_DAY` into the inbox."""
    world.drop(f"{GAP_DAY}.csv", "\r\n".join(AWKWARD_LINES))  # as Windows ends lines
    more = "\n".join(AWKWARD_MORE_LINES).encode()
    world.drop(f"{GAP_DAY}-a.csv.gz", gzip.compress(more, mtime=0))  # sorts before the first
    world.drop(f"{GAP_DAY}-empty.csv", "")  # not even a header
    world.drop(f"{GAP_DAY}-head.csv", HEADER)  # a header only, without an end of line


def ships(day: str, *names: str, kind: str = "cargo", draught: str = "4.5", order: int = 1) -> str:
    """Return a plain file of one day with a row for each ship, one minute after another."""
    return f"{HEADER}\n{ship_rows(day, *names, kind=kind, draught=draught, order=order)}"


def ship_rows(
    day: str, *names: str, kind: str = "cargo", draught: str = "4.5", order: int = 1
) -> str:
    """Return the rows alone."""
    date = ".".join(reversed(day.split("-")))
    return "".join(
        f"{name};{date} {10 + minute // 60}:{minute % 60:02};{draught};{kind};{order}\n"
        for minute, name in enumerate(names)
    )


def changed(declaration: Mapping[str, Any], **changes: object) -> dict[str, Any]:
    """Return a declaration with other values: ``contract__key=[...]`` changes ``contract: key``."""
    result = copy.deepcopy(dict(declaration))
    for path, value in changes.items():
        *above, word = path.split("__")
        place = result
        for step in above:
            place = place.setdefault(step, {})
        place[word] = value
    return result


def documents(*declarations: Mapping[str, Any]) -> str:
    """Return declarations as the documents of one YAML file; one with `from` is an entity."""
    kinds = ["Entity" if "from" in one else "Source" for one in declarations]
    return yaml.safe_dump_all(
        [
            {"type": f"dataflow_assets.{kind}", "attributes": dict(one)}
            for kind, one in zip(kinds, declarations, strict=True)
        ],
        sort_keys=False,
        allow_unicode=True,
    )


@dataclass
class World:
    """Files, settings, stores and Dagster instance of one test.

    Attributes:
        root: Folder that holds everything.
        instance: A real Dagster instance on SQLite.
        lock_timeout_s: Seconds to wait for another run.
    """

    root: Path
    instance: dg.DagsterInstance
    lock_timeout_s: float = 30
    _definitions: list[dg.Definitions] = field(default_factory=list)

    @property
    def settings(self) -> Settings:
        return Settings(
            data_dir=self.root / "data",
            declarations_dir=self.root / "defs",
            lock_timeout_s=self.lock_timeout_s,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a child process finds this world."""
        return {
            **os.environ,
            "DATA_DIR": str(self.root / "data"),
            "DECLARATIONS_DIR": str(self.root / "defs"),
            "DAGSTER_HOME": str(self.root / "home"),
            "LOCK_TIMEOUT_S": str(self.lock_timeout_s),
        }

    @property
    def resource(self) -> StoresResource:
        return build_resources(self.settings)["stores"]

    @property
    def stores(self) -> Stores:
        return self.resource.open("test")

    @property
    def definitions(self) -> dg.Definitions:
        """What the declarations give, loaded anew after each change."""
        if not self._definitions:
            declared = load_declarations(self.root / "defs")
            resources = dg.Definitions(
                resources=build_resources(self.settings), executor=dg.in_process_executor
            )
            self._definitions.append(dg.Definitions.merge(declared, resources))
        return self._definitions[0]

    def forget_definitions(self) -> None:
        """Load them anew, as the environment says now."""
        self._definitions.clear()

    def declare(self, *declarations: Mapping[str, Any]) -> None:
        """Replace all declarations."""
        path = self.root / "defs" / "declared" / "defs.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(documents(*declarations), encoding="utf-8")
        self._definitions.clear()

    def drop(self, name: str, content: str | bytes, *, age_s: float = 3600) -> Path:
        """Put a file into the inbox, last written some seconds ago."""
        path = self.root / "data" / "inbox" / "harbour" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        moment = time.time() - age_s
        os.utime(path, (moment, moment))
        return path

    def materialize(
        self,
        first: str,
        last: str | None = None,
        *,
        select: str = "*",
        tags: Mapping[str, str] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Materialize a range of partitions in one run, in this process."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        window = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last or first,
        }
        keys = dg.AssetSelection.from_string(select).resolve(self.definitions.resolve_asset_graph())
        asset_keys = [key for key in keys if key.path[0] != "files"]
        return job.execute_in_process(
            instance=self.instance,
            asset_selection=asset_keys,
            raise_on_error=False,
            tags={**(tags or {}), **(window if last else {})},
            partition_key=None if last else first,
        )

    def rows(self, layer: Layer, partition: str, source: str = "harbour") -> pl.DataFrame:
        """Return what is published of a partition in the lake."""
        return self.stores.lake.scan(layer, source, partition, self.root).collect()

    def reread(self, declaration: Mapping[str, Any], partition: str) -> pl.DataFrame:
        """Return the raw rows that a declaration makes of a partition's archived bytes."""
        source, stores = SourceDeclaration.model_validate(declaration), self.stores
        raw = stores.lake.manifest("raw", source.name, partition)
        assert raw is not None
        assert not why_unknown(source, raw)
        with (
            beside(stores) as (aside, folder),
            read_again(source, aside, partition, raw, folder / "again") as under,
        ):
            return under.lake.scan("raw", source.name, partition, folder).collect()

    def query(self, sql: str) -> pl.DataFrame:
        """Return what the warehouse holds."""
        return self.stores.warehouse.read(sql)

    def check_history(self, asset: str, check: str) -> list[bool]:
        """Return whether a check passed, newest evaluation first; plans are left out."""
        key = dg.AssetCheckKey(dg.AssetKey(asset.split("/")), check)
        records = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=100)
        evaluations = [record.evaluation for record in records]
        return [one.passed for one in evaluations if isinstance(one, dg.AssetCheckEvaluation)]


DAGSTER_YAML = """
run_storage:
  module: dagster._core.storage.runs
  class: SqliteRunStorage
  config: {base_dir: HOME/runs}
event_log_storage:
  module: dataflow_assets.observe.event_log
  class: PooledSqliteEventLogStorage
  config: {base_dir: HOME/events}
schedule_storage:
  module: dagster._core.storage.schedules
  class: SqliteScheduleStorage
  config: {base_dir: HOME/schedules}
run_coordinator: {module: dagster._core.run_coordinator, class: QueuedRunCoordinator}
telemetry: {enabled: false}
nux: {enabled: false}
"""


def make_template(root: Path) -> Path:
    """Make the storages of a Dagster instance for worlds to copy; that takes seconds."""
    (root / "home").mkdir()
    with _instance_at(root / "home") as instance:
        instance.get_runs(limit=1)
    return root


def open_world(root: Path, template: Path) -> Iterator[World]:
    """Make a world in an empty folder, with the harbour declared, and close it in the end.

    Args:
        root: The folder.
        template: Where another world lived; its files and storages are copied.
    """
    shutil.copytree(template, root, dirs_exist_ok=True)
    (root / "data" / "inbox" / "harbour").mkdir(parents=True, exist_ok=True)
    with _instance_at(root / "home") as instance:
        world = World(root, instance)
        world.declare(HARBOUR, ARRIVALS)
        yield world


@contextmanager
def reopen_world(root: Path, lock_timeout_s: float = 30) -> Iterator[World]:
    """Open a world in another process than the one that made it."""
    with dg.DagsterInstance.from_config(str(root / "home")) as instance:
        yield World(root, instance, lock_timeout_s)


def _instance_at(home: Path) -> dg.DagsterInstance:
    (home / "dagster.yaml").write_text(DAGSTER_YAML.replace("HOME", str(home)), encoding="utf-8")
    return dg.DagsterInstance.from_config(str(home))
