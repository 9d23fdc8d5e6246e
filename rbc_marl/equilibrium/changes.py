"""Changes that a sweep makes to its base: one form for all spellings of a setting, and which may stand side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from rbc_marl.errors import ConfigError

# Settings that a sweep sets itself, and what to use instead.
TAKEN = {
    "seed": "seeds: in the sweep file",
    "storage_path": "--out on the command line",
    "num_samples": "samples: in the sweep file",
}
# EconomyPPO's own name for what files call `model`.
_MODEL = {"networks": "model"}


@dataclass(frozen=True)
class Change:
    """One change of a setting."""

    place: str
    """Where it is asked for: ``taxes.set.lr`` in a file, or ``--set lr=1e-3``."""
    text: str
    """As `--set` takes it."""

    @property
    def key(self) -> str:
        """What it changes, as it was written."""
        return self.text.partition("=")[0]

    @property
    def setting(self) -> tuple[str, ...]:
        """What it changes, in the one form of `setting`."""
        return setting(self.key)


@dataclass(frozen=True)
class Changes:
    """Everything that is changed for one arm, by where it comes from."""

    common: Sequence[Change]
    """Of the whole file."""
    own: Sequence[Change]
    """Of the arm."""
    varied: Sequence[Change]
    """Of its variant."""
    command: Sequence[Change]
    """Of the command line, for every run."""
    is_of_taxes: bool = False
    """Whether it is an arm of a sweep of taxes. What makes it stays, whatever else is changed."""

    def in_order(self) -> tuple[str, ...]:
        """The changes in the order in which they are made, so that none of them is lost.

        Raises:
            ConfigError: One would be, or what varies would not be as the tables say.
        """
        for change, varied in product(self.command, self.varied):
            if _overlap(change, varied):
                raise ConfigError(f"{change.place}: the sweep varies {varied.key}; change it in the file")
        for change, own in product(self.command, () if self.is_of_taxes else self.own):
            if _overlap(change, own):
                raise ConfigError(f"{change.place}: {own.place} is what makes an arm; change it in the file")
        for change, varied in product((*self.common, *self.own), self.varied):
            if _covers(varied, change):
                raise ConfigError(f"{change.place} has no effect, for {varied.place} varies it; leave one out")
        if not self.is_of_taxes:
            return _texts(self.common, self.own, self.varied, self.command)
        for change, own in product((*self.common, *self.command), self.own):
            if _covers(own, change):
                raise ConfigError(f"{change.place} has no effect, for the section taxes sets {own.key}; leave it out")
        return _texts(self.common, self.command, self.own)


def setting(key: object) -> tuple[str, ...]:
    """The setting that a key names, in the one form that all its spellings share.

    Args:
        key: As `--set` and config files take it: ``lr``, ``config.lr``, ``training.lr`` and ``config.training.lr`` are
            one setting.

    Returns:
        Its words, without ``config`` and sections.
    """
    from rbc_marl.rllib.config_file import OLD_SETTINGS
    from rbc_marl.rllib.config_keys import SECTIONS, SPELLINGS

    head, *rest = [word.strip() for word in str(key).split(".")]
    if head == "config" and rest:
        head, *rest = rest
    if head in SECTIONS and rest:
        head, *rest = rest
    if head in OLD_SETTINGS:
        return "checkpoint_config", OLD_SETTINGS[head]
    spelling = SPELLINGS.get(head, head)
    return _MODEL.get(spelling, spelling), *rest


def is_within(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether a setting is another or a part of it, both as `setting` gives them."""
    return tuple(one[: len(other)]) == tuple(other)


def check_not_taken(key: object, what: str) -> None:
    """Refuse a setting that every run of a sweep gets from the sweep.

    Args:
        key: The setting, in any spelling.
        what: Begins the message: the place, and what cannot be done there.

    Raises:
        ConfigError: It is such a setting; the message says what to use.
    """
    taken = TAKEN.get(".".join(setting(key)))
    if taken is not None:
        raise ConfigError(f"{what}; use {taken}")


def check_apart(keys: Iterable[object], where: str) -> None:
    """Refuse two keys of one mapping that name one setting, or a setting and a part of it: one would be lost.

    Raises:
        ConfigError: There are such keys.
    """
    for one, other in combinations(keys, 2):
        if setting(one) == setting(other):
            raise ConfigError(f"{where}.{other} is the setting that {where}.{one} names as well; keep one")
        for part, whole in ((one, other), (other, one)):
            if is_within(setting(part), setting(whole)):
                raise ConfigError(f"{where}.{part} is a part of {where}.{whole}; keep one")


def read_changes(given: Any, where: str) -> list[Change]:  # noqa: ANN401 - from a file
    """The changes of a ``set`` of a file.

    Raises:
        ConfigError: It is no mapping, or one of its keys cannot stand there.
    """
    if given is None:
        return []
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where} is {given!r}; it must be a mapping such as {{lr: 1e-3}}")
    for key in given:
        check_not_taken(key, f"{where}.{key} cannot be set here")
    for earlier, later in combinations(given, 2):
        if is_within(setting(earlier), setting(later)):  # the other way round the later one refines the earlier
            raise ConfigError(f"{where}.{earlier} has no effect beside {where}.{later}; keep one")
    return [Change(f"{where}.{key}", change_text(key, value, f"{where}.{key}")) for key, value in given.items()]


def read_words(sets: Sequence[str]) -> list[Change]:
    """The changes of a command line.

    Raises:
        ConfigError: A sweep sets one of them itself.
    """
    for text in sets:
        check_not_taken(text.partition("=")[0], f"--set {text}: every run of a sweep gets its own")
    return [Change(f"--set {text}", text) for text in sets]


def change_text(key: object, value: Any, where: str) -> str:  # noqa: ANN401 - from a file
    """A change as `--set` takes it.

    Raises:
        ConfigError: The value is none that a setting can have, such as a date.
    """
    try:
        return f"{key}={json.dumps(value)}"
    except TypeError:
        raise ConfigError(f"{where} is {value!r}; give a number, a text, true, false, a list or a mapping") from None


def _texts(*parts: Sequence[Change]) -> tuple[str, ...]:
    return tuple(change.text for part in parts for change in part)


def _covers(one: Change, other: Change) -> bool:
    """Whether nothing is left of another change once this one is made."""
    return is_within(other.setting, one.setting)


def _overlap(one: Change, other: Change) -> bool:
    return _covers(one, other) or _covers(other, one)
