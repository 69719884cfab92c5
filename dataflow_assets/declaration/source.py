"""A source: one outside feed or system, declared in one YAML document."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from dataflow_assets.declaration.base import Declared, Duration, Name
from dataflow_assets.declaration.checks import Checks, Cron
from dataflow_assets.declaration.contract import Contract
from dataflow_assets.declaration.extract import PLACEHOLDER, Extract, Rest
from dataflow_assets.declaration.partitions import Partitions

if TYPE_CHECKING:
    from dataflow_assets.declaration.database import DatabaseWindow

Owner = Annotated[str, StringConstraints(pattern=r"^(team:\S+|\S+@\S+)$")]


class Sensor(Declared):
    """A sensor for new, changed and late files.

    Attributes:
        settle: How long a file must have been left alone before it is read.
        every: How long to wait between two looks.
    """

    settle: Duration = dt.timedelta(seconds=30)
    every: Duration = dt.timedelta(seconds=30)


class Automation(Declared):
    """What starts runs by itself.

    Attributes:
        sensor: Looks for new, changed and late files.
        cron: Materializes a partition at these times, in the partitions' zone: the last complete
            window, of a source that says what is now the one that is still open, of a fixed list
            all.
        last: How many of the last complete partitions it materializes: those before the last are
            received again, so that what came late is found.
    """

    sensor: Sensor | None = None
    cron: Cron | None = None
    last: int = Field(default=1, ge=1, le=366)


class SourceDeclaration(Declared):
    """One outside feed or system.

    Attributes:
        name: Part of the asset keys and paths.
        description: What it is; shown in the Dagster UI.
        owners: ``team:name`` or e-mail addresses.
        tags: Labels shown in the Dagster UI.
        partitions: How it is cut into partitions.
        extract: Where its data comes from.
        contract: The columns and rules that it promises.
        checks: What is checked before a partition is published.
        automation: What starts runs by itself.
    """

    name: Name
    description: str = ""
    owners: tuple[Owner, ...] = ()
    tags: dict[str, str] = Field(default_factory=dict)
    partitions: Partitions
    extract: Extract
    contract: Contract
    checks: Checks = Checks()
    automation: Automation = Automation()

    @model_validator(mode="after")
    def _place_fits_partitions(self) -> Self:
        if self.extract.files is not None:
            self._check_path(self.extract.files.path)
        elif self.extract.rest is not None:
            self._check_request(self.extract.rest)
        elif self.extract.feed is not None:
            self._check_several_values("{partition}" in self.extract.feed.url, "url")
        elif self.extract.database is not None:
            self._check_window(self.extract.database.window)
        return self

    def _check_path(self, path: str) -> None:
        found = {match[1] or match[3] for match in PLACEHOLDER.finditer(path)}
        if self.partitions.every is not None and found != {"date"}:
            raise ValueError(
                f"partitions every {self.partitions.every} need a {{date:...}} in the path, "
                "which says to which window a file belongs"
            )
        if self.partitions.values is not None and "date" in found:
            raise ValueError("a {date:...} in the path needs partitions: {every: ..., start: ...}")
        self._check_several_values("partition" in found, "path")

    def _check_several_values(self, named: bool, word: str) -> None:  # noqa: FBT001 - what was found
        values = self.partitions.values
        if values is None and named and word != "path":
            raise ValueError(f"a {{partition}} in the {word} needs partitions: {{values: [...]}}")
        if values is not None and len(values) > 1 and not named:
            raise ValueError(
                f"several partition values need a {{partition}} in the {word}, "
                "which says to which of them it belongs"
            )

    @model_validator(mode="after")
    def _now_has_a_partition(self) -> Self:
        if self.extract.tells_of_now and self.partitions.every and not self.partitions.current:
            raise ValueError(
                f"a {self.extract.kind} says what is now: add current: true to partitions, "
                "so that the window that is still open has one"
            )
        if self.extract.tells_of_now and self.automation.last > 1:
            raise ValueError(
                f"last counts windows that are over, which no {self.extract.kind} fills"
            )
        return self

    def _check_request(self, rest: Rest) -> None:
        found = rest.placeholders
        values = self.partitions.values
        if self.partitions.every is not None and not found:
            raise ValueError(
                f"partitions every {self.partitions.every} need {{begin:...}} and {{end:...}}, or "
                "{partition}, in url, params or body: else each would receive the same"
            )
        if values is not None and found - {"partition"}:
            raise ValueError("{begin:...} and {end:...} need partitions: {every: ..., start: ...}")
        if values is not None and len(values) > 1 and "partition" not in found:
            raise ValueError(
                "several partition values need {partition} in url, params or body: "
                "else each would receive the same"
            )
        offset = rest.pages.offset if rest.pages else None
        if offset is not None and offset.overlap and not self.contract.key:
            raise ValueError("overlap reads rows again: the contract needs a key to tell them")

    def _check_window(self, window: DatabaseWindow | None) -> None:
        values = self.partitions.values
        if values is not None and window is not None:
            raise ValueError("a window needs partitions: {every: ..., start: ...}")
        if values is not None and len(values) > 1:
            raise ValueError(
                "several partition values would each hold all rows of the database: "
                "declare a source for each, with a query of its own"
            )
        if window is not None and window.overlap and not self.contract.key:
            raise ValueError("overlap reads rows again: the contract needs a key to tell them")

    @model_validator(mode="after")
    def _sensor_has_files(self) -> Self:
        if self.automation.sensor is not None and self.extract.files is None:
            raise ValueError(
                f"a sensor looks for files, and a {self.extract.kind} has none: use cron"
            )
        return self

    @model_validator(mode="after")
    def _checks_fit(self) -> Self:
        if self.contract.model is None:
            self.check_columns()
        if self.checks.anomalies.since is not None and self.partitions.every is None:
            raise ValueError("since needs partitions: {every: ..., start: ...}")
        return self

    def check_columns(self) -> None:
        """Refuse checks of columns that are not there; those of a model must be filled in before.

        Raises:
            ValueError: Naming the word and the columns that there are.
        """
        columns, freshness = self.contract.columns, self.checks.freshness
        named = dict.fromkeys(self.checks.anomalies.columns, "anomalies")
        if freshness is not None and freshness.of is not None:
            named[freshness.of] = "freshness"
        for name, word in named.items():
            if name not in columns:
                known = ", ".join(columns)
                raise ValueError(f"{word} names {name!r}, which is no column; columns are {known}")
        if freshness is not None and freshness.of is not None:
            kind = columns[freshness.of].type
            if kind not in ("timestamp", "date"):
                raise ValueError(f"of needs a timestamp or a date; {freshness.of} is {kind}")

    @model_validator(mode="after")
    def _headerless_has_columns(self) -> Self:
        columns = self.contract.columns.values()
        named = any(column.source_name or column.aliases for column in columns)
        if self.extract.is_headerless and named:
            raise ValueError(
                "without a header, columns are taken in order: drop source_name and aliases"
            )
        return self
