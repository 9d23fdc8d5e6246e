"""The README and docs/training.md keep their word: every block of code in them runs, and every place named is there.

Python blocks run as they stand, one after another in one folder, each in a process of its own. Bash blocks run as they
stand too, with three commands shortened by a stand-in that is first on the PATH:
- `make TARGET` becomes `make -n TARGET`: the target exists and its recipe can be written out, but does not run;
- `pip install` only looks up the extras it is asked for in pyproject.toml;
- `rbc-marl` is the real command with something appended: `train` stops after two iterations, `evaluate` and `compare`
  play four episodes, `best-response` checks the government with one iteration, `sweep` makes sure that its file is
  there, and `bench` shows its help.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TEXT, TRAINING, WHERE = (
    (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/training.md", "CONTRIBUTING.md")
)


def blocks(text):
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


BLOCKS = blocks(TEXT)
PYTHON = [code for language, code in BLOCKS if language == "python"]
BASH = [code for language, code in BLOCKS if language == "bash"]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
PLACES = re.findall(r"^\| (`.*`) \| .* \|$", WHERE, re.MULTILINE)

MAKE = f"""#!/bin/sh
exec {{make}} -n -C '{ROOT}' "$@"
"""
PIP = f"""#!{sys.executable}
import re, sys, tomllib
known = tomllib.load(open({str(ROOT / "pyproject.toml")!r}, "rb"))["project"]["optional-dependencies"]
assert sys.argv[1] == "install", sys.argv
asked = {{extra for word in sys.argv[2:] for extra in re.sub(r"^[^[]*|[][]", "", word).split(",") if extra}}
sys.exit(f"no extra {{asked - known.keys()}}" if asked - known.keys() else 0)
"""
COMMAND = f"""#!/bin/sh
case "$1" in
train) set -- "$@" --set stop.training_iteration=2 --set report=false ;;
evaluate | compare | impulse | transition | scenario | moments)
  case "$*" in *--learn* | scenario*) set -- "$@" --learn 1 ;; esac
  set -- "$@" --episodes 4 ;;
best-response) set -- "$@" --type government --seeds 1 --iterations 1 --episodes 8 ;;
sweep) test -f "$2" && set -- "$@" --help ;;
bench) set -- "$@" --help ;;
esac
exec '{sys.executable}' -m rbc_marl.cli "$@"
"""


@pytest.fixture
def here(tmp_path):
    """A folder like a checkout: what the README names is there, and results are the test's own."""
    stand_ins = tmp_path / "bin"
    stand_ins.mkdir()
    make = subprocess.run(["sh", "-c", "command -v make"], capture_output=True, text=True, check=True).stdout.strip()
    for name, script in (("make", MAKE.format(make=make)), ("pip", PIP), ("rbc-marl", COMMAND)):
        (stand_ins / name).write_text(script, encoding="utf-8")
        (stand_ins / name).chmod(0o755)
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("rllib_configs", "tutorials", "docs"):
        (folder / name).symlink_to(ROOT / name)
    return folder


def run(command, here):
    environment = {
        **os.environ,
        "PATH": f"{here.parent / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HOME": str(here.parent),  # RLlib writes into ~/ray_results
    }
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=1200)
    return done.returncode, done.stdout, done.stderr


def run_bash(code, here):
    return run(["bash", "-euo", "pipefail", "-c", code], here)


def test_the_readme_begins_with_the_two_commands():
    assert BLOCKS[0][0] == "bash"
    assert [line.partition("#")[0].strip() for line in BASH[0].splitlines()] == ["make train", "make test"]
    assert TEXT.index("```") < 40


def test_the_readme_is_short_and_eight_lines_reset_and_step():
    assert len(TEXT.split()) < 750  # a screen and a half
    assert {language for language, _ in BLOCKS} == {"bash", "python", "bibtex"}  # what is cited cannot run
    assert len(PYTHON) == 2 and len(BASH) >= 3
    for code in PYTHON:
        assert "reset()" in code and ".step(" in code
        assert len([line for line in code.splitlines() if line.strip()]) <= 8


@pytest.mark.parametrize("code", PYTHON, ids=["batch", "pettingzoo"])
def test_the_blocks_that_reset_and_step_run(code, here):
    status, out, err = run([sys.executable, "-c", code], here)
    assert status == 0 and out and err == ""


@pytest.mark.long
def test_the_blocks_that_train_run_one_after_another(here):
    code_blocks = [code for language, code in blocks(TRAINING) if language == "python"]
    assert len(code_blocks) >= 4
    for code in code_blocks:
        status, out, err = run([sys.executable, "-c", code], here)
        assert status == 0, f"{code}\n{out}\n{err}"
        assert out
    assert (here / "results" / "by-hand" / "policies.json").is_file()


@pytest.mark.long
def test_every_bash_block_runs(here):
    for code in BASH:
        status, out, err = run_bash(code, here)
        assert status == 0, f"{code}\n{out}\n{err}"
    [folder] = (here / "results" / "quickstart").iterdir()
    assert {"config.yaml", "run.json", "progress.csv", "result.json"} <= {path.name for path in folder.iterdir()}
    assert folder.name.endswith("_seed1") and list(folder.glob("checkpoint_*/policies.json"))


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("make trian", "trian"),
        ("pip install -e '.[analysis,rlib]'", "no extra {'rlib'}"),
        ("rbc-marl check rllib_configs/quikstart.yaml", "quikstart.yaml does not exist"),
        ("rbc-marl benhc", "benhc"),
    ],
)
def test_a_slip_in_a_bash_block_is_noticed(code, complaint, here):
    status, _, err = run_bash(f"{code}\ntrue", here)
    assert status != 0 and complaint in err


def test_every_extra_of_the_table_exists():
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    extras = re.findall(r"^\| `(\w+)` \|", page.partition("| extra |")[2].partition("\n## ")[0], re.MULTILINE)
    with (ROOT / "pyproject.toml").open("rb") as file:
        known = tomllib.load(file)["project"]["optional-dependencies"]
    assert extras and set(extras) <= set(known)


def test_every_place_of_the_table_exists():
    places = [place for cell in PLACES for place in re.findall(r"`([^`]+)`", cell)]
    assert len(places) >= 10
    assert [name for name in places if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        name, _, place = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        if place:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert place in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_every_folder_of_the_package_has_a_place_in_the_table():
    folders = {f"rbc_marl/{path.parent.name}/" for path in (ROOT / "rbc_marl").glob("*/__init__.py")}
    assert {folder for folder in folders if f"`{folder}`" not in WHERE} == set()
