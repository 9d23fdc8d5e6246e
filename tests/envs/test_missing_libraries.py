"""What needs a library that is not there says which, and nothing else needs it."""

import importlib.util
import subprocess
import sys

import pytest

# Without any of these everything else works: the tests of the core run in an environment that has none.
WRAPPERS = {"rbc_marl.envs.torchrl": "torchrl", "rbc_marl.envs.benchmarl": "benchmarl"}
OPTIONAL = ("torchrl", "tensordict", "benchmarl", "stable_baselines3", "supersuit", "ray", "matplotlib")
ENVIRONMENTS = ("pettingzoo", "gymnasium", "padded", "controlled")


def test_an_environment_without_its_library_names_the_extra_that_installs_it():
    missing = {module: library for module, library in WRAPPERS.items() if importlib.util.find_spec(library) is None}
    if not missing:
        pytest.skip("all of them are installed")
    code = f"""import importlib
for module in {list(missing)!r}:
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(error)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = [f"{one} is not installed; install it with: pip install 'rbc_marl[{one}]'" for one in missing.values()]
    assert done.stdout.splitlines() == expected


def test_the_environments_of_the_core_import_no_library_that_is_optional():
    imports = "\n".join(f"import rbc_marl.envs.{name}" for name in ENVIRONMENTS)
    code = f"import sys, rbc_marl\n{imports}\nprint(*(set({OPTIONAL!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
