"""Pydantic models that the tests name as contracts."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from annotated_types import Predicate
from pydantic import (
    UUID4,
    AfterValidator,
    AliasChoices,
    AliasPath,
    AnyUrl,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    NaiveDatetime,
    PastDate,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)


class Kind(enum.Enum):
    CARGO = "cargo"
    TANKER = "tanker"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 3


class Plain(BaseModel):
    """All of it has a form as columns."""

    whole: int = Field(ge=-5, lt=1000)
    even: Annotated[int, Field(multiple_of=2)] | None = None
    count: PositiveInt | None
    ratio: float = Field(gt=-1.5, le=99.5)
    price: Decimal = Field(max_digits=7, decimal_places=2, ge=0)
    flag: bool
    day: dt.date
    moment: dt.datetime | None = None
    aware: AwareDatetime | None = None
    naive: NaiveDatetime | None = None
    clock: dt.time | None = None
    code: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}\d", max_length=6)] = Field(
        validation_alias="The Code"
    )
    note: Annotated[str, Field(min_length=2)] | None = None
    kind: Kind
    level: Level = Level.LOW
    shade: Literal["dark", "light"] | None = "dark"
    ident: uuid.UUID | None = None
    fresh: UUID4 | None = None


class Careful(BaseModel):
    """Validators of its own: Pydantic must see each row."""

    number: int = Field(ge=0)
    price: float
    name: Annotated[str, AfterValidator(str.title)]
    tenth: float | None = Field(default=None, multiple_of=0.1)
    odd: Annotated[int, Predicate(lambda value: value % 2 == 1)] = 1
    site: AnyUrl | None = None

    @field_validator("price", mode="before")
    @classmethod
    def _without_currency(cls, value: Any) -> Any:  # noqa: ANN401 - whatever stands there
        return value.removeprefix("$") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _price_covers(self) -> Self:
        if self.price < self.number:
            raise ValueError("price is below number")
        return self


class Whole(BaseModel):
    """A validator that sees the row as it was received."""

    a: int
    b: int

    @model_validator(mode="before")
    @classmethod
    def _halves(cls, data: dict[str, Any]) -> dict[str, Any]:
        first, _, second = data["a"].partition("/")
        return {"a": first, "b": second or data.get("b")}


class Faulty(BaseModel):
    """A validator with a mistake in it, and one that gives another type than declared."""

    a: int
    b: int = 0

    @field_validator("a")
    @classmethod
    def _mistaken(cls, value: int) -> Any:  # noqa: ANN401 - that is the mistake
        if value == 13:
            raise KeyError("thirteen")
        return "none" if value == 14 else value


class Sparse(BaseModel):
    """Nested JSON, and nothing beside what is named."""

    model_config = ConfigDict(extra="forbid")

    city: str = Field(validation_alias=AliasPath("address", "city"))
    total: Decimal


class Clock(BaseModel):
    born: PastDate


class Listed(BaseModel):
    tags: list[str]


class Chosen(BaseModel):
    name: str = Field(validation_alias=AliasChoices("name", "title"))


class Drawn(BaseModel):
    ident: str = Field(default_factory=str)


class Loose(BaseModel):
    both: int | str


NOT_A_MODEL = 5


class Forgetful(BaseModel):
    """Validators that return what no row may have."""

    number: int
    name: str
    note: str | None = None

    @field_validator("number")
    @classmethod
    def without_return(cls, value: int) -> int | None:
        return value if value < 5 else None

    @field_validator("name")
    @classmethod
    def unstorable(cls, value: str) -> str:
        return {"nul": "a\0b", "half": "\ud800"}.get(value, value)

    @field_validator("note")
    @classmethod
    def may_be_none(cls, value: str | None) -> str | None:
        return value if value != "-" else None

    @model_validator(mode="after")
    def whole_without_return(self) -> Self:
        if self.name != "lost":
            return self
        return None  # type: ignore[return-value]  # what a forgotten return gives


class LocalTime(BaseModel):
    """A local time that Pydantic sees."""

    at: NaiveDatetime

    @field_validator("at")
    @classmethod
    def as_it_is(cls, value: dt.datetime) -> dt.datetime:
        return value
