"""What is checked of a partition as a whole: its rows, its figures, its age."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from dataflow_assets.declaration.base import ColumnName, Declared, Duration, ShortlyDeclared

Cron = Annotated[str, StringConstraints(pattern=r"^\S+( \S+){4}$")]
Measure = Literal["nulls", "distinct", "distribution"]
Alarm = Literal["warn", "block"]
SHORTEST_FRESHNESS = dt.timedelta(minutes=1)
"""Dagster's freshness policies know no shorter time."""


class RowsCheck(Declared):
    """How many rows a partition should hold once it is cleaned.

    Attributes:
        min: The fewest rows; fewer are not published.
        max: The most rows; more are not published.
        allow_empty: Whether a partition for which nothing is received may replace one that held
            rows.
    """

    min: int = Field(default=0, ge=0)
    max: int | None = Field(default=None, ge=0)
    allow_empty: bool = False


class QuarantinedCheck(Declared):
    """How many rows may break the contract.

    Attributes:
        warn_share: Share of the received rows above which the check warns.
        max_share: Share of the received rows above which the partition is not published.
    """

    warn_share: float = Field(default=0.05, ge=0, le=1)
    max_share: float = Field(default=1.0, ge=0, le=1)


def _alarm(value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
    if isinstance(value, bool):
        return "warn" if value else None
    if value not in ("warn", "block", None):
        raise ValueError(f"{value!r} is none of true, false, warn and block")
    return value


VolumeAlarm = Annotated[Alarm | None, BeforeValidator(_alarm)]
"""``true`` for ``warn``, ``false`` for no check."""


class Anomalies(Declared):
    """Which figures of a partition are compared with those of earlier ones.

    Attributes:
        columns: By column, what is compared: the share of rows without a value (``nulls``), how
            many different values there are (``distinct``), or how values are spread
            (``distribution``).
        severity: What an unusual figure does: ``warn``, or ``block`` the partition.
        since: The first day whose partitions are compared with, of `volume_anomaly` too: for a
            source that has changed for good.
    """

    columns: dict[ColumnName, tuple[Measure, ...]] = Field(default_factory=dict)
    severity: Alarm = "warn"
    since: dt.date | None = None

    @model_validator(mode="after")
    def _measures_are_given(self) -> Self:
        for name, measures in self.columns.items():
            if not measures:
                raise ValueError(f"{name} needs one of nulls, distinct and distribution")
            if len(set(measures)) != len(measures):
                raise ValueError(f"{name} lists a figure twice")
        return self


class Freshness(ShortlyDeclared):
    """How old the newest data may be.

    Attributes:
        within: The greatest age.
        by: When the last complete partition must be there, as a cron schedule in the partitions'
            zone.
        of: The column that says when something happened; without it, age is counted from the end
            of the newest partition.
        severity: Whether data that is too old is a warning or an error.
    """

    SHORT: ClassVar[str] = "within"

    within: Duration | None = None
    by: Cron | None = None
    of: ColumnName | None = None
    severity: Literal["warn", "error"] = "warn"

    @model_validator(mode="after")
    def _one_limit(self) -> Self:
        if (self.within is None) == (self.by is None):
            raise ValueError("give either within (an age) or by (a cron schedule)")
        if self.of is not None and self.within is None:
            raise ValueError("of needs within: how long ago its newest value may be")
        if self.within is not None and self.within < SHORTEST_FRESHNESS:
            raise ValueError("within must be at least 1m")
        return self


class Checks(Declared):
    """What is checked of a partition.

    Attributes:
        rows: How many rows there should be.
        quarantined: How many rows may break the contract.
        freshness: How old the newest data may be, such as ``26h``.
        volume_anomaly: Whether an unusual number of rows is told (``true`` or ``warn``), or keeps
            the partition from being published (``block``).
        anomalies: Which other figures are compared with those of earlier partitions.
    """

    rows: RowsCheck = RowsCheck()
    quarantined: QuarantinedCheck = QuarantinedCheck()
    freshness: Freshness | None = None
    volume_anomaly: VolumeAlarm = None
    anomalies: Anomalies = Anomalies()
