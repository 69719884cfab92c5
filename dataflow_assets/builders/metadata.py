"""What the Dagster UI shows of a partition: counts, sizes, a preview, columns and their lineage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg

from dataflow_assets.transform.models import model_of
from dataflow_assets.transform.types import declared_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import polars as pl

    from dataflow_assets.builders.patches import Patch
    from dataflow_assets.declaration.contract import Column, Contract
    from dataflow_assets.declaration.entity import EntityDeclaration
    from dataflow_assets.declaration.source import SourceDeclaration
    from dataflow_assets.io.lake import Manifest
    from dataflow_assets.io.ledger import Counts
    from dataflow_assets.transform.drift import Drift
    from dataflow_assets.transform.findings import Tally
    from dataflow_assets.transform.normalize import Mapping as ColumnMapping

PREVIEW_ROWS = 5
PREVIEW_WIDTH = 40
FILES_SHOWN = 20
DRIFT_SHOWN = 100
DRIFT_WIDTH = 120
SAMPLES_A_RULE = 3
SAMPLES_SHOWN = 30
QUARANTINE_SCHEMA = dg.TableSchema(
    columns=[
        dg.TableColumn("_partition", "string", "The partition key"),
        dg.TableColumn("_file", "string", "File, relative to the files folder"),
        dg.TableColumn("_version", "string", "First 16 digits of the file's SHA-256"),
        dg.TableColumn("_line", "int64", "Line of the file on which the row begins"),
        dg.TableColumn("state", "string", "open, or discarded by a person"),
        dg.TableColumn("rules", "list(string)", "Rules that keep the row out"),
        dg.TableColumn("reasons", "list(struct)", "Column, rule, severity, value of each breach"),
        dg.TableColumn("row", "string", "The row as received, as JSON or text"),
    ]
)
Metadata = dict[str, Any]
"""Metadata as Dagster takes it: plain values and ``MetadataValue``."""


def cleaned_schema(contract: Contract) -> dg.TableSchema:
    """Return the columns of a cleaned table, with what the contract asks of each."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=column.type,
                description=column.description or None,
                constraints=dg.TableColumnConstraints(
                    nullable=not contract.is_required(name),
                    unique=contract.key == (name,),
                    other=_constraints(column),
                ),
            )
            for name, column in contract.columns.items()
        ]
    )


def _constraints(column: Column) -> list[str]:
    words = (
        *("min", "max", "above", "below", "multiple_of", "min_length", "max_length"),
        *("pattern", "one_of", "formats"),
    )
    given = {word: getattr(column, word) for word in words}
    return [f"{word}: {value}" for word, value in given.items() if value not in (None, ())]


def model_metadata(contract: Contract) -> Metadata:
    """Return which Pydantic model a contract names, and whether it must see each row."""
    model = model_of(contract)
    if model is None:
        return {}
    return {"model": contract.model, **({"model_note": model.note} if model.note else {})}


def raw_schema(source: SourceDeclaration) -> dg.TableSchema:
    """Return the columns that a raw table is expected to have: text, or as its files have them."""
    kind = "as received" if source.extract.typed else "string"
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=column.source_name or name, type=kind)
            for name, column in source.contract.columns.items()
        ]
    )


def received_schema(rows: pl.DataFrame) -> dg.TableSchema:
    """Return the columns that a raw table has, with the types in which they were received."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(name=name, type=declared_name(dtype))
            for name, dtype in rows.schema.items()
        ]
    )


def cleaned_lineage(source: SourceDeclaration) -> dg.TableColumnLineage:
    """Return from which raw column each cleaned column comes."""
    raw = dg.AssetKey(["raw", source.name])
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(asset_key=raw, column_name=received)
                for received in source.contract.names_of(name)
            ]
            for name in source.contract.columns
        }
    )


def entity_columns(entity: EntityDeclaration) -> dg.TableSchema:
    """Return the columns of a normalized table."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                name=name,
                type=column.type,
                description=column.description or None,
                constraints=dg.TableColumnConstraints(
                    nullable=name not in entity.key, unique=entity.key == (name,)
                ),
            )
            for name, column in entity.columns.items()
        ]
    )


def entity_lineage(mappings: Mapping[str, ColumnMapping]) -> dg.TableColumnLineage:
    """Return from which cleaned columns, of all sources, each normalized column comes."""
    deps: dict[str, list[dg.TableColumnDep]] = {}
    for source, mapping in mappings.items():
        cleaned = dg.AssetKey(["cleaned", source])
        for column, roots in mapping.lineage.items():
            deps.setdefault(column, []).extend(
                dg.TableColumnDep(asset_key=cleaned, column_name=root) for root in roots
            )
    return dg.TableColumnLineage(deps)


def count_metadata(counts: Counts) -> Metadata:
    """Return the counts of one partition, those that are known."""
    words = ("received", "loaded", "quarantined", "duplicate", "filtered")
    known = {word: getattr(counts, word) for word in words}
    return {word: value for word, value in known.items() if value is not None}


def partition_metadata(manifest: Manifest, uri: str, size: int, rows: int) -> Metadata:
    """Return what is shown of a partition in the lake."""
    return {
        "dagster/partition_row_count": rows,
        "dagster/uri": uri,
        "size_bytes": size,
        "seconds": round(manifest.duration_s, 3),
        "declaration": manifest.declaration,
    }


def quarantine_metadata(tally: Tally, closed: Mapping[str, int]) -> Metadata:
    """Return what is shown of a quarantine: counts by rule, samples, states.

    Args:
        tally: The findings of the partition.
        closed: How many entries closed with this publish, by how.
    """
    ranked = tally.ranked
    counts = [(rule, f"{broken.rows:,}") for rule, broken in ranked]
    samples = [
        (rule, one.file, one.line, one.column, one.value)
        for rule, broken in ranked
        for one in broken.samples[:SAMPLES_A_RULE]
    ][:SAMPLES_SHOWN]
    shown: Metadata = {
        "rules": {rule: broken.rows for rule, broken in ranked},
        "open": tally.quarantined,
    }
    if ranked:
        shown["by_rule"] = dg.MetadataValue.md(markdown_table(("rule", "rows"), counts))
        heads = ("rule", "file", "line", "column", "value as received")
        shown["samples"] = dg.MetadataValue.md(markdown_table(heads, samples))
    if closed:
        shown["closed"] = dict(closed)
    decided = {"discarded": tally.discarded, "released": tally.released}
    return shown | {word: rows for word, rows in decided.items() if rows}


def files_metadata(manifest: Manifest) -> Metadata:
    """Return which files a raw partition was made of, the first of them as a table."""
    lines = ["| file | version | bytes | rows | rejected |", "|---|---|---|---|---|"]
    lines += [
        f"| {file.name} | {file.version} | {file.size:,} | {file.rows:,} | {file.rejected:,} |"
        for file in manifest.files[:FILES_SHOWN]
    ]
    if len(manifest.files) > FILES_SHOWN:
        lines.append(f"| and {len(manifest.files) - FILES_SHOWN:,} more | | | | |")
    return {
        "files": len(manifest.files),
        "file_list": dg.MetadataValue.md("\n".join(lines)),
        "fingerprint": manifest.fingerprint,
    }


def drift_table(drift: Sequence[Drift]) -> str:
    """Return how columns differ as a Markdown table."""
    columns = ("what", "column", "was", "is", "since", "file", "files", "rows")
    rows: list[tuple[object, ...]] = [
        (one.kind, one.column, one.old, one.new, one.since, one.file, one.files, one.rows)
        for one in drift[:DRIFT_SHOWN]
    ]
    if len(drift) > DRIFT_SHOWN:
        rows.append((f"and {len(drift) - DRIFT_SHOWN:,} more", *[None] * (len(columns) - 1)))
    return markdown_table(columns, rows, width=DRIFT_WIDTH)


def patch_metadata(patch: Patch) -> Metadata:
    """Return a proposed patch of a declaration, and what it leaves to a person."""
    shown: Metadata = {}
    if patch.text:
        shown["patch"] = dg.MetadataValue.text(patch.text)
        shown["apply_in"] = dg.MetadataValue.path(str(patch.folder))
    if patch.left_out:
        shown["not_in_patch"] = dg.MetadataValue.md("\n".join(f"- {o}" for o in patch.left_out))
    return shown


def preview(frame: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """Return rows as a Markdown table."""
    return dg.MetadataValue.md(markdown_table(frame.columns, frame.rows()))


def markdown_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], *, width: int = PREVIEW_WIDTH
) -> str:
    """Return rows as a Markdown table, values cut that are longer than a width."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(value, width) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object, width: int) -> str:
    text = "" if value is None else str(value)
    text = text if len(text) <= width else text[: width - 1] + "…"
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", "⏎").replace("\r", "")
