"""The pages of docs/ name every setting there is, and no other."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import get_args

import pytest

from rbc_marl.config import EconomyConfig
from rbc_marl.curriculum import Curriculum
from rbc_marl.equilibrium.best_response import BestResponseSettings
from rbc_marl.equilibrium.study import StudyFile
from rbc_marl.experiments.build import ExperimentSettings
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.settings import PER_MODULE

DOCS = Path(__file__).parents[1] / "docs"


def section(page, title):
    text = (DOCS / page).read_text(encoding="utf-8")
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text):
    return [line for line in text.splitlines() if line.startswith("| `")]


def names(text):
    return [row.split("`")[1] for row in rows(text)]


def test_the_fields_of_an_economy_are_all_there_with_their_defaults():
    def shown(value):
        return ", ".join(map(shown, value)) if isinstance(value, tuple) else str(value).removesuffix(".0")

    fields = EconomyConfig.model_fields
    expected = [f"| `{name}` | {shown(one.default)} | {one.description} |" for name, one in fields.items()]
    assert rows(section("economy.md", "Every number")) == expected


def own_settings():
    given = inspect.signature(EconomyPPOConfig.training).parameters.values()
    return {one.name for one in given if one.kind is inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("An experiment", set(ExperimentSettings.model_fields)),
        ("EconomyPPO", own_settings()),
        ("A curriculum", set(Curriculum.model_fields) - {"price_choices", "wage_choices"}),
        ("A sweep", set(StudyFile.names())),
        ("Best responses", set(BestResponseSettings.model_fields)),
    ],
)
def test_the_settings_of_a_file_are_all_there(title, known):
    found = names(section("settings.md", title))
    assert len(found) == len(set(found)) and set(found) == known


def sections(annotation):
    """Every section that an annotation allows, in lists and unions too."""
    if hasattr(annotation, "model_fields"):
        return {annotation}
    return {one for inner in get_args(annotation) for one in sections(inner)}


def test_the_settings_of_a_curriculums_parts_are_all_there():
    for row in rows(section("settings.md", "A curriculum")):
        part, given = row.split("|")[1].strip(" `"), set(re.findall(r"`(\w+)`", row.split("|")[2]))
        kinds = sections(Curriculum.model_fields[part].annotation)
        assert given == {name for kind in kinds for name in kind.model_fields}, part


def test_what_can_differ_between_agent_types_is_named():
    assert all(f"`{name}`" in section("settings.md", "EconomyPPO") for name in PER_MODULE)
