"""Every error that the project raises, with its code.

What belongs here: the classes, their codes, and whether a retry can help. What does not: deciding
what to do about an error; the builders do that once, where the failure becomes a run's outcome.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self


class DataflowError(Exception):
    """A failure that says where it happened, what is to blame and how to mend it.

    Attributes:
        code: Stable identifier of the kind of failure, such as ``DA201``.
        transient: Whether the same work may succeed when it is tried again.
        problem: One sentence that says what is wrong.
        mend: One sentence that says what to do about it.
        source: The source or entity concerned, if known.
        subject: Which of the two it is.
        partition: The partition key concerned, if known.
        culprit: The file, column, rule or table to look at, if known.
    """

    code: ClassVar[str] = "DA000"
    transient: ClassVar[bool] = False
    subject: str = "source"

    def __init__(
        self,
        problem: str,
        *,
        mend: str,
        source: str | None = None,
        entity: str | None = None,
        partition: str | None = None,
        culprit: str | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.mend = mend
        self.source: str | None = None
        self.partition: str | None = None
        self.culprit = culprit
        self.at(source=source, entity=entity, partition=partition)

    def at(
        self,
        *,
        source: str | None = None,
        entity: str | None = None,
        partition: str | None = None,
    ) -> Self:
        """Fill in where the failure happened, where that is not known yet, and return self."""
        if self.source is None and entity is not None:
            self.source, self.subject = entity, "entity"
        self.source = self.source or source
        self.partition = self.partition or partition
        return self

    def __str__(self) -> str:
        places = ((self.subject, self.source), ("partition", self.partition), ("at", self.culprit))
        where = ", ".join(f"{word} {value!r}" for word, value in places if value)
        return f"[{self.code}] {where + ': ' if where else ''}{self.problem} Mend: {self.mend}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {
            "mend": self.mend,
            "source": self.source,
            "partition": self.partition,
            "culprit": self.culprit,
        }
        return _rebuild, (type(self), self.problem, state), self.__dict__


def _rebuild(kind: type[DataflowError], problem: str, state: dict[str, Any]) -> DataflowError:
    """Make an error again in another process; keyword-only arguments do not survive pickling."""
    return kind(problem, **state)


class DeclarationError(DataflowError):
    """A declaration is wrong: it cannot be loaded.

    Attributes:
        place: The words that lead to the mistake in the YAML, below ``attributes``.
        location: File and line of the mistake, once known.
    """

    code = "DA101"
    place: tuple[str, ...] = ()
    location: str | None = None

    def within(self, *place: str) -> Self:
        """Say which words lead to the mistake, outermost first, and return self."""
        self.place = (*place, *self.place)
        return self

    def locate(self, location: str) -> Self:
        """Say in which file and line the mistake is, and return self."""
        self.location = location
        return self

    def __str__(self) -> str:
        return f"{self.location}: {super().__str__()}" if self.location else super().__str__()


class ExpressionError(DeclarationError):
    """An SQL expression of a declaration does not parse, or names what does not exist."""

    code = "DA102"


class PluginError(DeclarationError):
    """A plug-in that a declaration names cannot be imported, or is not what it should be."""

    code = "DA103"


class SettingsError(DataflowError):
    """The environment is configured wrongly."""

    code = "DA110"


class UnknownNameError(DataflowError):
    """A command names a source, partition or rule that there is not."""

    code = "DA111"


class GitError(DataflowError):
    """The declarations of a commit cannot be had from git."""

    code = "DA112"


class NothingReceivedError(DataflowError):
    """No file, or no row, arrived for a partition that must not be empty."""

    code = "DA201"


class UnreadableFileError(DataflowError):
    """A file cannot be read at all: truncated, encrypted, corrupt, or forbidden."""

    code = "DA202"


class HeaderError(DataflowError):
    """A file's header lacks what the contract requires, or cannot be found."""

    code = "DA203"


class FileChangedError(DataflowError):
    """A file changed, or vanished, while it was being read."""

    code = "DA204"
    transient = True


class SourceUnavailableError(DataflowError):
    """An outside host does not answer, or says that it cannot for now."""

    code = "DA205"
    transient = True


class SourceRefusedError(DataflowError):
    """An outside host refuses: wrong address, key or right."""

    code = "DA206"


class BreakerOpenError(SourceUnavailableError):
    """An outside host has failed so often that it is given peace; see its breaker."""

    code = "DA207"


class QuarantineLimitError(DataflowError):
    """More rows broke the contract than the declaration allows."""

    code = "DA301"


class BlockingRuleError(DataflowError):
    """Rows broke a rule of severity ``block``."""

    code = "DA302"


class ConservationError(DataflowError):
    """Rows were lost or invented between two layers: a bug of ours."""

    code = "DA303"


class RowCountError(DataflowError):
    """A partition holds fewer or more rows than the declaration allows."""

    code = "DA304"


class AnomalyError(DataflowError):
    """A figure of a partition is far from its history, and the declaration blocks that."""

    code = "DA305"


class ChangedTypeError(DataflowError):
    """A column has another type than before, and the contract freezes types."""

    code = "DA310"


class EntryError(DataflowError):
    """An entry of a quarantine is not there, or cannot be released."""

    code = "DA306"


class EntityKeyError(DataflowError):
    """Mapped rows have no value in a key column of the entity."""

    code = "DA401"


class MappingError(DataflowError):
    """A mapping expression failed on the data."""

    code = "DA402"


class HistoryOrderError(DataflowError):
    """A partition of a history is published without those after it that were applied before."""

    code = "DA403"


class PartitionBusyError(DataflowError):
    """Another run is publishing the same partition."""

    code = "DA501"
    transient = True


class WarehouseLockedError(DataflowError):
    """Another program keeps the warehouse locked."""

    code = "DA502"
    transient = True


class WarehouseSchemaError(DataflowError):
    """The warehouse's table cannot take the declared columns without losing data."""

    code = "DA503"


class PartitionMissingError(DataflowError):
    """A layer that this one reads has not been published for the partition."""

    code = "DA504"


class StorageError(DataflowError):
    """The lake or the warehouse cannot be written: full, read-only, or gone."""

    code = "DA505"
    transient = True


class UnpartitionedRunError(DataflowError):
    """A run was asked for without saying for which partitions."""

    code = "DA506"


class WarehouseUnreachableError(DataflowError):
    """The warehouse's server cannot be reached, or broke off."""

    code = "DA511"
    transient = True


class WarehouseRefusedError(DataflowError):
    """The warehouse's server refuses: wrong password, no such database, or a right is missing."""

    code = "DA512"


class WarehouseValueError(DataflowError):
    """A value has no exact form in the warehouse."""

    code = "DA513"


class S3RefusedError(DataflowError):
    """S3 refuses what was asked: a wrong key, no right, no such bucket."""

    code = "DA521"


class S3UnavailableError(DataflowError):
    """S3 does not answer, or with an error of its own, though asked several times."""

    code = "DA522"
    transient = True


class SampleError(DataflowError):
    """No declaration can be made of a sample."""

    code = "DA120"
