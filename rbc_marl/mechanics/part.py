"""Parts of an economy, in which models differ: chosen by name with their parameters, or classes of one's own.

A part is a frozen section of the configuration with a formula. Whoever wants another one writes a class: its fields are
its parameters, its one method is the formula. Files name it as ``{class: my_module.MyPart, parameter: 2}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from rbc_marl.errors import ConfigError, nearest
from rbc_marl.own_class import load_copy, name_of, original_of
from rbc_marl.settings import Section, load_named, plain

CLASS = "class"
"""Key under which plain data names a class of one's own."""


class Part(Section):
    """Base of all parts. Fields are parameters: numbers, texts, or tuples of them (`rbc_marl.settings.Many`).

    Formulas take and return tensors, in the floating-point type and on the device of what they are given. They have no
    side effects, read no tensor on the host, and branch on parameters only: they run compiled, and millions of times.
    """

    noun: ClassVar[str] = "a parameter of this part"
    role: ClassVar[str] = ""
    """The field of `EconomyConfig` that the part belongs to."""

    @property
    def is_own(self) -> bool:
        """Whether it is a class of one's own."""
        return type(self).__module__.partition(".")[0] != "rbc_marl"

    @property
    def title(self) -> str:
        """What it is called in messages: ``utility ghh``."""
        return f"{self.role} {name_of(type(self)) if self.is_own else getattr(self, 'kind', '')}"

    def parameters(self) -> dict[str, Any]:
        """Its parameters by name, as plain data."""
        return {name: value for name, value in self.model_dump(mode="json").items() if name != "kind"}

    def described(self) -> str | dict[str, Any]:
        """Plain data that make it again: a name alone where it has no parameters; a class as ``module:Class``."""
        if self.is_own:
            return {CLASS: name_of(type(self)), **self.parameters()}
        kind = str(getattr(self, "kind", ""))
        return {"kind": kind, **self.parameters()} if self.parameters() else kind

    def __str__(self) -> str:
        """As a file has it."""
        described = self.described()
        if isinstance(described, str):
            return described
        return f"{{{', '.join(f'{name}: {value}' for name, value in described.items())}}}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Classes that a checkpoint brought along are loaded from its copy again, in whatever process this arrives."""
        original = original_of(type(self))
        if original is None:
            return _again, (type(self), self.parameters())
        return _from_copy, (*original, type(self).__qualname__, self.parameters())


def _again(part: type[Part], parameters: dict[str, Any]) -> Part:
    return part.parse(parameters, "")


def _from_copy(module: str, path: str, name: str, parameters: dict[str, Any]) -> Part:
    part: type[Part] = getattr(load_copy(module, path), name)
    return part.parse(parameters, "")


@dataclass(frozen=True)
class Choice:
    """How a field of `EconomyConfig` with a part is read: a name, a mapping with ``kind`` or ``class``, or a part.

    Attributes:
        base: Of its parts, and of classes of one's own.
        kinds: The package's own parts; the first is the published one.
        names: Names that stand for themselves: what was published before there were parts.
    """

    base: type[Part]
    kinds: tuple[type[Part], ...]
    names: tuple[str, ...] = ()

    @property
    def known(self) -> dict[str, type[Part]]:
        """The package's own parts by name."""
        return {kind.model_fields["kind"].default: kind for kind in self.kinds}

    def read(self, given: object) -> Part | str:
        """The part that a value of a file describes.

        Raises:
            ValueError: There is none, or a parameter is wrong; the message begins with its name.
        """
        if isinstance(given, self.base):
            return self._hashable(given)
        given = plain(given)
        if isinstance(given, type) or (isinstance(given, str) and "." in given):
            given = {CLASS: given}
        if isinstance(given, str):
            given = {"kind": given}
        if not isinstance(given, Mapping):
            raise ValueError(self._allowed())
        data = dict(given)
        if CLASS in data:
            return self._own(data.pop(CLASS), data)
        kind, names = data.pop("kind", None), [*self.names, *self.known]
        if kind not in names:
            wrong = "kind is missing" if kind is None else f"kind is {kind!r}"
            close = nearest(kind, names) if isinstance(kind, str) else ""
            if len(given) == 1 and kind is not None:
                raise ValueError(f"{self._allowed()}{close}")
            raise ValueError(f"{wrong}; it must be {', '.join(names)}{close}")
        if kind in self.names:
            if data:
                raise ValueError(f"{next(iter(data))} is not a parameter of {kind}, which has none")
            return str(kind)
        return self._parsed(self.known[kind], data)

    def _own(self, named: object, parameters: dict[str, Any]) -> Part:
        meant = f"a subclass of rbc_marl.mechanics.{self.base.__name__}"
        try:
            if isinstance(named, str):
                named = load_named(named, CLASS, lambda found: issubclass(found, self.base), meant)
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if not isinstance(named, type) or not issubclass(named, self.base):
            raise ValueError(f"{CLASS} is {named!r}; it must be {meant}")
        if named not in self.kinds and (of := next((kind for kind in self.kinds if issubclass(named, kind)), None)):
            # Rules and bounds have the formulas of the package's kinds, which this one may change.
            raise ValueError(f"{CLASS} is {named.__name__}, which builds on {of.__name__}; it must be {meant} itself")
        if "." in named.__qualname__:
            raise ValueError(f"{CLASS} is {named.__qualname__}; it must be at the top of a module, to have a name")
        return self._hashable(self._parsed(named, parameters))

    @staticmethod
    def _parsed(part: type[Part], parameters: dict[str, Any]) -> Part:
        try:
            return part.parse(parameters, "")
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @staticmethod
    def _hashable(part: Part) -> Part:
        try:
            hash(part)
        except TypeError:
            raise ValueError(f"{type(part).__name__} has a parameter that can change; take tuples for lists") from None
        return part

    def _allowed(self) -> str:
        names = ", ".join([*self.names, *self.known])
        return f"it must be {names}, a mapping with kind and parameters, or name a class as package.module.Class"

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Read by `read`; written as `Part.described`."""
        del source, handler
        written = core_schema.plain_serializer_function_ser_schema(_written)
        return core_schema.no_info_plain_validator_function(self.read, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """For editors: the names, the mapping of each kind, and a class of one's own."""
        del schema, handler
        names = [*self.names, *self.known]
        own = {"type": "object", "properties": {CLASS: {"type": "string"}}, "required": [CLASS]}
        kinds = [{**kind.model_json_schema(), "required": ["kind"]} for kind in self.kinds]
        return {"anyOf": [{"type": "string", "examples": names}, *kinds, own]}


def _written(part: Part | str) -> str | dict[str, Any]:
    return part if isinstance(part, str) else part.described()
