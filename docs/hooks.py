"""What the site's pages have that the files have not.

The commands' help, the tutorials' executed notebooks as pages, and no links to files that are no pages.
"""

from __future__ import annotations

import base64
import json
import posixpath
import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File
from typer.cli import get_docs_for_click

import rbc_marl.cli
from rbc_marl.cli.options import app

# A block of code, which stays as it is, or a link.
_LINK = re.compile(r"^(`{3,})[^\n]*\n.*?^\1$|(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)]*)?\)", re.MULTILINE | re.DOTALL)
_COLAB = "[open it in Colab](https://colab.research.google.com/github/{repository}/blob/main/tutorials/notebooks/{name}.ipynb)"
_NOTEBOOKS = Path(__file__).resolve().parents[1] / "tutorials" / "notebooks"


def on_files(files: Any, config: Any) -> Any:  # noqa: ANN401 - of MkDocs
    """Add a page for each tutorial, with its pictures, and the notebook to download."""
    for path in sorted(_NOTEBOOKS.glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        markdown, pictures = page_of(json.loads(text), path.stem, config.repo_url)
        generated = {f"{path.stem}.md": markdown, path.name: text, **pictures}
        for name, content in generated.items():
            files.append(File.generated(config, f"tutorials/{name}", content=content))
    return files


def page_of(notebook: dict[str, Any], name: str, repository: str | None) -> tuple[str, dict[str, bytes]]:
    """A notebook as a page in Markdown, and its pictures by the names that the page gives them.

    Args:
        notebook: As it stands in its file.
        name: Of the file, without its ending.
        repository: Address of the repository, for the link that opens the notebook in Colab; none without one.
    """
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            # Pages of tutorials stand in a folder of docs/, notebooks two folders away from it.
            parts.append(source.replace("](../../docs/", "](../"))
            continue
        parts.append(f"````python\n{source}\n````")
        for output in cell["outputs"]:
            data = output.get("data", {})
            words = "".join(output.get("text", data.get("text/plain", "")))
            if "image/png" in data:
                picture = f"{name}-{len(pictures) + 1}.png"
                pictures[picture] = base64.b64decode("".join(data["image/png"]))
                described = re.sub(r"[][\s]+", " ", words)
                parts.append(f"![{described}]({picture})")
            else:
                parts.append(f"````text\n{words.rstrip()}\n````")
    title, _, rest = "\n\n".join(parts).partition("\n")
    return f"{title}\n\n{opening(name, repository)}\n{rest}", pictures


def opening(name: str, repository: str | None) -> str:
    """The lines below a tutorial's title: where its notebook is."""
    download = f"[Download this notebook]({name}.ipynb)"
    if not repository:
        return download
    badge = _COLAB.format(repository=repository.rstrip("/").removeprefix("https://github.com/"), name=name)
    return f"{download} or {badge}. In Colab, run `%pip install 'rbc_marl[analysis] @ git+{repository}'` first."


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:  # noqa: ANN401 - of MkDocs
    """Change a page's Markdown before it is rendered."""
    if page.file.src_uri == "commands.md":
        command = typer.main.get_command(app)
        markdown += get_docs_for_click(obj=command, ctx=typer.Context(command), name="rbc-marl", title=" ")
    folder = posixpath.dirname(page.file.src_uri)

    def linked(match: re.Match[str]) -> str:
        """The link, or its words where it leads out of the site."""
        fence, words, target, place = match.groups()
        if fence:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        if "://" in target or files.get_file_from_path(path):
            return match[0]
        # Where MkDocs looks for pages there is no folder of scripts: a tutorial's page stands for its script.
        page = "tutorials/" + posixpath.basename(path).removesuffix(".py") + ".md"
        if "tutorials/" in path and files.get_file_from_path(page):
            return f"[{words}]({posixpath.relpath(page, folder or '.')}{place or ''})"
        return words

    return _LINK.sub(linked, markdown)


assert rbc_marl.cli.COMMANDS  # importing it has added them to the app
