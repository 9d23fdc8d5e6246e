"""Settings of every kind of file: one pydantic base, one-line messages, YAML 1.2, overrides, and JSON schemas.

A file becomes plain data, overrides are merged into it, and only then are models made. From there on values are typed.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from rbc_marl.errors import ConfigError, first_line, nearest, shown
from rbc_marl.yaml_loader import MOST_CHARACTERS, Loader

# What a mapping says in place of a value, to take out a key that a file's `base` has.
UNSET = "unset"

T = TypeVar("T")


def plain(value: Any) -> Any:  # noqa: ANN401 - any data
    """Numbers and sequences of NumPy, pandas and torch, and ranges, as Python's own; other values as they are."""
    if type(value) in (str, int, float, bool):  # most are, and soon told
        return value
    if isinstance(value, Mapping):
        return {plain(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value)) if type(value) in (list, tuple) else value
    if isinstance(value, range):
        return list(value)
    if hasattr(value, "tolist") and not isinstance(value, type):
        try:
            return value.tolist()
        except (RuntimeError, TypeError):  # such as a sparse tensor: whoever wanted a number refuses it
            return value
    return value


def _as_tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Many = Annotated[tuple[T, ...], BeforeValidator(_as_tuple)]
"""A sequence of a file, kept as a tuple."""


GREATEST_SEED = 2**63 - 1
MOST_DOTS = 20
"""Of the dotted name of a class."""


def seed_of(value: object, name: str = "seed") -> int:
    """A seed as Python's own number, at whatever door it comes in: Python's, NumPy's, or a tensor without an axis.

    Raises:
        ConfigError: It is no whole number, or none that a generator takes.
    """
    whole = plain(value)
    if type(whole) is int and 0 <= whole <= GREATEST_SEED:
        return whole
    raise ConfigError(f"{name} is {shown(value)}; it must be a whole number from 0 to 2**63 - 1")


def _seed(value: object) -> int:
    try:
        return seed_of(value)
    except ConfigError as error:
        raise ValueError(str(error).partition("; ")[2]) from None


Seed = Annotated[int, BeforeValidator(_seed)]
"""A seed of a section."""


class Section(BaseModel):
    """Base of every settings model: frozen, strict, finite numbers only, unknown names refused.

    Values of NumPy, pandas and torch are taken where plain ones are. Messages are one line: the path of the setting,
    what was given, what is allowed, and for an unknown name the nearest known one.

    Raises:
        ConfigError: A setting is unknown, missing, of the wrong type or out of range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    noun: ClassVar[str] = "a setting"
    """What a name of this section is called in messages."""

    if not TYPE_CHECKING:  # type checkers see the fields' own signature

        def __init__(self, **data: object) -> None:
            """Validate; see the class."""
            data = plain(data)
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise ConfigError(explain(error, type(self), data, "")) from None

        # Sections inside sections are then validated with the whole, so that a message has the full path.
        __init__.__pydantic_base_init__ = True

    def __deepcopy__(self, memo: object = None) -> Self:
        """The section itself: nothing in it changes. RLlib copies its configurations, and all in them, many times."""
        return self

    @classmethod
    def names(cls) -> list[str]:
        """What can stand in this section of a file."""
        return [field.alias or name for name, field in cls.model_fields.items() if not field.exclude]

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:  # noqa: ANN401 - from a file
        """Validate plain data, or take a section that is one already.

        Args:
            data: A mapping; None stands for an empty one.
            where: Its place in a file, with which messages begin.

        Raises:
            ConfigError: A setting is wrong.
        """
        if isinstance(data, cls):
            return data
        data = {} if data is None else plain(data)
        try:
            if not isinstance(data, Mapping):
                return cls.model_validate(data)
            section: Self = cls.__pydantic_validator__.validate_python(data, self_instance=cls.__new__(cls))
        except ValidationError as error:
            raise ConfigError(explain(error, cls, data, where)) from None
        return section


def explain(error: ValidationError, model: type[Section], data: Any, where: str) -> str:  # noqa: ANN401 - plain data
    """The first problem of a failed validation as one line.

    Args:
        error: Of pydantic.
        model: What was validated.
        data: What was given for it.
        where: Its place in a file; empty for none.

    Returns:
        ``path is what was given; it must be what is allowed``, where the path is that in the file.
    """
    problems = [(_path(data, problem), problem) for problem in error.errors(include_url=False)]
    problems.sort(key=lambda pair: pair[1]["type"] == "missing")  # a misspelt name explains the one that is missing
    # Of a value that may be of several kinds, the kind that got furthest is the one that was meant.
    head = problems[0][0][:1]
    path, first = max((one for one in problems if one[0][:1] == head), key=lambda one: len(one[0]))
    place = ".".join([where, *map(str, path)]).strip(".")
    message = first["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    match first["type"]:
        case "extra_forbidden" | "invalid_key":
            owner = _section_at(model, path[:-1], first["loc"]) or model
            name = str(path[-1] if path else first["loc"][-1])  # a name that is no text has no path
            whole = place if path else f"{place}.{name}".strip(".")
            return f"{whole} is not {owner.noun}{nearest(name, owner.names())}"
        case "missing":
            owner = _section_at(model, path[:-1], first["loc"]) or model
            examples = owner.model_fields[str(path[-1])].examples if path[-1] in owner.model_fields else None
            return f"{place} is missing; give {examples[0] if examples else 'it'}"
        case "union_tag_not_found":
            field = _field_at(model, path)
            sections = _sections_in(field.annotation) if field else ()
            known = [kind for one in sections for kind in get_args(one.model_fields["kind"].annotation)]
            return f"{place}.kind is missing; give {' or '.join(known)}"
        case "union_tag_invalid":
            tag = str(first["ctx"]["tag"])
            known = re.findall(r"'([^']*)'", first["ctx"]["expected_tags"])
            return f"{place}.kind is {shown(tag)}; it must be {' or '.join(known)}{nearest(tag, known)}"
        case "value_error" | "assertion_error":
            return _of_validator(message, place, first["input"], _section_at(model, path, first["loc"]))
    same = [problem for other, problem in problems if other == path]
    section = _section_at(model, path, first["loc"]) or model
    phrases = dict.fromkeys(_phrase(problem, section) for problem in same)
    if len(phrases) > 1:
        phrases.pop(_PYTHON_OBJECT, None)
    allowed = " or ".join(phrases) + _example(model, path, first)
    return f"{place or model.__name__} is {shown(first['input'])}; it must be {allowed}"


def _example(model: type[Section], path: Sequence[int | str], problem: Any) -> str:  # noqa: ANN401 - pydantic's own
    """How the field of a value of the wrong kind is written, where it has an example."""
    field = _field_at(model, path, problem["loc"])
    is_of_kind = problem["type"].endswith(("_type", "too_short", "literal_error"))
    return f", such as {field.examples[0]}" if field and field.examples and is_of_kind else ""


def _field_at(model: type[Section], path: Sequence[int | str], kinds: Sequence[int | str] = ()) -> FieldInfo | None:
    """The field at a path, where it is one of a section."""
    owner = _section_at(model, path[:-1], kinds) if path else None
    return owner.model_fields.get(str(path[-1])) if owner else None


def _of_validator(message: str, place: str, given: object, owner: type[Section] | None) -> str:
    """A message of a validator of our own, at its place.

    One that begins with "it must" or "give" is about the value. One that begins with the name of a field is about that.
    """
    if message.startswith(("it must", "give ", "there is", "there are")):
        return f"{place} is {shown(given)}; {message}"
    name = re.match(r"\w+", message)
    known = owner.model_fields if owner is not None else {}
    is_field = name is not None and (name.group() in known or (isinstance(given, Mapping) and name.group() in given))
    return f"{place}{'.' if is_field else ': '}{message}" if place else message


def _path(data: Any, problem: Any) -> list[int | str]:  # noqa: ANN401 - plain data, and pydantic's own mapping
    """The path in the data of a problem, whose location also names members of unions."""
    path: list[int | str] = []
    *parents, last = problem["loc"] or ("",)
    for part in (*parents, last) if problem["loc"] else ():
        in_mapping = isinstance(data, Mapping) and part in data
        if in_mapping or (isinstance(data, (list, tuple)) and isinstance(part, int) and part < len(data)):
            data = data[part]
        elif not (part == last and problem["type"] == "missing"):
            continue
        path.append(part)
    return path


def _section_at(
    model: type[Section], path: Sequence[int | str], kinds: Sequence[int | str] = ()
) -> type[Section] | None:
    """The section that stands, or should stand, at a path inside another; where it may be of several, one of kinds."""
    sections: list[type[Section]] = [model]
    for part in path:
        fields = [section.model_fields[str(part)] for section in sections if part in section.model_fields]
        if fields:
            sections = [one for field in fields for one in _sections_in(field.annotation)]
        # Otherwise it is a key of a mapping, or a place in a list, of the same sections.
    named = {str(kind).lower() for kind in kinds}  # of a section by its class, or by its ``kind``
    return next((section for section in sections if section.__name__.lower() in named), next(iter(sections), None))


def _sections_in(annotation: Any) -> Iterator[type[Section]]:  # noqa: ANN401 - annotations are anything
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections_in(argument)


_PYTHON_OBJECT = "an object that only a Python file can give"
# What a value must be, by the type of pydantic's error; the text of other errors is pydantic's own.
_PHRASES = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "none_required": "null",
    "finite_number": "a finite number",
    **dict.fromkeys(("callable_type", "is_type", "is_instance_of", "needs_python_object"), _PYTHON_OBJECT),
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "literal_error": "{expected}",
}


def _phrase(problem: Any, section: type[Section]) -> str:  # noqa: ANN401 - pydantic's own mapping
    """What a value must be by one problem; ``section`` is what belongs there where it must be a mapping."""
    if problem["type"] in ("model_type", "model_attributes_type"):
        return f"a mapping with {', '.join(section.names())}"
    known = _PHRASES.get(problem["type"])
    if known is None:
        return str(problem["msg"].removeprefix("Value error, ").removeprefix("Input should be "))
    phrase = known.format(**problem.get("ctx", {}))
    expected = problem.get("ctx", {}).get("expected", "")
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        phrase += nearest(problem["input"], re.findall(r"'([^']*)'", expected))
    return phrase


# Overrides


def merged(base: Any, over: Any) -> Any:  # noqa: ANN401 - plain data
    """Plain data with other data put over it: mappings key by key, all else replaces, and `UNSET` takes a key out."""
    if not isinstance(over, Mapping):
        return over
    result = dict(base) if isinstance(base, Mapping) else {}
    for key, value in over.items():
        if value == UNSET and isinstance(value, str):
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def with_value(tree: Mapping[str, Any], path: Sequence[str], value: Any) -> dict[str, Any]:  # noqa: ANN401 - any value
    """A copy of nested mappings with one value put in at its path; `UNSET` takes out what is there.

    Raises:
        ConfigError: Something on the way is no mapping.
    """
    head, *rest = path
    if not rest:
        kept = {key: inner for key, inner in tree.items() if key != head}
        return kept if value == UNSET and isinstance(value, str) else {**tree, head: value}
    inner = tree.get(head)
    if inner is not None and not isinstance(inner, Mapping):
        raise ConfigError(f"{'.'.join(path)}: {head} is {inner!r} in the file, not a mapping")
    return {**tree, head: with_value(inner or {}, rest, value)}


def parse_set(
    text: str, option: str = "--set", example: str = "env_config.export_quota=50"
) -> tuple[list[str], Any]:
    """Split `key=value` into the key's parts and the value, which is read as YAML.

    Args:
        text: What was typed after an option.
        option: Its name, for messages.
        example: Of such a text, for messages.

    Raises:
        ConfigError: There is no `=`, or the value is not YAML.
    """
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ConfigError(f"{option} {text}: write it as key=value, such as {example}")
    return parts, load_yaml(value, where=f"{option} {key.strip()}")


# Code that a file names


def load_named(dotted: str, where: str, is_meant: Callable[[Any], bool], meant: str) -> Any:  # noqa: ANN401 - a class
    """A class that a file names by its dotted path: its kind is checked, and nothing of it is called.

    Args:
        dotted: Such as ``my_module.MyNetwork``.
        where: Its place in the file.
        is_meant: Whether an object is of the kind that belongs there.
        meant: That kind, in words.

    Raises:
        ConfigError: It cannot be imported, or is something else.
    """
    module_name, _, name = dotted.replace(":", ".").rpartition(".")
    # Each dot is an import within an import: Python gives up at a thousand.
    if runs_when_imported(module_name) or dotted.count(".") > MOST_DOTS:
        raise ConfigError(f'{where} is "{dotted}", which is not {meant}; name one as package.module.Class')
    try:
        named = getattr(importlib.import_module(module_name), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f'{where} is "{dotted}", which cannot be imported ({first_line(error)})') from None
    if not isinstance(named, type) or not is_meant(named):
        raise ConfigError(f'{where} is "{dotted}", which is not {meant}; name one as package.module.Class')
    return named


def runs_when_imported(module: str) -> bool:
    """Whether a module holds nothing a file can name, and may do anything when it is imported.

    Of Python's own modules some open windows, and each ``__main__`` is a program.
    """
    parts = module.split(".")
    return parts[0] in sys.stdlib_module_names or "__main__" in parts


# YAML


def load_yaml_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that must hold a mapping. Only plain data is read: no code runs.

    Raises:
        ConfigError: The file is missing or unreadable, is not YAML, or is not a mapping.
    """
    data = load_yaml(_read(Path(path)), where=str(path))
    if not isinstance(data, dict):
        kind = "nothing" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{path} holds {kind}; it must be a mapping of names to values (key: value)")
    return data


def load_yaml(text: str, where: str) -> Any:  # noqa: ANN401 - YAML holds anything
    """Read one YAML document. Only plain data is read: no code runs.

    Args:
        text: The document.
        where: What the document is called in an error.

    Raises:
        ConfigError: The text is not YAML, or larger than any file of settings.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"{where} has {len(text):,} characters; a file of settings has at most {MOST_CHARACTERS:,}")
    try:
        return yaml.load(text, Loader=Loader)  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise ConfigError(f"{where} is not valid YAML{place}: {problem}") from None


def dump_yaml(data: Any) -> str:  # noqa: ANN401 - plain data
    """Plain data as YAML text that `load_yaml` reads back."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)


@contextmanager
def line_numbers(*paths: Path) -> Iterator[None]:
    """Say in an error's message at which line of a file the setting stands that it begins with.

    Args:
        *paths: Files, the one that decides first: the setting is looked up in each.
    """
    try:
        yield
    except ConfigError as error:
        found = [(depth, line, path) for path in paths if (where := _line(path, str(error))) for depth, line in [where]]
        depth, line, path = max(found, key=lambda one: one[0], default=(0, 0, Path()))
        if depth < 2 or "(line " in str(error):  # the name of an experiment alone says nothing
            raise
        error.args = (f"{error} (line {line} of {path.name})", *error.args[1:])
        raise


def _line(path: Path, message: str) -> tuple[int, int] | None:
    """How deep into a file the path goes that a message begins with, and the line there."""
    try:
        node = yaml.compose(_read(path), Loader=Loader)
    except (ConfigError, yaml.YAMLError):
        return None
    rest, depth, line = re.split(r"[ :;,](?![\w.]*\.)", message, maxsplit=1)[0], 0, 0
    while rest and isinstance(node, yaml.MappingNode):
        keys = [(key, value) for key, value in node.value if rest == key.value or rest.startswith(f"{key.value}.")]
        if not keys:
            break
        key, node = max(keys, key=lambda pair: len(pair[0].value))
        rest, depth, line = rest[len(key.value) + 1 :], depth + 1, key.start_mark.line + 1
    return (depth, line) if depth else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise ConfigError(f"{path} {reason}; give the path of a YAML file") from None
