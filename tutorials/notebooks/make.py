"""Makes the notebooks beside this file: each is a tutorial's script, executed. `make notebooks` runs it.

Outputs are the same whenever and wherever they are made: times, progress and folders of the machine are taken out.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Lines of progress between the first and the last come when the clock says so; warnings carry the time.
TAKEN_OUT = re.compile(
    r"^(?:iteration (?!1/)(\d+)/(?!\1\b)\d+ |\d{4}-\d\d-\d\d [\d:,]+\t(?:INFO|WARNING) ).*\n", re.MULTILINE
)
REPLACED = (
    (re.compile(r"\x1b\[[\d;]*m"), ""),  # colours of a terminal
    (re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d"), "<time>"),  # of a run, in the name of its folder
    (re.compile(r"  \d+:\d\d(:\d\d)? gone"), ""),
    (re.compile(r"  \d+:\d\d(:\d\d)? left"), ""),
    (re.compile(r"  \d+ s$", re.MULTILINE), ""),
    (re.compile(r"tfevents\.[\w.-]+"), "tfevents.<time>"),
    (re.compile(r" +$", re.MULTILINE), ""),
)


def linked_from_here(markdown: str) -> str:
    """A tutorial's text, one folder further down: its links lead where they led."""
    return markdown.replace("](../", "](../../")


def unexecuted(script: Path) -> nbformat.NotebookNode:
    """The notebook of a script, as it is before it runs."""
    notebook = jupytext.read(script)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    for number, cell in enumerate(notebook.cells, start=1):
        cell.id, cell.metadata = f"cell-{number:02}", nbformat.NotebookNode()
        if cell.cell_type == "markdown":
            cell.source = linked_from_here(cell.source)
    return notebook


def text_without(text: str, folders: dict[str, str]) -> str:
    """A printed text without what differs from run to run."""
    for folder, words in folders.items():
        text = text.replace(folder, words)
    text = TAKEN_OUT.sub("", text)
    for pattern, words in REPLACED:
        text = pattern.sub(words, text)
    return text


def cleaned(outputs: list[Any], folders: dict[str, str]) -> list[Any]:
    """Outputs of a cell in their order: pictures, and what was printed or shown as text between them."""
    kept, printed = [], ""
    for output in outputs:
        data = output.get("data", {})
        if "image/png" not in data:
            if output.output_type == "error":
                raise RuntimeError(output.evalue)
            printed += output.text if output.output_type == "stream" else "".join(data["text/plain"]) + "\n"
            continue
        kept += streamed(printed, folders)
        printed = ""
        words = {name: data[name] for name in ("text/plain", "image/png")}
        kept.append(nbformat.from_dict({**output, "data": words, "metadata": {}}))
    return [*kept, *streamed(printed, folders)]


def streamed(printed: str, folders: dict[str, str]) -> list[Any]:
    """The output of a printed text; none of an empty one."""
    text = re.sub(r"\n{3,}", "\n\n", text_without(printed, folders)).strip("\n")
    return [nbformat.v4.new_output("stream", name="stdout", text=text + "\n")] if text else []


def execute(script: Path) -> nbformat.NotebookNode:
    """Run a tutorial as a notebook, in an empty folder."""
    from nbclient import NotebookClient

    notebook = unexecuted(script)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        environment = {"TUTORIAL_OUTPUT": folder, "PYTHONPATH": str(ROOT), "HOME": home, "OMP_NUM_THREADS": "1"}
        os.environ |= environment  # the kernel inherits it
        NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": folder}}).execute()
        folders = {f"{folder}/": "", folder: "the folder", f"{ROOT}/": "", str(ROOT): "."}
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.metadata = nbformat.NotebookNode()  # times of execution
                cell.outputs = cleaned(cell.outputs, folders)
    notebook.metadata.language_info = nbformat.from_dict({"name": "python"})  # without the version
    nbformat.validate(notebook)
    return notebook


def main(names: list[str]) -> None:
    """Make the notebooks whose names begin with one of some names; all without any."""
    for script in sorted(HERE.parent.glob("*.py")):
        if not names or script.name.startswith(tuple(names)):
            nbformat.write(execute(script), HERE / f"{script.stem}.ipynb")
            print("made", f"{script.stem}.ipynb", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
