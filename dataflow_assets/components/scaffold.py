"""``dg scaffold defs dataflow_assets.Source NAME``: a declaration written from a sample.

What belongs here: the words of the command, and the file. What does not: what stands in it
(`builders.scaffolding`, which is imported when the command runs, not when declarations load).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import dagster as dg
from pydantic import BaseModel, ConfigDict, Field

from dataflow_assets.errors import DataflowError, SampleError
from dataflow_assets.settings import get_settings

if TYPE_CHECKING:
    from pathlib import Path

DECLARATION = "defs.yaml"


class SourceParameters(BaseModel):
    """What a source is scaffolded from; nothing: a declaration to fill in.

    Attributes:
        sample: A file (CSV, TSV, JSON, JSON Lines, Parquet, xlsx, xls, ods; compressed or not), an
            address on S3 (``s3://...``), the address of an API or a feed (``https://...``), or a
            file of SQLite or DuckDB.
        table: The table of a database.
        query: What to read of a database instead: one ``select``.
        database_url_env: The variable that holds the database's URL.
        token_env: The variable that holds the token which an API asks for.
    """

    model_config = ConfigDict(extra="forbid")

    sample: str | None = Field(default=None, min_length=1)
    table: str | None = Field(default=None, min_length=1)
    query: str | None = Field(default=None, min_length=1)
    database_url_env: str | None = Field(default=None, min_length=1)
    token_env: str | None = Field(default=None, min_length=1)


class SourceScaffolder(dg.Scaffolder[SourceParameters]):
    """Writes the declaration of a source from a sample."""

    @classmethod
    def get_scaffold_params(cls) -> type[SourceParameters]:
        """Return the words of the command."""
        return SourceParameters

    def scaffold(self, request: dg.ScaffoldRequest[SourceParameters]) -> None:
        """Write ``defs.yaml``, once the sample has gone through it.

        Raises:
            ClickException: No declaration can be made of the sample; the folder is left as it was.
        """
        folder = request.target_path
        try:
            if request.scaffold_format != "yaml" or request.append:
                raise SampleError(
                    "a source is declared in a defs.yaml of its own.",
                    mend="Leave out --format, and name a folder that is not there yet.",
                )
            said = write_source(folder, request.params)
        except DataflowError as error:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            raise click.ClickException(str(error)) from None
        for line in said:
            click.echo(line)


def write_source(folder: Path, params: SourceParameters) -> tuple[str, ...]:
    """Write the declaration of a source into a folder, which gives it its name.

    Args:
        folder: Where ``defs.yaml`` is to stand; made if it is not there.
        params: What the source is made of.

    Returns:
        What came of it, in sentences for people.

    Raises:
        SampleError: No declaration can be made of the sample, or one stands there already.
        DataflowError: The sample cannot be had.
    """
    from dataflow_assets.builders.scaffolding import scaffold  # noqa: PLC0415 - heavy
    from dataflow_assets.builders.scaffolding.wanted import Wanted  # noqa: PLC0415 - heavy

    settings = get_settings()
    path = folder / DECLARATION
    if path.exists():
        raise SampleError(
            f"there is a declaration already: {path}.",
            mend="Name another folder, or take that file away first.",
            culprit=str(path),
        )
    words: dict[str, Any] = params.model_dump()
    done = scaffold(folder.name, Wanted(**words), settings)
    _check_loads(done.text)
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("x", encoding="utf-8") as file:
        file.write(done.text)
    said = (f"Wrote {path}.", *done.said)
    elsewhere = settings.declarations_dir
    if elsewhere is None or path.resolve().is_relative_to(elsewhere.resolve()):
        return said
    return (
        *said,
        f"DECLARATIONS_DIR is {elsewhere}: move the folder there, else it is not loaded.",
    )


def _check_loads(text: str) -> None:
    """See that a code location loads with the declaration.

    Raises:
        DeclarationError: It does not: a bug of ours.
    """
    import tempfile  # noqa: PLC0415 - as below
    from pathlib import Path  # noqa: PLC0415 - as below

    from dataflow_assets.components.loading import load_declarations  # noqa: PLC0415 - it imports us

    with tempfile.TemporaryDirectory(prefix="scaffold-") as folder:
        path = Path(folder) / "defs" / "scaffolded" / DECLARATION
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
        load_declarations(path.parent.parent)
