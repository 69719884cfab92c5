"""Where a run reads and writes, and who it is: what each step of a pipeline is given."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel

from dataflow_assets.extract.extractor import Surroundings

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from dataflow_assets.io.lake import Lake
    from dataflow_assets.io.warehouse import Warehouse
    from dataflow_assets.s3 import Address

DIGEST_LENGTH = 16


@dataclass(frozen=True)
class Stores:
    """The places that a run reads and writes.

    Attributes:
        files: Folder, or place on S3, below which sources' relative paths lie.
        lake: Parquet and archived bytes.
        warehouse: Normalized tables and the ledger.
        memory_limit_mb: Bound for each memory-hungry step.
        run_id: Which run it is; kept beside everything that is published.
    """

    files: Path | Address
    lake: Lake
    warehouse: Warehouse
    memory_limit_mb: int
    run_id: str

    @property
    def surroundings(self) -> Surroundings:
        """What extractors find around them."""
        return Surroundings(self.files, self.lake.local / ".scratch", self.lake.shared(".hosts"))


class Workplace:
    """What a step holds from its first partition to its last: a work folder in the lake.

    Args:
        name: Whose step it is.
        stores: Where it reads and writes.
    """

    def __init__(self, name: str, stores: Stores) -> None:
        self._stores = stores
        self._work: Path
        self._folder = stores.lake.work_dir(name)

    def __enter__(self) -> Self:
        self._work = self._folder.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.__exit__(kind, error, trace)


def digest(*parts: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return 16 hex digits that change when, and only when, one of the parts does."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def digest_of(*declared: BaseModel) -> str:
    """Return a digest of what declarations say, leaving out what only people read."""
    return digest(*(_meaning(model, model.model_dump(mode="json")) for model in declared))


def _meaning(declared: Any, written: Any) -> Any:  # noqa: ANN401 - nested models, and their JSON
    """Leave out descriptions, but not what a map calls so, such as a column of that name."""
    if isinstance(declared, BaseModel):
        words = {word: item for word, item in written.items() if word != "description"}
        return {word: _meaning(getattr(declared, word), item) for word, item in words.items()}
    if isinstance(declared, dict):
        return {key: _meaning(declared[key], item) for key, item in written.items()}
    if isinstance(declared, list | tuple):
        return [_meaning(*both) for both in zip(declared, written, strict=True)]
    return written
