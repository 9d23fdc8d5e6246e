"""Every tutorial runs as it stands, keeps to its own folder, and stands as an executed notebook beside it."""

from __future__ import annotations

import base64
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import jupytext
import matplotlib.image
import nbformat
import pytest

from tests.test_layout import MACHINE_PATH

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "tutorials" / "notebooks"
TUTORIALS = sorted((ROOT / "tutorials").glob("*.py"))
PICTURE = ROOT / "docs" / "economy.png"


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


def made():
    """The module that makes the notebooks."""
    spec = importlib.util.spec_from_file_location("make_notebooks", NOTEBOOKS / "make.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def notebook_of(tutorial):
    return nbformat.read(NOTEBOOKS / f"{tutorial.stem}.ipynb", as_version=4)


def outputs_of(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_there_are_tutorials_and_their_numbers_are_without_gaps():
    assert [path.name[:3] for path in TUTORIALS] == [f"{number:02}_" for number in range(1, len(TUTORIALS) + 1)]
    assert len(TUTORIALS) >= 2


@pytest.mark.long
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
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
def test_a_notebook_is_its_script_executed(tutorial):
    notebook, script = notebook_of(tutorial), made().unexecuted(tutorial)
    nbformat.validate(notebook)
    cells = [[(cell.cell_type, cell.source) for cell in one.cells] for one in (notebook, script)]
    assert cells[0] == cells[1], f"make notebooks NAMES={tutorial.stem[:2]}"
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_notebook_shows_pictures_and_nothing_of_the_machine_that_made_it(tutorial):
    notebook = notebook_of(tutorial)
    outputs = outputs_of(notebook)
    assert "error" not in {output.output_type for output in outputs}
    pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    assert pictures
    for picture in pictures:
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert {name for output in outputs for name in output.get("data", {})} == {"text/plain", "image/png"}
    words = [output.get("text") or output.data["text/plain"] for output in outputs]
    for text in words:
        assert not MACHINE_PATH.search(text)
        assert not any(slip in text for slip in ("Traceback", " object at 0x", "\x1b"))
        assert not re.search(r"\d{4}-\d\d-\d\d[ _]\d\d|\d:\d\d (gone|left)|\d s$", text, re.MULTILINE)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert all(not cell.metadata for cell in notebook.cells)


def test_there_is_a_notebook_for_each_tutorial_and_all_are_small():
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    assert [path.stem for path in notebooks] == [path.stem for path in TUTORIALS]
    assert sum(path.stat().st_size for path in notebooks) < 3_000_000


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_links_of_a_tutorial_and_of_its_notebook_lead_somewhere(tutorial):
    notebook = NOTEBOOKS / f"{tutorial.stem}.ipynb"
    for path in (tutorial, notebook):
        text = "\n".join(cell.source for cell in jupytext.read(path).cells if cell.cell_type == "markdown")
        for target in re.findall(r"\]\(([^)\s#]+)", text):
            assert "://" in target or (path.parent / target).exists(), target


def test_times_and_folders_are_taken_out_of_what_a_notebook_prints():
    printed = (
        "iteration 1/4  0:00 gone  0:01 left  hours 520\niteration 3/4  0:01 gone  0:00 left  hours 500\n"
        "iteration 4/4  0:02 gone  0:00 left  \x1b[1mhours\x1b[0m 491\n"
        "2026-11-30 05:09:15,592\tWARNING algorithm_config.py: you are running it\n"
        "2026-11-30 05:09:15,600\tINFO util.py: missing packages\n"
        "results: base/x/2026-11-30_05-07-58_seed0 \n1/6  fixed seed 100: impaired  2 s\n"
    )
    assert made().text_without(printed, {"base/": ""}) == (
        "iteration 1/4  hours 520\niteration 4/4  hours 491\nresults: x/<time>_seed0\n1/6  fixed seed 100: impaired\n"
    )


def test_a_page_of_the_site_has_the_cells_the_outputs_and_the_pictures_of_a_notebook():
    pytest.importorskip("mkdocs")
    hooks = hooks_of_the_site()
    picture = base64.b64encode(b"\x89PNG...").decode()
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "See [it](../../docs/economy.md)."]},
        {"cell_type": "code", "source": ["x = 1"], "outputs": [{"output_type": "stream", "text": ["one\n"]}]},
        {
            "cell_type": "code",
            "source": ["draw()"],
            "outputs": [{"output_type": "display_data", "data": {"image/png": picture, "text/plain": ["A [rise]."]}}],
        },
    ]
    page, pictures = hooks.page_of({"cells": cells}, "09_name", None)
    assert pictures == {"09_name-1.png": b"\x89PNG..."}
    for words in ("[it](../economy.md)", "````python\nx = 1\n````", "````text\none\n````", "![A rise .](09_name"):
        assert words in page
    assert "colab" not in page and "[Download this notebook](09_name.ipynb)" in page
    badged, _ = hooks.page_of({"cells": cells}, "09_name", "https://github.com/someone/economies/")
    address = "https://colab.research.google.com/github/someone/economies/blob/main/tutorials/notebooks/09_name.ipynb"
    assert f"]({address})" in badged


def hooks_of_the_site():
    spec = importlib.util.spec_from_file_location("hooks_of_the_site", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_the_first_tutorial_draws_the_picture_of_the_docs(tmp_path):
    done, places = run(TUTORIALS[0], tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    drawn, shown = (matplotlib.image.imread(path)[..., :3] for path in (places["output"] / "economy.png", PICTURE))
    assert drawn.shape == shown.shape
    # Fonts and the smoothing of lines differ between machines: most of the picture does not.
    assert (abs(drawn - shown).max(axis=-1) > 0.1).mean() < 0.02
    assert PICTURE.stat().st_size < 200_000
