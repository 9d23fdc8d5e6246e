"""What the site's pages have that the files have not: the commands' help, and no links to files that are no pages."""

from __future__ import annotations

import posixpath
import re
from typing import Any

import typer
from typer.cli import get_docs_for_click

import rbc_marl.cli
from rbc_marl.cli.options import app

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:  # noqa: ANN401 - of MkDocs
    """Change a page's Markdown before it is rendered."""
    if page.file.src_uri == "commands.md":
        command = typer.main.get_command(app)
        markdown += get_docs_for_click(obj=command, ctx=typer.Context(command), name="rbc-marl", title=" ")
    folder = posixpath.dirname(page.file.src_uri)

    def linked(match: re.Match[str]) -> str:
        """The link, or its words where it leads out of the site."""
        words, target, _ = match.groups()
        inside = "://" in target or files.get_file_from_path(posixpath.normpath(posixpath.join(folder, target)))
        return match[0] if inside else words

    return _LINK.sub(linked, markdown)


assert rbc_marl.cli.COMMANDS  # importing it has added them to the app
