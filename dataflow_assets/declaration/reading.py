"""What a column may say about reading its text: marks, zones, clean-up steps, defaults.

What belongs here: the words, and which of them go together. What does not: reading anything; that
is `transform`.

Words that are not said are left out of digests, so that what was published stays as it is.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from dataflow_assets.declaration.base import ColumnName, ShortlyDeclared

WHOLE_TYPES = ("int", "uint")
NUMBER_TYPES = (*WHOLE_TYPES, "float", "decimal")
AS_MODEL = "as the model says"
"""The type of a column whose YAML says none, beside a model that may."""
APPLIES_TO: dict[str, tuple[str, ...]] = {
    "timezone_from": ("timestamp",),
    "ambiguous": ("timestamp",),
    "skipped": ("timestamp",),
    "decimal_mark": NUMBER_TYPES,
    "thousands_mark": NUMBER_TYPES,
    "grouping": NUMBER_TYPES,
    "negatives": NUMBER_TYPES,
    "currency": NUMBER_TYPES,
    "units": NUMBER_TYPES,
}
"""The types, by how their names begin, to which a word applies; other words apply to all."""

NUMBER_WORDS = ("decimal_mark", "thousands_mark", "grouping", "negatives", "currency", "units")
STEPS = ("trim", "collapse", "lower", "upper", "title", "strip_html", "nfc", "nfkc")
"""Clean-up steps that need no words of their own."""

SIGNS = "+-()"
SPACES = " \t\u00a0\u2007\u2009\u202f"
"""White space that may stand within a number: spaces, tabs, those that do not break, thin ones."""
MOST_DIGITS = 18
"""Most digits of a unit's factor, before and after the point: so its product is exact."""
SCALARS = (bool, int, float, Decimal, dt.date, dt.time, str)


def _several(value: Any) -> Any:  # noqa: ANN401 - Pydantic hands over what the YAML says
    """Let one text stand for a list of one."""
    return (value,) if isinstance(value, str) else value


def _check_text(value: Any) -> Any:  # noqa: ANN401 - as above
    """Refuse what YAML has read as something else than text: how it was written is lost."""
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is no text to YAML: write what stands in the file, in quotes")


def _check_mark(mark: str) -> str:
    if len(mark) != 1 or mark.isalnum() or mark in SIGNS:
        raise ValueError(f"{mark!r} is no mark: it is one character, no letter, digit or sign")
    return mark


def _check_symbol(symbol: str) -> str:
    first, last = symbol[:1], symbol[-1:]
    if first.isdigit() or any(end.isspace() or end in SIGNS for end in (first, last) if end):
        raise ValueError(
            f"{symbol!r} cannot stand beside a number: it must not begin with a digit, and neither "
            f"begin nor end with white space, a sign or a bracket"
        )
    return symbol


def _check_factor(factor: Decimal) -> Decimal:
    fits = factor.is_finite() and factor != 0
    if fits and abs(factor.adjusted()) < MOST_DIGITS:
        _, digits, exponent = factor.normalize().as_tuple()
        if len(digits) <= MOST_DIGITS and abs(int(exponent)) <= MOST_DIGITS:
            return factor
    raise ValueError(f"{factor} is no factor: a number but 0, of at most {MOST_DIGITS} digits")


def _check_scalar(value: Any) -> Any:  # noqa: ANN401 - as above
    if value is None or isinstance(value, SCALARS):
        return value
    raise ValueError("a default is one value: a text, number, truth value, date or time")


Text = Annotated[str, BeforeValidator(_check_text)]
Mark = Annotated[Text, AfterValidator(_check_mark)]
Symbol = Annotated[Text, AfterValidator(_check_symbol)]
Factor = Annotated[Decimal, AfterValidator(_check_factor)]
Side = Literal["earlier", "later"]
Others = Literal["quarantine", "keep", "none"]


class Step(ShortlyDeclared):
    """One step that cleans up the text of a column.

    Attributes:
        step: A step without words of its own, such as ``lower``; it may stand alone.
        replace: Pieces of text and what stands in their place, all at once.
        replace_pattern: A regular expression and what stands in the place of each match; ``$1`` or
            ``${name}`` is what a group has matched.
        map: Whole texts and what stands in their place; null: no value.
        others: What becomes of texts that `map` does not name: ``quarantine`` the row, ``keep``
            them, or ``none``, no value.
        split: The text between parts.
        part: Which part to take: from 1, or from -1 backwards; no value where there is none.
    """

    SHORT: ClassVar[str] = "step"

    step: str | None = None
    replace: dict[Text, Text] | None = Field(default=None, min_length=1)
    replace_pattern: dict[Text, Text] | None = Field(default=None, min_length=1, max_length=1)
    map: dict[Text, Text | None] | None = Field(default=None, min_length=1)
    others: Others | None = None
    split: Text | None = Field(default=None, min_length=1)
    part: int | None = None

    @field_validator("step")
    @classmethod
    def _step_exists(cls, step: str | None) -> str | None:
        if step is not None and step not in STEPS:
            raise ValueError(
                f"{step!r} is no step; there are {', '.join(STEPS)}, and with words of their own "
                f"replace, replace_pattern, map, split"
            )
        return step

    @model_validator(mode="after")
    def _is_one_step(self) -> Self:
        kinds = ("step", "replace", "replace_pattern", "map", "split")
        said = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(said) != 1:
            raise ValueError(
                f"a step is exactly one of {', '.join(STEPS)}, replace, replace_pattern, map, "
                f"split; begin another with a dash of its own"
            )
        if self.others is not None and self.map is None:
            raise ValueError("others belongs to map")
        if (self.part is None) == (self.split is not None):
            raise ValueError("split and part belong together, such as {split: '/', part: 2}")
        if self.part == 0:
            raise ValueError("parts count from 1, or from -1 backwards")
        if "" in (self.replace or ()):
            raise ValueError("replace has nothing to look for: '' stands everywhere")
        return self

    @property
    def refuses(self) -> bool:
        """Whether there are texts that this step quarantines."""
        return self.map is not None and self.others in (None, "quarantine")


def _is_unsaid(value: object) -> bool:
    return value is None or value == ()


class Reading(ShortlyDeclared):
    """What a column may say about reading its text, beside its type and formats.

    Attributes:
        type: The column's type.
        timezone_from: The column that names the zone of timestamps that are written without one.
        ambiguous: Which of the two moments is meant where the clock shows a local time twice.
        skipped: Which moment is meant where the clock skips a local time: the time by the clock
            as it went before (later), or as it went after (earlier).
        decimal_mark: Between whole and fraction; else a point.
        thousands_mark: Between groups of digits; a space stands for all that look like one, an
            apostrophe also for the typographic one.
        grouping: Groups of three digits, or the Indian ones.
        negatives: How negative numbers may be written besides with a minus before them.
        currency: Symbols or codes, one of which may stand before or after the number.
        units: Units, one of which must stand after the number, and by what it is multiplied; ``''``
            is for a number alone.
        ignore_case: Whether null tokens, words for booleans, texts of `map`, currencies and units
            are the same in upper and lower case.
        clean: Steps that change the text before it is read, in their order.
        default: The value of a row that has none.
    """

    type: str = "string"
    timezone_from: ColumnName | None = Field(default=None, exclude_if=_is_unsaid)
    ambiguous: Side | None = Field(default=None, exclude_if=_is_unsaid)
    skipped: Side | None = Field(default=None, exclude_if=_is_unsaid)
    decimal_mark: Mark | None = Field(default=None, exclude_if=_is_unsaid)
    thousands_mark: Mark | None = Field(default=None, exclude_if=_is_unsaid)
    grouping: Literal["thousands", "indian"] | None = Field(default=None, exclude_if=_is_unsaid)
    negatives: Annotated[
        tuple[Literal["parentheses", "trailing_minus"], ...], BeforeValidator(_several)
    ] = Field(default=(), exclude_if=_is_unsaid)
    currency: Annotated[tuple[Symbol, ...], BeforeValidator(_several)] = Field(
        default=(), exclude_if=_is_unsaid
    )
    units: dict[Symbol, Factor] | None = Field(default=None, min_length=1, exclude_if=_is_unsaid)
    ignore_case: bool = Field(default=False, exclude_if=lambda said: not said)
    clean: tuple[Step, ...] = Field(default=(), exclude_if=_is_unsaid)
    default: Annotated[Any, BeforeValidator(_check_scalar)] = Field(
        default=None, exclude_if=lambda said: said is None
    )

    @model_validator(mode="before")
    @classmethod
    def _percent_is_a_unit(cls, value: Any) -> Any:  # noqa: ANN401 - as above
        """Refuse the word that everybody tries first, with what to write in its place."""
        if isinstance(value, dict) and "percent" in value:
            raise ValueError('percent is a unit: write units: {"%": 0.01}')
        return value

    @model_validator(mode="after")
    def _words_apply_to_the_type(self) -> Self:
        for word, types in APPLIES_TO.items() if self.type != AS_MODEL else ():
            if not _is_unsaid(getattr(self, word)) and not self.type.startswith(types):
                allowed = ", ".join(_spelled(kind) for kind in types)
                raise ValueError(f"{word} does not apply to {self.type}, only to {allowed}")
        if self.decimal_mark and self.is_whole and not self.units:
            raise ValueError(
                f"decimal_mark does not apply to {self.type}, only to float and decimal; "
                f"to whole numbers beside units"
            )
        return self

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        point = self.decimal_mark or "."
        if point in SPACES:
            raise ValueError("decimal_mark cannot be white space")
        if self.thousands_mark == point and (self.units or not self.is_whole):
            raise ValueError(
                f"thousands_mark {point!r} is the decimal mark too; set decimal_mark to another"
            )
        if "" in self.currency:
            raise ValueError("currency lists '': numbers without one are read anyway")
        if self.grouping is not None and self.thousands_mark is None:
            raise ValueError("grouping says where thousands_mark stands: set that too")
        for symbol in self.symbols:
            if symbol[0] in {point, self.thousands_mark}:
                raise ValueError(f"{symbol!r} begins with a mark of numbers")
        return self

    @model_validator(mode="after")
    def _symbols_differ(self) -> Self:
        for symbol in self.currency:
            if symbol[-1].isdigit():
                raise ValueError(f"the currency {symbol!r} ends with a digit")
        self._refuse_doubles("currency and units name", self.symbols)
        for number, step in enumerate(self.clean):
            self._refuse_doubles(f"clean {number} maps", tuple(step.map or ()))
        return self

    @model_validator(mode="after")
    def _zone_is_said_once(self) -> Self:
        if self.timezone_from is not None and "timezone" in self.model_fields_set:
            raise ValueError("give timezone or timezone_from, not both")
        zone = self.timezone_from or getattr(self, "timezone", "UTC")
        for word in ("ambiguous", "skipped"):
            if getattr(self, word) is not None and zone == "UTC":
                raise ValueError(f"{word} needs a timezone: the clock of UTC shows every time once")
        return self

    def _refuse_doubles(self, what: str, texts: tuple[str, ...]) -> None:
        known: set[str] = set()
        for text in texts:
            same = text.lower() if self.ignore_case else text
            if same in known:
                raise ValueError(f"{what} {text!r} twice")
            known.add(same)

    @property
    def is_whole(self) -> bool:
        """Whether the type is one of whole numbers."""
        return self.type.startswith(WHOLE_TYPES)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The currencies and units that may stand beside a number."""
        return (*self.currency, *filter(None, self.units or ()))

    @property
    def has_number_words(self) -> bool:
        """Whether it says how numbers are written."""
        return any(not _is_unsaid(getattr(self, word)) for word in NUMBER_WORDS)

    @property
    def refuses_texts(self) -> bool:
        """Whether a clean-up step may quarantine a row, also where all texts are values."""
        return any(step.refuses for step in self.clean)

    def bare(self) -> Self:
        """Return the column for values and texts that no file holds: no marks, steps, default."""
        unsaid = {word: type(self).model_fields[word].default for word in NUMBER_WORDS}
        return self.model_copy(update={**unsaid, "clean": (), "default": None})

    def in_zone(self, zone: str) -> Self:
        """Return the column for timestamps of one zone."""
        return self.model_copy(update={"timezone": zone, "timezone_from": None})


def _spelled(kind: str) -> str:
    return {"int": "whole numbers", "uint": "unsigned ones"}.get(kind, kind)
