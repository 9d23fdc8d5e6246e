"""The wheel holds all that the package needs, away from the checkout and in an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rbc_marl.presets import zoo

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ROOT / "rllib_configs"

pytestmark = pytest.mark.long


def run(*words, cwd, **environment):
    """What a command prints, in a clean environment."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COVERAGE"))}
    kept |= {"HOME": str(cwd), "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run([*map(str, words)], cwd=cwd, env=kept, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment with the wheel, which borrows the libraries of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    binaries = folder / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", binaries / "python")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder)
    (packages,) = (folder / "venv").glob("lib/python*/site-packages")
    # A path in a .pth file is searched, but .pth files in it are not read: the checkout stays out of sight.
    borrowed = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    return binaries, packages


def test_the_package_is_imported_from_the_wheel_with_every_preset(installed, tmp_path):
    binaries, packages = installed
    code = "import rbc_marl; print(rbc_marl.__file__)"
    assert run(binaries / "python", "-c", code, cwd=tmp_path).strip() == str(packages / "rbc_marl" / "__init__.py")
    names = {path.relative_to(PRESETS) for path in PRESETS.rglob("*.yaml")}
    travelled = packages / "rbc_marl" / "rllib_configs"
    assert {path.relative_to(travelled) for path in travelled.rglob("*.yaml")} == names != set()
    assert all((travelled / name).read_text() == (PRESETS / name).read_text() for name in names)


def test_trained_policies_travel_in_the_wheel(installed, tmp_path):
    binaries, _ = installed
    code = "import rbc_marl; from rbc_marl.presets import zoo; print(*(name for name in zoo() if rbc_marl.load(name)))"
    assert run(binaries / "python", "-c", code, cwd=tmp_path).split() == sorted(zoo())


def test_the_command_is_there_and_lists_the_presets(installed, tmp_path):
    binaries, _ = installed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert run(binaries / "rbc-marl", "--version", cwd=tmp_path).strip() == f"rbc-marl {project['version']}"
    assert "train" in run(binaries / "rbc-marl", "--help", cwd=tmp_path)
    presets = run(binaries / "rbc-marl", "presets", cwd=tmp_path)
    assert "quickstart" in presets and "taxes" in presets


def test_gymnasium_makes_an_environment_of_the_wheel_without_importing_it(installed, tmp_path):
    binaries, _ = installed
    code = "import gymnasium; print(gymnasium.make('rbc_marl/Firm-v0').unwrapped.agent)"
    assert run(binaries / "python", "-W", "error", "-c", code, cwd=tmp_path).split() == ["firm_0"]
