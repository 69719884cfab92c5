"""Pydantic models as contracts: which columns a model promises, and what only Pydantic can judge.

What belongs here: reading a model's fields into columns, and joining them with what the YAML says.
What does not: validating rows with Pydantic (`model_rows`), and importing (`plugins`).

A model is read from its core schema, which is what Pydantic itself validates by: constraints of
`Field`, of `Annotated`, of constrained types and of the model's configuration stand there alike.
What has a form as a column becomes one. Validators of one's own, and types that only Pydantic
knows, are left to Pydantic, row by row; what is neither is refused.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

import polars as pl
from pydantic import BaseModel, ValidationError

from dataflow_assets.declaration.contract import DECIMAL, MOST_DIGITS, Column, Contract
from dataflow_assets.declaration.reading import AS_MODEL, Reading
from dataflow_assets.errors import DeclarationError
from dataflow_assets.plugins import load_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

ALLOWED = (
    "int, float, bool, str, Decimal with max_digits and decimal_places, date, datetime, time, "
    "UUID, Literal and Enum of texts or of whole numbers, URLs and e-mail addresses, each also as "
    "Optional"
)
BOUNDS = {"ge": "min", "le": "max", "gt": "above", "lt": "below"}
BY_TEXT = frozenset(
    [
        "source_name",
        "description",
        "null_tokens",
        "trim",
        "clean",
        "ignore_case",
        "severity",
        "limit",
    ]
)
"""Words of a column that say how its text is cleaned up, and what becomes of its row."""
BY_TYPE = frozenset({*Reading.model_fields, "formats", "timezone"} - {"type", "default", *BY_TEXT})
"""Words that say how a text is read as a value: of these, and of the former, the YAML's win."""
AWARE_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.fZ",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
)
NAIVE_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
)
UNFORMATTED = {"ref", "metadata", "serialization", "type", "strict", "microseconds_precision"}
"""Keys of a core schema that say nothing of which values there are."""
ANCHORED = re.compile(r"\^[^|\\]*\$")
"""Patterns that say of themselves that the whole text matches; plain ones alone are told."""
CLOCK = "reads the clock, so that the same data would not give the same rows"
NOTHING = object()


@dataclass
class ModelField:
    """A field of a model, as a column.

    Attributes:
        words: What its column promises.
        default: The value of a row without one; `NOTHING` if there is none.
        optional: Whether null is a value of it.
        by_pydantic: Whether only Pydantic can judge it.
        from_text: Whether Pydantic reads it from text, instead of a value of the column's type.
        lowered: Whether its letters are made small ones.
        naive: Whether its moments have no zone.
        given: The type that the YAML gives it.
    """

    words: dict[str, Any] = field(default_factory=dict)
    default: Any = NOTHING
    optional: bool = False
    by_pydantic: bool = False
    from_text: bool = False
    lowered: bool = False
    naive: bool = False
    given: str | None = None

    @property
    def takes_null(self) -> bool:
        """Whether Pydantic is given null where a row has no value; else the field is left out."""
        return self.optional and self.default is NOTHING


@dataclass(frozen=True)
class ModelContract:
    """What a Pydantic model asks of a row.

    Attributes:
        cls: The model.
        fields: Its fields, by name.
        whole: Whether it has validators of whole rows.
        forbids: Whether it refuses what it does not name.
    """

    cls: type[BaseModel]
    fields: Mapping[str, ModelField]
    whole: bool
    forbids: bool

    @property
    def validates(self) -> bool:
        """Whether Pydantic must see every row, as columns cannot say all that is asked."""
        return self.whole or any(one.by_pydantic for one in self.fields.values())

    @property
    def judged(self) -> tuple[str, ...]:
        """The fields that only Pydantic can judge."""
        return tuple(name for name, one in self.fields.items() if one.by_pydantic)

    @property
    def texts(self) -> frozenset[str]:
        """The fields that Pydantic reads from text."""
        return frozenset(name for name, one in self.fields.items() if one.from_text)

    @property
    def note(self) -> str:
        """What is said of rows that Pydantic must see one by one; empty if it need not."""
        if not self.validates:
            return ""
        parts = [*self.judged, *(["the row as a whole"] if self.whole else [])]
        return (
            f"Pydantic validates each row: of {', '.join(parts)}, {self.cls.__name__} asks for "
            "what columns cannot say. That takes several times as long."
        )

    @property
    def written(self) -> tuple[str, ...]:
        """The columns whose values Pydantic gives."""
        return tuple(self.fields) if self.whole else self.judged


def model_of(contract: Contract) -> ModelContract | None:
    """Return the model of a contract, imported; none if it has none.

    Raises:
        DeclarationError: The model asks for what no column can be.
        PluginError: It cannot be imported, or is no model.
    """
    if contract.model is None:
        return None
    given = {name: column.type for name, column in contract.columns.items() if _says_type(column)}
    return _read(contract.model, tuple(given.items()))


def model_stamps(contract: Contract) -> list[str]:
    """Return what changes when the code of a contract's model does."""
    if contract.model is None:
        return []
    found = model_of(contract)
    parents = found.cls.__mro__ if found else ()
    own = [one for one in parents if issubclass(one, BaseModel) and one is not BaseModel]
    return [contract.model, *(_source_of(one) for one in own)]


def _source_of(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return cls.__qualname__  # made by code that is nowhere written


def _says_type(column: Column) -> bool:
    return column.type != AS_MODEL


@cache
def _read(path: str, types: tuple[tuple[str, str], ...]) -> ModelContract:
    return _ModelReader(load_class(path, BaseModel), dict(types)).read()


def with_model(contract: Contract) -> Contract:
    """Return a contract with the columns of its model filled in; without a model, as it is.

    Raises:
        DeclarationError: The model asks for what no column can be, or the YAML contradicts it.
        PluginError: It cannot be imported, or is no model.
    """
    try:
        model = model_of(contract)
    except DeclarationError as error:
        error.within("contract", "model")
        raise
    if model is None:
        return contract
    columns = {
        name: _joined(name, one, contract.columns.get(name)) for name, one in model.fields.items()
    }
    more = {
        name: _joined(name, ModelField(), one)
        for name, one in contract.columns.items()
        if name not in columns
    }
    words = {name: getattr(contract, name) for name in contract.model_fields_set}
    if model.forbids:
        words.setdefault("unknown_columns", "freeze")
    _check_severities(model, columns)
    filled = Contract(**{**words, "columns": columns | more})
    try:
        filled.check_names()
    except ValueError as error:
        raise DeclarationError(
            f"{error}.",
            mend=f"Columns are the fields of {contract.model}, and those under columns.",
            culprit=contract.model,
        ).within("contract") from None
    return filled


def _joined(name: str, field_: ModelField, given: Column | None) -> Column:
    """Return a column of a model with what the YAML says of it.

    Raises:
        DeclarationError: The YAML contradicts the model.
    """
    said = {} if given is None else {word: getattr(given, word) for word in given.model_fields_set}
    if said.get("type") == AS_MODEL:
        del said["type"]
    promised = field_.words
    if field_.from_text:
        _refuse_reading(name, given, said)
    for word, value in said.items():
        if (
            word in promised
            and word not in BY_TEXT | BY_TYPE
            and not _goes_with(word, promised[word], value)
        ):
            raise DeclarationError(
                f"the model says {word}: {promised[word]} of {name}, and the YAML {word}: {value}.",
                mend="Say it in one place.",
                culprit=name,
            ).within("contract", "columns", name, word)
    try:
        return Column(**{**promised, **said})
    except ValidationError as error:
        raise DeclarationError(
            f"{error.errors()[0]['msg'].removeprefix('Value error, ').rstrip('.')}.",
            mend="Correct the model's field, or what the YAML adds to it.",
            culprit=name,
        ).within("contract", "columns", name) from None


def _refuse_reading(name: str, given: Column | None, said: Mapping[str, Any]) -> None:
    """Refuse words that would do nothing, as Pydantic reads the text of a field."""
    idle = sorted(BY_TYPE.intersection(said)) + ["default"] * ("default" in said)
    if given is not None and given.refuses_texts:
        idle.append("clean: map without others")
    if idle:
        raise DeclarationError(
            f"Pydantic reads {name} from its text, so that {idle[0]} would do nothing.",
            mend=f"Leave it to the model; of its text the YAML says {', '.join(sorted(BY_TEXT))}.",
            culprit=name,
        ).within("contract", "columns", name)


def _goes_with(word: str, promised: Any, given: Any) -> bool:  # noqa: ANN401 - values of any word
    """Whether a word of the YAML is what the model says, or a narrower promise."""
    if word == "type":
        families = (("int", "uint"), ("float",), ("decimal",))
        return promised == given or any(
            str(promised).startswith(kin) and str(given).startswith(kin) for kin in families
        )
    return bool(promised == given) or (word == "required" and bool(given))


def _check_severities(model: ModelContract, columns: Mapping[str, Column]) -> None:
    """Refuse to keep rows that Pydantic refuses: it gives them no values."""
    for name, column in columns.items():
        keeps = column.severity == "warn" or (column.severity == "block" and column.limit)
        if model.validates and keeps:
            raise DeclarationError(
                f"{name} would be kept where it breaks a rule, but Pydantic, which validates each "
                f"row of {model.cls.__name__}, gives values to whole rows only.",
                mend="Let its severity be quarantine, or block without a limit.",
                culprit=name,
            ).within("contract", "columns", name, "severity")


class _ModelReader:
    """Reads a model's core schema.

    Args:
        cls: The model.
        types: The types that the YAML gives to columns.
    """

    def __init__(self, cls: type[BaseModel], types: Mapping[str, str]) -> None:
        self._cls = cls
        self._types = types
        self._definitions: dict[str, Any] = {}
        self._whole = False
        self._from_text = False

    def read(self) -> ModelContract:
        self._cls.model_rebuild()
        fields = self._model_fields(self._cls.__pydantic_core_schema__)
        read = {name: self._field(name, schema) for name, schema in fields.items()}
        for one in read.values():
            one.from_text |= self._from_text
            one.by_pydantic |= self._from_text
            _settle(one)
            if self._from_text:  # its validator may give a field what was not received
                one.words.pop("required", None)
        forbids = self._cls.model_config.get("extra") == "forbid"
        return ModelContract(self._cls, read, self._whole, forbids)

    def _model_fields(self, schema: Any) -> dict[str, Any]:  # noqa: ANN401 - a core schema
        """Return the fields of a model, having noted the validators around them."""
        while schema["type"] != "model-fields":
            kind = schema["type"]
            if kind == "definitions":
                self._definitions = {one["ref"]: one for one in schema["definitions"]}
            elif kind == "definition-ref":
                schema = self._definitions[schema["schema_ref"]]
                continue
            elif kind == "model":
                if schema.get("root_model"):
                    raise self._refused("is a root model, which has no fields")
                self._whole |= bool(schema.get("post_init") or schema.get("custom_init"))
            elif kind.startswith("function-"):
                self._whole = True
                self._from_text |= kind != "function-after"
            if "schema" not in schema:
                raise self._refused(f"is made by a {kind}, of which nothing is known")
            schema = schema["schema"]
        found: dict[str, Any] = schema["fields"]
        return found

    def _field(self, name: str, schema: Any) -> ModelField:  # noqa: ANN401 - a core schema
        found = ModelField(given=self._types.get(name))
        source = self._source_name(name, schema)
        if source is not None:
            found.words["source_name"] = source
        description = self._cls.model_fields[name].description
        if description:
            found.words["description"] = description
        inner = self._peeled(name, schema["schema"], found)
        reader = None if inner is None else READERS.get(inner["type"])
        problem = None if inner is None or reader is None else reader(inner, found)
        if reader is None or problem is not None:
            if found.given is None or problem == CLOCK:
                what = problem or f"is of a type that no column has ({inner and inner['type']})"
                raise self._refused(f"has the field {name}, which {what}", name)
            found.words["type"] = found.given
            found.by_pydantic = found.from_text = True
        return found

    def _peeled(self, name: str, schema: Any, found: ModelField) -> Any:  # noqa: ANN401 - as above
        """Return what a field is at its core, having noted what stands around it."""
        while True:
            kind = schema["type"]
            if kind == "default":
                if "default_factory" in schema:
                    raise self._refused(
                        f"has the field {name}, whose default_factory may give another value each "
                        "time, so that the same data would not give the same rows",
                        name,
                    )
                found.default = _plain(schema["default"])
            elif kind == "nullable":
                found.optional = True
            elif kind == "definition-ref":
                schema = self._definitions[schema["schema_ref"]]
                continue
            elif kind.startswith("function-"):
                found.by_pydantic = True
                found.from_text |= kind != "function-after"
                if kind == "function-plain":
                    return None
            else:
                return schema
            schema = schema["schema"]

    def _source_name(self, name: str, schema: Any) -> str | None:  # noqa: ANN401 - as above
        alias = schema.get("validation_alias")
        if isinstance(alias, list) and len(alias) == 1 and isinstance(alias[0], list):
            alias = alias[0]
        if isinstance(alias, list) and all(isinstance(part, str) for part in alias):
            alias = ".".join(alias)  # nested JSON is flattened so
        if alias is None or alias == name:
            return None
        if not isinstance(alias, str):
            raise self._refused(f"has several aliases, or a position, for the field {name}", name)
        return alias

    def _refused(self, what: str, field_name: str | None = None) -> DeclarationError:
        return DeclarationError(
            f"the model {self._cls.__name__} {what}.",
            mend=f"Fields may be {ALLOWED}. Of another type, give the column a type in the YAML: "
            "Pydantic then reads its text, and its value is kept as that type.",
            culprit=field_name,
        )


def _settle(one: ModelField) -> None:
    """Leave to Pydantic what it reads from text, and say what every row needs."""
    if one.from_text:
        kept = {"type", "source_name", "description"}
        one.words = {word: value for word, value in one.words.items() if word in kept}
        one.lowered = False
    elif one.default is not NOTHING and one.default is not None:
        one.words["default"] = one.default
    if not one.optional and one.default is NOTHING:
        one.words["required"] = True


def _plain(value: Any) -> Any:  # noqa: ANN401 - a default of any type
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Enum) else value


def _bounds(schema: Any, words: dict[str, Any]) -> None:  # noqa: ANN401 - a core schema
    low, high = schema.get("ge"), schema.get("le")
    for key, word in BOUNDS.items():
        if key in schema:
            words[word] = schema[key]
    # Where both ends of one side are given, the narrower one says it all.
    if low is not None and "gt" in schema:
        words.pop("above" if low > schema["gt"] else "min")
    if high is not None and "lt" in schema:
        words.pop("below" if high < schema["lt"] else "max")


def _given(schema: Any, *words: str) -> dict[str, Any]:  # noqa: ANN401 - a core schema
    return {word: schema[word] for word in words if schema.get(word) is not None}


def _leaves_open(schema: Any, known: Iterable[str], found: ModelField) -> None:  # noqa: ANN401
    """Leave a field to Pydantic if its schema says more than is known here."""
    more = set(schema) - UNFORMATTED - set(known)
    if any(schema[key] not in (None, False) for key in more):
        found.by_pydantic = True


def _number(kind: str) -> Callable[[Any, ModelField], str | None]:
    def read(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401 - a core schema
        found.words["type"] = kind
        _bounds(schema, found.words)
        known = {*BOUNDS, "allow_inf_nan"}
        if not kind.startswith("float"):  # how near a float must be is Pydantic's own
            known.add("multiple_of")
            found.words |= _given(schema, "multiple_of")
        _leaves_open(schema, known, found)
        return None

    return read


def _decimal(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401 - a core schema
    digits, places = schema.get("max_digits"), schema.get("decimal_places")
    if places is not None:
        found.words["type"] = f"decimal({digits or MOST_DIGITS}, {places})"
    elif digits is None and found.given and DECIMAL.match(found.given):
        found.words["type"] = found.given
    else:
        return "is a Decimal without decimal_places, which no column can hold exactly"
    _bounds(schema, found.words)
    found.words |= _given(schema, "multiple_of")
    known = {*BOUNDS, "multiple_of", "allow_inf_nan", "max_digits", "decimal_places"}
    _leaves_open(schema, known, found)
    return None


def _text(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401 - a core schema
    found.words["type"] = "string"
    found.words |= _given(schema, "min_length", "max_length")
    pattern = schema.get("pattern")
    if pattern is not None:
        whole = _whole_pattern(schema)
        found.by_pydantic |= whole is None
        found.words |= {} if whole is None else {"pattern": whole}
    known = {"min_length", "max_length", "pattern", "strip_whitespace", "regex_engine"}
    _leaves_open(schema, known, found)
    return None


def _whole_pattern(schema: Any) -> str | None:  # noqa: ANN401 - a core schema
    """Return what whole texts match, part of which a pattern must; none if Polars cannot say it."""
    pattern = schema["pattern"]
    if not isinstance(pattern, str) or schema.get("regex_engine", "rust-regex") != "rust-regex":
        return None
    whole = f"(?s:.*)(?:{pattern})(?s:.*)"
    if ANCHORED.match(pattern):
        whole = pattern[1:-1]
    try:
        re.compile(whole)
        pl.select(pl.lit("").str.contains(rf"\A(?:{whole})\z"))
    except (re.error, pl.exceptions.PolarsError):
        return None
    return whole


def _moment(kind: str) -> Callable[[Any, ModelField], str | None]:
    def read(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401 - a core schema
        if schema.get("now_op"):
            return CLOCK
        found.words["type"] = kind
        zone = schema.get("tz_constraint")
        if kind == "time" and zone not in (None, "naive"):
            return "is a time with a zone"
        if kind == "timestamp" and zone is not None:
            found.words["formats"] = NAIVE_FORMATS if zone == "naive" else AWARE_FORMATS
            found.naive = zone == "naive"
            found.by_pydantic |= zone not in ("naive", "aware")
        _bounds(schema, found.words)
        _leaves_open(schema, {*BOUNDS, "now_op", "tz_constraint"}, found)
        return None

    return read


def _uuid(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401 - a core schema
    version = schema.get("version")
    third = f"{version}[0-9A-Fa-f]{{3}}" if version else "[0-9A-Fa-f]{4}"
    fourth = "[89ABab][0-9A-Fa-f]{3}" if version else "[0-9A-Fa-f]{4}"
    pattern = f"[0-9A-Fa-f]{{8}}-[0-9A-Fa-f]{{4}}-{third}-{fourth}-[0-9A-Fa-f]{{12}}"
    found.words |= {"type": "string", "pattern": pattern}
    found.lowered = True
    _leaves_open(schema, {"version"}, found)
    return None


def _choice(values: list[Any], found: ModelField) -> str | None:
    plain = [_plain(value) for value in values if value is not None]
    found.optional |= len(plain) < len(values)
    types: dict[type, str] = {str: "string", int: "int64", bool: "boolean"}
    kinds = {type(value) for value in plain}
    if len(kinds) != 1 or not kinds <= types.keys():
        return "is a choice of values that are neither all texts nor all whole numbers"
    found.words |= {"type": types[kinds.pop()], "one_of": tuple(plain)}
    return None


def _literal(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401 - a core schema
    return _choice(schema["expected"], found)


def _enum(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401 - a core schema
    problem = _choice(schema["members"], found)
    if problem is None and schema.get("missing") is not None:
        found.by_pydantic = found.from_text = True  # it knows more words than its members
    return problem


def _url(schema: Any, found: ModelField) -> str | None:  # noqa: ANN401, ARG001 - as of the others
    found.words["type"] = "string"
    found.by_pydantic = found.from_text = True
    return None


READERS: dict[str, Callable[[Any, ModelField], str | None]] = {
    "int": _number("int64"),
    "float": _number("float64"),
    "bool": lambda _, found: found.words.update({"type": "boolean"}),
    "str": _text,
    "decimal": _decimal,
    "date": _moment("date"),
    "datetime": _moment("timestamp"),
    "time": _moment("time"),
    "uuid": _uuid,
    "literal": _literal,
    "enum": _enum,
    "url": _url,
    "multi-host-url": _url,
}
"""By type of a core schema, what makes a column of it, or says why it cannot."""
