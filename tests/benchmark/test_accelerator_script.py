"""The script for a machine with an accelerator, run where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / ".ci" / "accelerator"


def run(*words, **environment):
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run([SCRIPT, *words], env=environment, capture_output=True, text=True, check=False)


def test_an_unknown_option_is_refused_with_those_there_are():
    done = run("--gpu", "1")
    assert done.returncode == 2
    assert done.stderr == (
        'there is no option "--gpu"; there are --device, --out, --wheels, --seconds and --only\n'
    )


def test_it_knows_every_package_that_the_project_needs():
    """Those of pyproject.toml, of RLlib's extra, and what the tests import."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    script = SCRIPT.read_text(encoding="utf-8")
    for requirement in [*project["dependencies"], *project["optional-dependencies"]["rllib"]]:
        name = requirement.split(">")[0].split("=")[0]
        assert f"{name}:" in script or f'"{requirement}:' in script, requirement


@pytest.mark.long
def test_it_writes_one_table_also_without_an_accelerator(tmp_path):
    done = run("--device", "cpu", "--only", "economy", "--seconds", "400", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert record["economy"]["ratio_to_scalar"]["128"] > 0 and record["failed"] == []
    table = (tmp_path / "bench.md").read_text(encoding="utf-8")
    assert "| economy | 128 economies |" in table and "- pytest -m gpu: " in table and "skipped" in table


@pytest.mark.long
def test_without_an_accelerator_it_says_so(tmp_path):
    done = run("--only", "economy", "--seconds", "400", "--out", str(tmp_path), CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "rbc-marl: device is cuda, and this machine has 0 of them; take cpu" in done.stderr
