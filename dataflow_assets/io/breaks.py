"""Which rows of a partition break a rule across its rows.

What belongs here: finding them in bounded memory, whatever the partition's size. What does not:
which rows are good and what such a rule compares; that is `transform`.

Most partitions break no such rule. So the columns that it names are read first, by themselves; only
where they break it are the rows judged, and those that are good looked at once more. Small
partitions are looked at in memory, others batch by batch, or by DuckDB, which spills to the work
folder. Gaps, which concern no row's fate, are sought among the cleaned rows once these are written.
"""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from dataflow_assets.io.duplicates import find_losers, flags_of, short_of_room, spilling
from dataflow_assets.io.warehouse import quoted
from dataflow_assets.transform.across import (
    BEFORE,
    BEST,
    best_so_far,
    gap_above,
    is_beyond,
    rises,
    step_of,
)
from dataflow_assets.transform.findings import SAMPLES, Broken, Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from dataflow_assets.declaration.contract import Contract
    from dataflow_assets.declaration.rules import Monotonic, NoGaps
    from dataflow_assets.transform.clean import CleaningPlan

SMALL = 200_000
"""Rows up to which they are looked at in memory."""
ROWS_AT_ONCE = 1 << 20


def find_breaks(
    raw: pl.LazyFrame,
    plan: CleaningPlan,
    losers: np.ndarray | None,
    rows: int,
    work_dir: Path,
    memory_limit_mb: int,
) -> dict[str, np.ndarray]:
    """Find the rows that break rules across rows, among those that break no other rule.

    Args:
        raw: The raw partition with `_row`, the number of each row from 0.
        plan: How its rows are judged.
        losers: By row number, whether another row of its key wins; none: no row loses.
        rows: How many rows the raw partition has.
        work_dir: Folder on the local disk for temporary files, which are removed.
        memory_limit_mb: Bound for the memory of each comparison, in MB.

    Returns:
        By rule, and by row number, whether the row breaks it; a rule that no row breaks is not
        there.

    Raises:
        MappingError: An SQL condition of the contract failed on the data.
        StorageError: There is not enough memory or disk.
    """
    found: dict[str, np.ndarray] = {}
    for name, rule in plan.contract.rules.items():
        flags: np.ndarray | None = None
        if rule.unique is not None:
            sharing = plan.sharing(rule.unique, losers)
            flags = find_losers(raw, sharing, rows, work_dir, memory_limit_mb)
        elif rule.monotonic is not None and rows > 1:
            one = rule.monotonic
            columns = (one.column, *one.per)
            with _room(work_dir, f"The rule {name}") as folder:
                asked = (one, rows, folder, memory_limit_mb)
                if _out_of_order(plan.values(raw, columns), *asked) is not None:
                    flags = _out_of_order(plan.good_values(raw, columns, losers), *asked)
        if flags is not None:
            found[name] = flags
    return found


def find_gaps(
    cleaned: Path, contract: Contract, rows: int, work_dir: Path, memory_limit_mb: int
) -> dict[str, Broken]:
    """Find gaps among the cleaned rows of a partition.

    Args:
        cleaned: The rows, as a Parquet file.
        contract: Its rules say where there may be no gap.
        rows: How many rows there are.
        work_dir: As in `find_breaks`.
        memory_limit_mb: As in `find_breaks`.

    Returns:
        By rule, how many rows come after a gap, and the first of them with the gap's ends; a rule
        without a gap is not there.
    """
    found = {}
    for name, rule in contract.rules.items():
        if rule.no_gaps is None or rows <= 1:
            continue
        with _room(work_dir, f"The rule {name}") as folder:
            if rows <= SMALL:
                after = _gaps_in_memory(cleaned, rule.no_gaps, contract)
            else:
                after = _gaps_on_disk(cleaned, rule.no_gaps, contract, folder, memory_limit_mb)
        if not after.is_empty():
            found[name] = _broken(name, rule.no_gaps, after)
    return found


@contextmanager
def _room(work_dir: Path, what: str) -> Iterator[Path]:
    """Give a folder for temporary files, and say what is wrong if DuckDB lacks memory or disk."""
    with (
        short_of_room(work_dir, f"{what} cannot be looked after"),
        tempfile.TemporaryDirectory(dir=work_dir, prefix="breaks-") as folder,
    ):
        yield Path(folder)


def _out_of_order(
    values: pl.LazyFrame, one: Monotonic, rows: int, folder: Path, memory_limit_mb: int
) -> np.ndarray | None:
    """Flag the rows that go the wrong way.

    Args:
        values: `_row` and the columns of the rule, in the order received.
        one: The rule.
        rows: How many rows the raw partition has.
        folder: For temporary files.
        memory_limit_mb: Bound for DuckDB's memory.
    """
    number = pl.col(one.column).to_physical()
    there = values.filter(pl.col(one.column).is_not_null()).select("_row", number, *one.per)
    if rows <= SMALL:
        return _out_of_order_in_memory(there, one, rows)
    if not one.per:
        return flags_of(_out_of_order_by_batch(there, one), rows)
    return _out_of_order_on_disk(
        values.filter(pl.col(one.column).is_not_null()), one, rows, folder, memory_limit_mb
    )


def _out_of_order_in_memory(there: pl.LazyFrame, one: Monotonic, rows: int) -> np.ndarray | None:
    value = pl.col(one.column)
    best = best_so_far(one, value).shift(1)
    held = there.collect(engine="streaming").sort("_row")
    beyond = is_beyond(one, value, best.over(*one.per) if one.per else best)
    return flags_of([held.filter(beyond)["_row"].to_numpy()], rows)


def _out_of_order_by_batch(there: pl.LazyFrame, one: Monotonic) -> Iterator[np.ndarray]:
    """Yield the numbers of rows that go the wrong way, holding one batch and the best so far."""
    value, best = pl.col(one.column), None
    batches = there.collect_batches(
        chunk_size=ROWS_AT_ONCE, maintain_order=True, engine="streaming"
    )
    for batch in batches:
        before = pl.Series([best], dtype=batch.schema[one.column])
        all_values = before.append(batch[one.column])
        so_far = all_values.cum_max() if rises(one) else all_values.cum_min()
        marked = batch.with_columns(so_far.head(batch.height).alias(BEST))
        yield marked.filter(is_beyond(one, value, pl.col(BEST)))["_row"].to_numpy()
        best = so_far.item(-1)


def _out_of_order_on_disk(
    there: pl.LazyFrame, one: Monotonic, rows: int, folder: Path, memory_limit_mb: int
) -> np.ndarray | None:
    path = folder / "values.parquet"
    there.sink_parquet(path, compression="lz4", engine="streaming")
    value, extreme = quoted(one.column), "max" if rises(one) else "min"
    beyond = {
        "increasing": "<=",
        "not_decreasing": "<",
        "decreasing": ">=",
        "not_increasing": ">",
    }[one.order]
    with spilling(folder, memory_limit_mb) as connection:
        reader = connection.execute(
            f"SELECT _row FROM (SELECT _row, {value}, {extreme}({value}) OVER "
            f"(PARTITION BY {', '.join(map(quoted, one.per))} ORDER BY _row "
            f"ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS {BEST} "
            f"FROM read_parquet(?)) WHERE {value} {beyond} {BEST}",
            [str(path)],
        ).to_arrow_reader(ROWS_AT_ONCE)
        return flags_of((batch.column(0).to_numpy() for batch in reader), rows)


def _gaps_in_memory(cleaned: Path, gaps: NoGaps, contract: Contract) -> pl.DataFrame:
    """Return `file`, `line`, the value after each gap and the one before it, in their order."""
    value = pl.col(gaps.column)
    before = value.shift(1)
    columns = dict.fromkeys(("_file", "_line", gaps.column, *gaps.per))
    return (
        pl.scan_parquet(cleaned, glob=False)
        .select(*columns)
        .filter(value.is_not_null())
        .collect()
        .sort(*gaps.per, gaps.column, maintain_order=True)
        .with_columns((before.over(*gaps.per) if gaps.per else before).alias(BEFORE))
        .filter(gap_above(gaps, contract))
    )


def _gaps_on_disk(
    cleaned: Path, gaps: NoGaps, contract: Contract, folder: Path, memory_limit_mb: int
) -> pl.DataFrame:
    """As `_gaps_in_memory`, but of the first rows only, with `_gaps`, how many there are."""
    value = quoted(gaps.column)
    per = f"PARTITION BY {', '.join(map(quoted, gaps.per))}" if gaps.per else ""
    order = ", ".join([*map(quoted, gaps.per), value])
    with spilling(folder, memory_limit_mb) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(
            f"SELECT *, count(*) OVER () AS _gaps FROM (SELECT _file, _line, {order}, "
            f"lag({value}) OVER ({per} ORDER BY {value}) AS {BEFORE} "
            f"FROM read_parquet(?) WHERE {value} IS NOT NULL) "
            f"WHERE {BEFORE} IS NOT NULL AND {_apart(gaps, contract)} "
            f"ORDER BY {order} LIMIT {SAMPLES}",
            [str(cleaned)],
        ).pl()


def _apart(gaps: NoGaps, contract: Contract) -> str:
    """Return the condition that a value lies further above its neighbour than a step."""
    kind, step, value = contract.columns[gaps.column].type, step_of(gaps, contract), gaps.column
    if isinstance(step, dt.timedelta):
        moments = (f"epoch_us({name}::TIMESTAMPTZ)" for name in (quoted(value), BEFORE))
        return f"{' - '.join(moments)} > {step // dt.timedelta(microseconds=1)}"
    wider = "::HUGEINT" if kind.startswith(("int", "uint")) else ""
    return f"{quoted(value)}{wider} - {BEFORE}{wider} > {step}"


def _broken(rule: str, gaps: NoGaps, after: pl.DataFrame) -> Broken:
    rows = after["_gaps"].item(0) if "_gaps" in after.columns else after.height
    samples = tuple(
        Finding(
            file=row["_file"],
            line=row["_line"],
            column=None,
            rule=rule,
            value=json.dumps(
                {
                    **{name: str(row[name]) for name in gaps.per},
                    "from": str(row[BEFORE]),
                    "to": str(row[gaps.column]),
                },
                ensure_ascii=False,
            ),
        )
        for row in after.head(SAMPLES).iter_rows(named=True)
    )
    return Broken(rows, samples)
