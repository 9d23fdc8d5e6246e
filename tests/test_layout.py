"""What the package promises about its own shape: who imports whom, how long files are, what they name."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "rbc_marl"
# Left to right: a module imports only from its own part and from those to its left, not from others of its own group.
LAYERS = (
    ("errors",),
    ("yaml_loader",),
    ("files", "own_class", "settings"),
    ("memory", "own_code", "places", "presets", "processes", "provenance", "schema", "signatures"),
    ("mechanics",),
    ("config",),
    ("economy",),
    ("choices", "observations", "starts"),
    ("vector_env",),
    ("policies",),
    ("curriculum",),
    ("envs",),
    ("rbc_v0",),
    ("analysis",),
    ("rllib",),
    ("experiments",),
    ("equilibrium",),
    ("report",),
    ("benchmark",),
    ("adapters",),  # an old name, which only says the new one
    ("cli",),
)
RANKS = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
# The core: importable without any extra, and never the reason why Ray starts.
CORE = {part for part, rank in RANKS.items() if rank < RANKS["rllib"]}
# Third-party libraries that the economy may know.
ECONOMY_KNOWS = {"torch"}
OPTIONAL = {"ray", "pandas", "pyarrow", "matplotlib", "plotly"}
OPTIONAL |= {"optuna", "torchrl", "benchmarl", "stable_baselines3", "supersuit"}
MAX_LINES = 500
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".cfg", ".ipynb", ""}
FOLDERS = ("rbc_marl", "rllib_configs", "tests", "tutorials", "docs", ".ci")
# A path of one machine: a home, a temporary or a mounted folder, unless it is part of an address or of a longer path.
MACHINE_PATH = re.compile(r"(?<![\w.:~/-])/(?:home|root|Users|work|farm|tmp|opt|mnt)/[\w.]")


def part_of(path, package=PACKAGE):
    """The part of the package that a file belongs to; None for the package's own __init__ and __main__."""
    name = path.relative_to(package).parts[0].removesuffix(".py")
    return None if name in ("__init__", "__main__") else name


def imports(source, package):
    """Dotted names that a source file imports anywhere, functions and type-checking blocks included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], base]).strip(".")
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layering_problems(package=PACKAGE):
    problems = []
    for path in sorted(package.rglob("*.py")):
        part, where = part_of(path, package), path.relative_to(package).as_posix()
        if part is None:
            continue
        if part not in RANKS:
            problems.append(f"{where}: {part} has no place in LAYERS")
            continue
        dotted = ".".join(["rbc_marl", *path.relative_to(package).parts[:-1]])
        for name in imports(path.read_text(encoding="utf-8"), dotted):
            top, *rest = name.split(".")
            if top == "ray" and part in CORE:
                problems.append(f"{where} imports {name}: the core never imports Ray")
            if part == "economy" and top not in sys.stdlib_module_names | ECONOMY_KNOWS | {"rbc_marl"}:
                problems.append(f"{where} imports {name}: the economy knows torch and its configuration only")
            if top != "rbc_marl" or not rest or rest[0] == part:
                continue
            if RANKS.get(rest[0], len(LAYERS)) >= RANKS[part] and rest[0] != "__version__":
                problems.append(f"{where} imports {name}, which is not to its left")
    return problems


def text_files():
    own = [path for path in ROOT.iterdir() if path.name != ".git"]  # in a worktree it is a file
    paths = [*own, *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    return sorted(path for path in paths if path.is_file() and path.suffix in TEXT and ".coverage" not in path.name)


def test_a_module_imports_only_from_its_left():
    assert layering_problems() == []


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("economy/firms.py", "from rbc_marl.choices import decode"),
        ("economy/firms.py", "import gymnasium"),
        ("choices.py", "from rbc_marl.observations import observe"),
        ("policies/saved.py", "def f():\n    from ray.rllib.core import rl_module"),
        ("policies/saved.py", "from ..analysis import metrics"),
        ("analysis/plots.py", "from rbc_marl import cli"),
        ("novelty.py", ""),
    ],
)
def test_the_layering_rule_sees_an_import_from_the_right(tmp_path, where, source):
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert len(layering_problems(tmp_path)) == 1


@pytest.mark.parametrize(
    ("where", "source"),
    [
        ("economy/firms.py", "import math\nimport torch\nfrom rbc_marl import config\nfrom .state import Flows"),
        ("analysis/plots.py", "from rbc_marl.analysis.metrics import summarise\nfrom rbc_marl import policies"),
        ("__init__.py", "from rbc_marl.cli import main"),
    ],
)
def test_the_layering_rule_allows_imports_from_the_left(tmp_path, where, source):
    path = tmp_path / where
    path.parent.mkdir(exist_ok=True)
    path.write_text(source)
    assert layering_problems(tmp_path) == []


def test_importing_the_package_and_its_core_loads_no_extra():
    # The package itself imports the envs that need no extra.
    paths = sorted(path for path in PACKAGE.rglob("*.py") if part_of(path) in CORE - {"envs"})
    modules = [".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths]
    code = f"""import importlib, sys
for name in ["rbc_marl", *{modules!r}]:
    importlib.import_module(name)
print(*({OPTIONAL!r} & set(sys.modules)))"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_no_module_is_longer_than_500_lines():
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for folder in ("rbc_marl", "tests", "tutorials")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > MAX_LINES} == {}


def test_no_file_names_a_folder_of_one_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
        for path in text_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "is_one"), [("open('/ho" + "me/ann/x')", True), ("https://a.example/wo" + "rk/b", False)]
)
def test_a_path_of_one_machine_is_told_from_an_address(line, is_one):
    assert bool(MACHINE_PATH.search(line)) is is_one


def test_the_pins_name_no_address_and_no_local_version():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    assert [line for line in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
