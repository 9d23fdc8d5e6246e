"""The page of promises names tests that exist."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "promises.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)(?:::(\w+))?`")


def functions_of(path: Path) -> set[str]:
    """Names of a file's functions, also those of its classes."""
    return {node.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if hasattr(node, "name")}


def rows() -> list[str]:
    """Rows of the page's tables, without their heads."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    table = [line for line in lines if line.startswith("|")]
    heads = {line for line, below in itertools.pairwise(lines) if set(below) <= set("|- ") and below}
    return [line for line in table if line not in heads and not set(line) <= set("|- ")]


def test_each_row_names_a_test_that_exists() -> None:
    for row in rows():
        named = NAMED.findall(row)
        assert named, f"no test: {row}"
        for file, *names in named:
            assert (ROOT / file).is_file(), row
            assert {name for name in names if name} <= functions_of(ROOT / file), row


def test_a_missing_test_is_found() -> None:
    assert "test_a_missing_test_is_found" in functions_of(Path(__file__))
    assert "test_that_nobody_wrote" not in functions_of(Path(__file__))
    assert NAMED.findall("| a | b | `tests/test_promises.py::rows` |") == [("tests/test_promises.py", "rows", "")]
