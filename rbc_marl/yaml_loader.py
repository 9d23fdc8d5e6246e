"""How YAML is read: plain data alone, numbers as YAML 1.2 writes them, and no document that is larger than it looks.

A few lines can hold more than a machine: aliases of aliases multiply, and lists inside lists exhaust the stack of
whatever reads them next. A document is therefore measured while it is read, before any of it becomes data.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MOST_CHARACTERS = 2_000_000
"""Of a document."""
MOST_VALUES = 10_000
"""Values in a document, each counted as often as it stands there by aliases. Reading so many takes a second or two."""
MOST_KEYS = 2_000
"""Keys of one mapping."""
MOST_LEVELS = 50
"""Mappings and lists inside each other."""
MOST_DIGITS = 308
"""Digits of a whole number: those of the greatest number that there is with a point."""


class Loader(yaml.SafeLoader):
    """Safe YAML whose numbers follow YAML 1.2: ``1e-3`` is a number, as it is everywhere else.

    Raises:
        yaml.YAMLError: The text is no YAML, gives a key twice, or is too large.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._levels = 0
        self._sizes: dict[int, int] = {}  # of the nodes that are whole, by identity: the document holds on to them

    def compose_node(self, parent: Any, index: Any) -> Any:  # noqa: ANN401 - nodes
        """Read a value, and measure it as often as it stands there."""
        is_alias, self._levels = self.check_event(yaml.AliasEvent), self._levels + 1
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        if self._levels > MOST_LEVELS:
            raise yaml.composer.ComposerError(None, None, f"there are more than {MOST_LEVELS} levels", mark)
        if isinstance(parent, yaml.MappingNode) and index is None and len(parent.value) >= MOST_KEYS:  # at a key
            problem = f"a mapping has more than {MOST_KEYS:,} keys"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        node = super().compose_node(parent, index)
        self._levels -= 1
        if is_alias and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "a value stands inside itself", mark)
        if not is_alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(part)] for part in _parts(node))
        if self._sizes[id(node)] > MOST_VALUES:
            problem = f"there are more than {MOST_VALUES:,} values, each counted as often as aliases name it"
            raise yaml.composer.ComposerError(None, None, problem, mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:  # noqa: ANN401 - a name, or None
        """Read a mapping, and refuse a key that stands in it twice: the first value would be lost without a word.

        Before merges (``<<``) are taken in, which put the same key there rightly.
        """
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a list or mapping cannot be a key", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Take in what is merged (``<<``): a mapping's own keys count, then those of the mapping that is named first.

        PyYAML 6.0.4 tells keys by the identity of their text, and loses some that were changed in a merged mapping.
        """
        pairs: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        own = []
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                own.append((key, value))
                continue
            for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(part, yaml.MappingNode):
                    problem = "only mappings can be merged into another"
                    raise yaml.constructor.ConstructorError(None, None, problem, part.start_mark)
                self.flatten_mapping(part)
                for pair in part.value:
                    pairs.setdefault(pair[0].value, pair)
        node.value = [*{**pairs, **{key.value: (key, value) for key, value in own}}.values()]


def _parts(node: yaml.Node | None) -> list[yaml.Node]:
    """What stands in a list or a mapping; nothing in a scalar."""
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _whole(loader: Loader, node: yaml.ScalarNode) -> int:
    """A whole number as YAML 1.2 writes it: 010 is ten, and eight is 0o10."""
    text = loader.construct_scalar(node)
    if len(text) > MOST_DIGITS:
        problem = f"a whole number has more than {MOST_DIGITS} digits"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
    try:
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    except ValueError:  # of a text that a tag calls a number
        problem = f"{text!r} is not a whole number"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


def _checked(tag: str) -> Any:  # noqa: ANN401 - a constructor
    """A constructor of SafeLoader's whose mistakes say where they are."""
    usual = yaml.SafeLoader.yaml_constructors[tag]

    def construct(loader: Loader, node: yaml.Node) -> object:
        try:
            return usual(loader, node)
        except (ValueError, KeyError, AttributeError) as error:  # such as a thirteenth month
            kind = tag.rpartition(":")[2]
            problem = f"{node.value!r} is not a {kind} ({error})"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    return construct


# Of what looks like a number to YAML 1.1 some is none to 1.2, such as 1:30 (which was 90).
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _NUMBERS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_constructor("tag:yaml.org,2002:int", _whole)
for _tag in ("float", "bool", "timestamp"):
    Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _checked(f"tag:yaml.org,2002:{_tag}"))
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$|^0o[0-7]+$|^0x[0-9a-fA-F]+$"), list("-+0123456789")
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"),
    list("-+0123456789."),
)
