"""A declaration written from a sample.

What belongs here: the order of the work: take the sample, guess, write, try, take back what fails.
What does not: the command (`components.scaffold`).
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dataflow_assets.builders.scaffolding.contract import draft_contract, draft_feed, relaxed
from dataflow_assets.builders.scaffolding.files import take_file
from dataflow_assets.builders.scaffolding.sample import (
    MOST_BYTES,
    MOST_ROWS,
    read_flattened,
)
from dataflow_assets.builders.scaffolding.tables import take_table
from dataflow_assets.builders.scaffolding.trial import read_declaration, try_out
from dataflow_assets.builders.scaffolding.wanted import Wanted
from dataflow_assets.builders.scaffolding.web import take_answer
from dataflow_assets.builders.scaffolding.writing import declaration, minimal
from dataflow_assets.errors import SampleError
from dataflow_assets.s3 import Address
from dataflow_assets.settings import SCHEME

if TYPE_CHECKING:
    from dataflow_assets.builders.scaffolding.contract import ContractDraft
    from dataflow_assets.builders.scaffolding.sample import Sample
    from dataflow_assets.builders.scaffolding.trial import Trial
    from dataflow_assets.settings import Settings

WEB = ("http://", "https://")
SAMPLED = f"at most {MOST_ROWS:,} rows and {MOST_BYTES >> 20} MB are looked at"


@dataclass(frozen=True)
class Scaffolded:
    """A declaration that was written.

    Attributes:
        text: The YAML.
        said: What came of its trial, in sentences for people.
        trial: What became of the sample; none without one.
        typed: How many columns are of another type than text.
        columns: How many there are.
    """

    text: str
    said: tuple[str, ...]
    trial: Trial | None = None
    typed: int = 0
    columns: int = 0


def scaffold(name: str, wanted: Wanted, settings: Settings) -> Scaffolded:
    """Write a declaration from a sample, and let the sample go through it.

    Args:
        name: Of the source: what is no such name is made one.
        wanted: What it is to be made of.
        settings: Where files are.

    Raises:
        SampleError: No declaration can be made of the sample.
        DataflowError: The sample cannot be had.
    """
    name = source_name(name)
    if wanted == Wanted():
        read_declaration(text := minimal(name))
        return Scaffolded(text, ("No sample: the declaration is to be filled in.",))
    with tempfile.TemporaryDirectory(prefix="scaffold-") as folder:
        sample = _take(name, wanted, settings, Path(folder))
        return _written(name, sample, Path(folder))


def source_name(name: str) -> str:
    """Return a name that a source may have.

    Raises:
        SampleError: None can be made of it.
    """
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", plain):
        raise SampleError(
            f"{name!r} is no name of a source.",
            mend="Use up to 63 letters, digits and underscores, a letter first.",
            culprit=name,
        )
    return plain


def _take(name: str, wanted: Wanted, settings: Settings, work: Path) -> Sample:
    on_s3 = settings.files.startswith(SCHEME)
    root = Address.parse(settings.files) if on_s3 else Path(settings.files)
    sample = wanted.sample
    if sample is None or wanted.table is not None or wanted.query is not None:
        return take_table(name, wanted, root, work)
    if sample.startswith(WEB):
        return take_answer(sample, name, wanted.token_env, work)
    if "://" in sample and not sample.startswith(SCHEME):
        raise SampleError(  # it may hold a password: it is not shown
            f"the sample is an address of {sample.partition('://')[0]}.",
            mend="Samples are files, s3://... and http(s)://...; put a database's URL into a "
            "variable, and give its name as database_url_env, with a table.",
        )
    return take_file(sample, root, work)


def _written(name: str, sample: Sample, work: Path) -> Scaffolded:
    rows = read_flattened(sample)
    if not rows.rows.height and not rows.good.width:
        raise SampleError(
            f"{sample.place} holds no records.",
            mend="Give a sample with some.",
            culprit=sample.place,
        )
    contract = (
        draft_feed(rows.good)
        if "feed" in sample.extract
        else draft_contract(rows.good, by_position=bool(sample.names))
    )
    trial = _try(name, sample, contract, work)
    while trial.broken and (less := relaxed(contract, trial.broken)) != contract:
        contract = less
        trial = _try(name, sample, contract, work)
    head = _head(sample, trial)
    text = declaration(name, head, sample, contract)
    read_declaration(text)
    return Scaffolded(
        text,
        (trial.said + ".", *_advice(sample, contract)),
        trial,
        contract.typed,
        len(contract.columns),
    )


def _try(name: str, sample: Sample, contract: ContractDraft, work: Path) -> Trial:
    return try_out(read_declaration(declaration(name, (), sample, contract)), sample, work)


def _head(sample: Sample, trial: Trial) -> list[str]:
    bound = f"a part of it: {SAMPLED}" if trial.more or sample.cut else "all of it"
    bound = "a part of it" if sample.cautions else bound
    return [
        f"Written by `dg scaffold` from {sample.place} ({bound}).",
        "Each guess says what it saw. What a sample does not show, nobody can guess: look at it.",
        f"Tried on the sample: {trial.said}.",
        *sample.cautions,
    ]


def _advice(sample: Sample, contract: ContractDraft) -> list[str]:
    said = [f"{contract.typed} of {len(contract.columns)} columns are of another type than text."]
    key = ", ".join(contract.key)
    said.append(f"Key: {key}." if key else f"No key: {contract.key_remark}.")
    said += [f"Set {one} before a run." for one in sample.prepared]
    return [*said, *sample.cautions]
