"""The guides keep their word: their files are what their first line says, and their commands run on them.

A block of Python or YAML that begins with a comment such as ``# mine.yaml`` is saved under that name beside the
commands. Other blocks of Python run as they stand. Commands are shortened as those of the README, but for `sweep`,
which really reads its file and says what would run.
"""

from __future__ import annotations

import re
import sys

import pytest

from tests.test_readme import COMMAND, ROOT, blocks, run, run_bash
from tests.test_readme import here as here  # a fixture

PAGES = ("curricula", "taxes", "networks", "own_economy", "shocks", "textbook", "reforms", "families", "calibration")
PAGES += ("scenarios/README",)


def saved(page):
    """Blocks of a page that are files, by name."""
    texts = blocks((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    names = ((re.match(r"# (\w+\.(?:py|yaml))\n", text), text) for language, text in texts if language != "bash")
    return {match[1]: text for match, text in names if match}


@pytest.fixture
def desk(here):
    script = here.parent / "bin" / "rbc-marl"
    shortened = COMMAND.replace('sweep) test -f "$2" && set -- "$@" --help ;;', 'sweep) set -- "$@" --dry-run ;;')
    assert shortened != COMMAND
    script.write_text(shortened, encoding="utf-8")
    return here


@pytest.mark.parametrize("page", PAGES)
def test_a_guide_has_files_and_commands_and_every_file_is_used(page):
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    names = saved(page)
    assert names and "```bash" in text
    for name in names:
        assert text.count(name.removesuffix(".py")) >= 2, name


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_guide_run_one_after_another(page, desk):
    files = saved(page)
    for name, text in files.items():
        (desk / name).write_text(text, encoding="utf-8")
    for language, code in blocks((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")):
        if code in files.values() or language not in ("bash", "python"):
            continue
        status, out, err = run_bash(code, desk) if language == "bash" else run([sys.executable, "-c", code], desk)
        assert status == 0 and out, f"{code}\n{out}\n{err}"
