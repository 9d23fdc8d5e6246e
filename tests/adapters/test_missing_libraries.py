"""What needs a library that is not there says which, and nothing else needs it."""

import importlib.util
import subprocess
import sys

import pytest

# Without any of these everything else works: the tests of the core run in an environment that has none.
ADAPTERS = {"rbc_marl.adapters.torchrl": "torchrl", "rbc_marl.adapters.benchmarl": "benchmarl"}
OPTIONAL = ("torchrl", "tensordict", "benchmarl", "stable_baselines3", "supersuit", "ray", "matplotlib")
DOORS = ("pettingzoo", "single_agent", "homogeneous", "registration", "game")


@pytest.mark.parametrize(("module", "library"), ADAPTERS.items())
def test_an_adapter_without_its_library_names_the_extra_that_installs_it(module, library):
    if importlib.util.find_spec(library) is not None:
        pytest.skip(f"{library} is installed")
    code = f"import {module}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.endswith(f"{library} is not installed; install it with: pip install 'rbc_marl[{library}]'")


def test_the_doors_of_the_core_import_no_library_that_is_optional():
    imports = "\n".join(f"import rbc_marl.adapters.{name}" for name in DOORS)
    code = f"import sys, rbc_marl\n{imports}\nprint(*(set({OPTIONAL!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
