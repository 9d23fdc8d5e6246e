"""docs/libraries.md keeps its word: its code runs where the library is installed, and its versions are those tested.

In the environment of the other tests some of the libraries are missing, and their blocks are skipped; `.ci/libraries`
runs this file in an environment for each.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "libraries.md"
TEXT = PAGE.read_text(encoding="utf-8")
ROWS = re.findall(r"^\| \[([^]]+)\]\(#([\w-]+)\) \| ([^|]+) \|", TEXT, re.MULTILINE)
SECTIONS = {
    title: re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    for title, text in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
}
# What each section's code imports, and the file that pins it beside constraints.txt.
NEEDS = {
    "torch alone": ("torch", None),
    "PettingZoo": ("pettingzoo", None),
    "Gymnasium": ("gymnasium", None),
    "TorchRL": ("torchrl", "torchrl"),
    "BenchMARL": ("benchmarl", "benchmarl"),
    "Stable-Baselines3": ("stable_baselines3", "sb3"),
    "RLlib": ("ray", None),
}
PINS = {name: ROOT / ".ci" / f"{name}.txt" for _, name in NEEDS.values() if name}


def pins(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_every_row_has_a_section_with_code_and_every_section_with_code_a_row():
    assert [title for title, *_ in ROWS] == list(NEEDS) == [title for title, code in SECTIONS.items() if code]
    assert [anchor for _, anchor, _ in ROWS] == [title.lower().replace(" ", "-") for title in NEEDS]


@pytest.mark.parametrize(("title", "versions"), [(title, versions) for title, _, versions in ROWS])
def test_the_versions_of_a_row_are_those_that_are_pinned(title, versions):
    known = pins(ROOT / "constraints.txt")
    if NEEDS[title][1]:
        known |= pins(PINS[NEEDS[title][1]])
    for entry in versions.split(", "):
        name, version = entry.split()
        assert known[name] == version, entry


@pytest.mark.parametrize("path", PINS.values(), ids=lambda path: path.stem)
def test_pins_of_a_library_name_no_address_and_contradict_none_of_the_others(path):
    common = pins(ROOT / "constraints.txt")
    for name, version in pins(path).items():
        assert re.fullmatch(r"[\w.-]+", name) and re.fullmatch(r"[\w.]+", version)
        assert common.get(name, version) == version


def blocks():
    for title in NEEDS:
        for code in SECTIONS.get(title, ()):
            marks = [pytest.mark.long] if title == "RLlib" or NEEDS[title][1] else []
            yield pytest.param(title, code, id=title, marks=marks)


@pytest.mark.parametrize(("title", "code"), list(blocks()))
def test_the_code_of_a_section_runs_as_it_stands(title, code, tmp_path):
    if importlib.util.find_spec(NEEDS[title][0]) is None:
        pytest.skip(f"{NEEDS[title][0]} is not installed")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(tmp_path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(code.splitlines()) <= 14


def test_every_link_of_the_page_leads_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#\s]+)\)", TEXT) if "://" not in link]
    assert len(links) >= 5 and [link for link in links if not (PAGE.parent / link).exists()] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_tests_the_libraries_with_the_python_that_it_has_found(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    words = ["make", "--no-print-directory", "-n", "libraries"]  # the tests may be run by make themselves
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    *before, last = told.stdout.splitlines()
    assert last == "PYTHON=.venv/bin/python .ci/libraries"
    assert any("-m venv" in line for line in before)
