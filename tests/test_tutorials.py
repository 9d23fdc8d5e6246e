"""Every tutorial runs as it stands, keeps to its own folder, and opens as a notebook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import jupytext
import matplotlib.image
import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))
PICTURE = ROOT / "docs" / "economy.png"


def needs_ray(tutorial):
    text = tutorial.read_text(encoding="utf-8")
    return any(f"rbc_marl.{part}" in text for part in ("rllib", "experiments", "equilibrium"))


def parameters():
    marks = {True: [pytest.mark.long], False: []}
    return [pytest.param(path, id=path.stem, marks=marks[needs_ray(path)]) for path in TUTORIALS]


def run(tutorial, folder):
    """Run a tutorial in an empty folder, with an empty home and an empty folder for what it writes."""
    places = {name: folder / name for name in ("here", "home", "output")}
    for place in places.values():
        place.mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MPLCONFIGDIR": str(folder / "matplotlib"),
        "HOME": str(places["home"]),
        "TUTORIAL_OUTPUT": str(places["output"]),
    }
    command = [sys.executable, str(tutorial)]
    done = subprocess.run(command, cwd=places["here"], env=environment, capture_output=True, text=True, timeout=1200)
    return done, places


def test_there_are_tutorials_and_their_numbers_are_without_gaps():
    assert [path.name[:3] for path in TUTORIALS] == [f"{number:02}_" for number in range(1, len(TUTORIALS) + 1)]
    assert len(TUTORIALS) >= 2


@pytest.mark.parametrize("tutorial", parameters())
def test_a_tutorial_runs_and_writes_only_where_it_says(tutorial, tmp_path):
    done, places = run(tutorial, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "Traceback" not in done.stdout + done.stderr
    assert list(places["here"].iterdir()) == []
    assert list(places["output"].iterdir()) != []
    # RLlib makes a folder of its own for each algorithm: a run here must not fill the reader's home with them.
    assert not (places["home"] / "ray_results").exists()


def test_a_tutorial_that_fails_is_noticed(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("# %% [markdown]\n# # Broken\n\n# %%\nassert 1 + 1 == 3\n", encoding="utf-8")
    done, _ = run(broken, tmp_path)
    assert done.returncode != 0 and "AssertionError" in done.stderr


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_opens_as_a_notebook_that_begins_with_what_the_reader_will_be_able_to_do(tutorial):
    notebook = jupytext.read(tutorial)
    nbformat.validate(notebook)
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown" and kinds.count("code") >= 5 and kinds.count("markdown") >= 5
    opening = notebook.cells[0].source
    assert opening.startswith("# ") and "After this tutorial you can" in opening
    # Cells are compiled one by one, as a notebook runs them: none ends in the middle of a statement.
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(cell.source, tutorial.name, "exec")


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_survives_the_way_to_a_notebook_and_back(tutorial, tmp_path):
    notebook = tmp_path / "tutorial.ipynb"
    jupytext.write(jupytext.read(tutorial), notebook)
    code = [[cell.source for cell in jupytext.read(path).cells] for path in (tutorial, notebook)]
    assert code[0] == code[1]


def test_the_first_tutorial_draws_the_picture_of_the_docs(tmp_path):
    done, places = run(TUTORIALS[0], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    drawn, shown = (matplotlib.image.imread(path)[..., :3] for path in (places["output"] / "economy.png", PICTURE))
    assert drawn.shape == shown.shape
    # Fonts and the smoothing of lines differ between machines: most of the picture does not.
    assert (abs(drawn - shown).max(axis=-1) > 0.1).mean() < 0.02
    assert PICTURE.stat().st_size < 200_000
