"""The pages of docs/ name every setting there is, and no other."""

from __future__ import annotations

import csv
import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from rbc_marl.cli import COMMANDS
from rbc_marl.config import EconomyConfig
from rbc_marl.curriculum import Curriculum
from rbc_marl.equilibrium.best_response import BestResponseSettings
from rbc_marl.equilibrium.study import StudyFile
from rbc_marl.experiments.build import ExperimentSettings
from rbc_marl.mechanics import BASES
from rbc_marl.mechanics.part import Choice
from rbc_marl.presets import preset_files
from rbc_marl.rllib.algorithm import EconomyPPOConfig
from rbc_marl.rllib.settings import PER_MODULE
from rbc_marl.settings import load_yaml_file

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


def test_the_parts_of_an_economy_are_all_there_with_their_parameters():
    expected = {}
    for role in BASES:
        (choice,) = (one for one in EconomyConfig.model_fields[role].metadata if isinstance(one, Choice))
        expected |= {(role, name): set(kind.model_fields) - {"kind"} for name, kind in choice.known.items()}
    cells = [row.split("|") for row in rows(section("settings.md", "Parts of an economy"))]
    found = {
        (field.strip(" `"), kind.strip(" `")): set(re.findall(r"`(\w+)`", text)) for _, field, kind, text, _ in cells
    }
    assert found == expected


def own_settings():
    given = inspect.signature(EconomyPPOConfig.training).parameters.values()
    return {one.name for one in given if one.kind is inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize(
    ("title", "known"),
    [
        ("An experiment", set(ExperimentSettings.model_fields)),
        ("EconomyPPO", own_settings() | {"torch_compile_worker"}),  # RLlib's name, and more than RLlib's meaning
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


@pytest.mark.long
def test_the_site_is_built_without_a_warning_and_shows_every_command_and_page(tmp_path):
    root = DOCS.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    words = [sys.executable, "-m", "mkdocs", "build", "--site-dir", tmp_path / "site"]
    done = subprocess.run(words, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    commands = (tmp_path / "site" / "commands" / "index.html").read_text(encoding="utf-8")
    assert {one.__name__ for one in COMMANDS if f"rbc-marl {one.__name__.replace('_', '-')}" not in commands} == set()
    for page in DOCS.rglob("*.md"):
        folder = page.parent if page.stem in ("README", "index") else page.with_suffix("")
        assert (tmp_path / "site" / folder.relative_to(DOCS) / "index.html").is_file(), page
    for tutorial in (DOCS.parent / "tutorials").glob("*.py"):
        page = (tmp_path / "site" / "tutorials" / tutorial.stem / "index.html").read_text(encoding="utf-8")
        pictures = tmp_path / "site" / "tutorials"
        assert f'src="../{tutorial.stem}-1.png"' in page and (pictures / f"{tutorial.stem}-1.png").is_file()
        assert f'href="../{tutorial.stem}.ipynb"' in page and "colab" not in page
    reference = (tmp_path / "site" / "api" / "index.html").read_text(encoding="utf-8")
    assert "rbc_marl.config.EconomyConfig" in reference and "rbc_marl.experiments.run.train" in reference


def test_every_page_stands_in_the_navigation_and_is_short():
    listed = set(re.findall(r"[\w/]+\.md", (DOCS.parent / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    tutorials = {f"tutorials/{path.stem}.md" for path in (DOCS.parent / "tutorials").glob("*.py")}  # of docs/hooks.py
    assert listed == pages | tutorials
    references = {"economy.md", "settings.md", "api.md", "promises.md"}
    for page in pages - references:
        assert len((DOCS / page).read_text(encoding="utf-8").split()) <= 1500, page


@pytest.mark.long
def test_one_command_makes_every_picture_of_the_docs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    pictures = importlib.import_module("pictures")
    pictures.main(tmp_path)
    made, there = ({path.relative_to(folder) for path in folder.rglob("*.png")} for folder in (tmp_path, DOCS))
    assert made == {path for path in there if path.parts[0] != "scenarios"}
    assert "docs/pictures.py" in (DOCS.parent / "Makefile").read_text(encoding="utf-8")


def test_every_picture_of_the_docs_is_named_where_they_are_made():
    script = (DOCS / "pictures.py").read_text(encoding="utf-8")
    named = set(re.findall(r'"(\w+\.png)"', script))
    by_make = set((DOCS / "scenarios").glob("*.png"))  # by `make scenarios`, for agents learn for them
    assert {path.stem for path in by_make} == set(preset_files("scenario"))
    for path in set(DOCS.rglob("*.png")) - by_make:
        assert path.name in named or f'"{path.stem}"' in script, path


IN_WORDS = {
    "output": "output (units per consumer)",
    "consumption": "consumption (units)",
    "exports": "exports (units)",
    "hours": "hours",
    "wage": "wage",
    "price": "price",
    "investment": "investment (money per consumer)",
    "tax_revenue": "tax revenue (money per consumer)",
    "consumer_reward": "utility of a consumer",
    "firm_reward": "profit of a firm",
    "welfare_total": "total welfare",
}


@pytest.mark.parametrize("name", sorted(preset_files("scenario")))
def test_a_page_answers_each_scenario_with_the_numbers_of_its_table(name):
    with (DOCS / "scenarios" / "table.csv").open(encoding="utf-8") as file:
        table = [row for row in csv.DictReader(file) if row["scenario"] == name and not row["group"]]

    def cell(quantity, seed, who):
        asked = (quantity, seed, who)
        (row,) = (row for row in table if (row["quantity"], row["seed"], row["policies"]) == asked)
        return {key: float(row[key]) for key in ("without", "difference", "high")}

    expected = []
    for quantity, words in IN_WORDS.items():
        kept, *learned = (cell(quantity, *one) for one in (("0", "kept"), ("0", "learned"), ("1", "learned")))
        level = max(abs(kept["without"]), abs(learned[0]["difference"]))
        digits = 0 if level >= 1000 else 1 if level >= 100 else 2
        changes = [
            f"{one['difference']:+z,.{digits}f} ± {one['high'] - one['difference']:z,.{digits}f}"
            for one in (kept, *learned)
        ]
        expected.append(f"| {words} | {kept['without']:,.{digits}f} | {' | '.join(changes)} |")
    text = (DOCS / "scenarios" / f"{name}.md").read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert found == expected
    assert "![" in text and f"]({name}.png)" in text and (DOCS / "scenarios" / f"{name}.png").is_file()
    assert text.startswith(f"# {load_yaml_file(preset_files('scenario')[name])['question'].partition('?')[0]}")
