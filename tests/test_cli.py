"""The command works from a shell: what it prints, what it leaves, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from rbc_marl import cli
from rbc_marl.errors import LostProcessError

ROOT = Path(__file__).parents[1]

FILE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 2}
  report: false
  config:
    env_config: {num_consumers: 3, num_firms: 2, horizon: 3}
    num_envs_per_env_runner: 2
    networks: {consumer: {kind: flat, hidden: [8]}}
"""


LONG = "a" * 5000


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(FILE, encoding="utf-8")
    return tmp_path


def start(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "rbc_marl.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=environment, **pipes, **options)


def run(*arguments):
    process = start(*arguments)
    out, err = process.communicate(timeout=1200)
    return process.returncode, out, err


def in_process(capsys, *arguments):
    """The command without the seconds that a new process takes to import everything."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def refusal(capsys, *arguments):
    status, out, err = in_process(capsys, *arguments)
    assert status == 2
    assert out == ""
    assert err.startswith("rbc-marl: ")
    assert err.count("\n") == 1
    return err.removeprefix("rbc-marl: ").strip()


def test_help_lists_the_commands_without_importing_ray_or_torch():
    code = """
    import sys
    from rbc_marl import cli
    try:
        cli.main(["--help"])
    except SystemExit as end:
        assert end.code == 0
    heavy = {"ray", "torch", "pettingzoo", "pandas"} & set(sys.modules)
    assert not heavy, heavy
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for command in ("train", "evaluate", "check", "presets", "schema", "bench"):
        assert f"\n  {command} " in done.stdout


def test_the_version_is_printed(capsys):
    status, out, _ = in_process(capsys, "--version")
    assert status == 0
    assert out.startswith("rbc-marl 0.")


@pytest.mark.parametrize("command", ["train", "evaluate", "check", "presets", "schema", "bench"])
def test_every_command_explains_itself(capsys, command):
    status, out, _ = in_process(capsys, command, "--help")
    assert status == 0
    assert f"rbc-marl {command}" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "No such command 'trian'"),
        (["train"], "Missing argument 'FILE'"),
        (["train", "tiny.yaml", "--foo"], "No such option: --foo"),
        (["train", "nothing.yaml"], "nothing.yaml does not exist; give the path of a YAML or a Python file"),
        (["train", "."], ". does not exist"),
        (
            ["train", "quikstart"],
            "quikstart does not exist; give the path of a YAML or a Python file, or the name of a",
        ),
        (["sweep", "taxs"], "taxs does not exist; give the path of a YAML file, or the name of a sweep (rbc-marl pre"),
        (["scenario", "export_bann"], "export_bann does not exist; give the path of a YAML file, or the name of a sc"),
        (["scenario", "quickstart"], "quickstart is the name of a preset; rbc-marl train quickstart runs it"),
        (["check", "export_ban"], "export_ban is the name of a scenario; rbc-marl scenario export_ban runs it"),
        (["train", "taxes"], "taxes is the name of a sweep; rbc-marl sweep taxes runs it"),
        (["schema", "sweeps"], "Invalid value for 'KIND'"),
        (
            ["train", "tiny.yaml", "--set", "lr_shedule=1"],
            'tiny.config.lr_shedule is not a setting of EconomyPPO; did you mean "lr"?',
        ),
        (
            ["train", "tiny.yaml", "--set", "env_config.export_quota=-5"],
            "tiny.config.env_config.export_quota is -5; it must be ",
        ),
        (
            ["train", "tiny.yaml", "--stop", "{hours: 3}"],
            'tiny.stop.hours is not a result of a run; did you mean "env_runners/hours"?',
        ),
        (["train", "tiny.yaml", "--checkpoint-freq", "-1"], "tiny.checkpoint_config.checkpoint_frequency is -1"),
        (
            ["train", "tiny.yaml", "--experiment", "tny"],
            'tiny.yaml has no experiment "tny"; it has tiny; did you mean "tiny"?',
        ),
        (["train", "tiny.yaml", "--resume"], "results/tiny holds no run to resume; leave out --resume to begin one"),
        (["check", "tiny.yaml", "--set", "run=EconomyPP"], "tiny.run is 'EconomyPP', which is not an algorithm"),
        (["evaluate", "nothing"], "nothing does not exist; give the folder of a checkpoint or of a run"),
        (["evaluate", "."], ". holds no policies"),
        (["evaluate", ".", "--episodes", "0"], "Invalid value for '--episodes'"),
        (["evaluate", ".", "--out", "no/such/folder.parquet"], "no/such is not a folder"),
        (["compare", "open_rbc"], "one economy cannot be compared; give another policy, or the same with something"),
        (["compare", "open_rbc", "open_rbc"], "open_rbc stands twice; give what differs, such as open_rbc,income_tax"),
        (["compare", "open_rbc", "open_rbc,income_tax=0.3"], "income_tax is 0.3; it must be 0.0, 0.2, 0.4, 0.6, 0.8"),
        (["compare", "open_rbc", "open_rbc,incom_tax=0.2"], '"incom_tax" is neither what can be imposed nor a'),
        (
            ["compare", "open_rbc", "open_rbc,wage_tax={kind: brackets, factors: [0, x]}"],
            "economy.wage_tax.factors.1 is 'x'; it",
        ),
        (["compare", "a", "b", "--out", "x.xlsx"], "x.xlsx does not end in .csv, .tex, .json, .png, .pdf or .svg"),
        (["compare", "a", "b", "--out", "no/such/x.tex"], "no/such is not a folder; make it first, or write elsewhere"),
        (["evaluate", "open_rbc", "--fix", "wage=12"], "wage is 12.0; it must be 0.0, 11.0, 22.0, 33.0 or 44.0"),
        *(
            ([*words, "memory://x/y.csv"], f"{where} is 'memory://x/y.csv'; it must be a path, or begin with file://")
            for where, *words in (
                ("--out", "sweep", "taxes", "--dry-run", "--out"),
                ("--out", "best-response", "open_rbc", "--out"),
                ("--out", "report", "open_rbc", "--out"),
                ("--out", "evaluate", "open_rbc", "--out"),
                ("--out", "compare", "open_rbc", "quickstart", "--out"),
                ("the path", "evaluate"),
            )
        ),
        (["evaluate", ".", "--out", "x.json"], "x.json does not end in .parquet, .csv, .png, .pdf or .svg; call it x."),
    ],
)
def test_an_error_is_one_line_with_the_mend_and_leaves_nothing(capsys, in_empty_folder, arguments, message):
    assert refusal(capsys, *arguments).startswith(message)
    assert [path.name for path in in_empty_folder.iterdir()] == ["tiny.yaml"]


def test_a_run_that_lost_a_process_says_the_command_that_goes_on(capsys, in_empty_folder, monkeypatch):
    def lose(*args, **kwargs):
        raise LostProcessError("1 of 2 learners is lost")

    monkeypatch.setattr("rbc_marl.experiments.run.train", lose)
    status, out, err = in_process(capsys, "train", "tiny.yaml")
    assert status == 2 and err == "rbc-marl: 1 of 2 learners is lost\n"
    assert out.splitlines()[-1] == "next: rbc-marl train tiny.yaml --resume"


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate", LONG],
        ["report", LONG],
        ["verify", LONG],
        ["compare", LONG, "quickstart"],
        ["best-response", LONG],
        ["check", LONG],
        ["sweep", LONG],
        ["train", LONG],
        ["evaluate", "quickstart", "--out", f"{LONG}.png"],
        ["report", "quickstart", "--out", LONG],
    ],
    ids=lambda arguments: " ".join(arguments).replace(LONG, "LONG"),
)
def test_a_name_too_long_for_a_file_is_said_in_a_line(capsys, arguments):
    status, _, err = in_process(capsys, *arguments)
    assert status == 2 and len(err.splitlines()) == 1
    assert "Error" not in err and ("too long" in err or "does not exist" in err)


def test_debug_shows_the_traceback_wherever_it_stands(capsys):
    with pytest.raises(cli.UserError):
        cli.main(["train", "nothing.yaml", "--debug"])
    with pytest.raises(cli.UserError):
        cli.main(["--debug", "train", "nothing.yaml"])


def test_check_says_what_would_run_and_runs_nothing(capsys, in_empty_folder):
    status, out, _ = in_process(capsys, "check", "tiny.yaml", "--set", "lr={grid_search: [1e-3, 1e-2]}")
    assert status == 0
    memory, time = [line for line in out.splitlines() if line.startswith(("  memory: ", "  time: "))]
    assert re.fullmatch(r"  memory: about 5\d\d MB in the process that learns \(economies .*, networks .*\)", memory)
    assert re.fullmatch(r"  time: about .* an iteration, about .* in all \(one was tried out on this .*\)", time)
    assert [line for line in out.splitlines() if line not in (memory, time)] == [
        "tiny: EconomyPPO on rbc_open",
        "  economy: open, 3 consumers, 2 firms, 1 government, 3 periods an episode",
        "  stops at: training_iteration 2",
        "  an iteration: 6 env steps from 2 environments, sampled in this process",
        "  checkpoints: at the end, all kept",
        "  searches: lr over grid_search [0.001, 0.01]",
        "  seed: 0",
        "  results: results/tiny",
        "next: rbc-marl train tiny.yaml --set 'lr={grid_search: [1e-3, 1e-2]}'",
    ]
    assert [path.name for path in in_empty_folder.iterdir()] == ["tiny.yaml"]


def test_check_says_which_numbers_of_the_economy_move_and_where_they_end(capsys, in_empty_folder):
    courses = "{export_quota: {from: 100, to: 0, begin: 3, end: 5}, crra: {from: 0.5, end: 4}}"
    status, out, _ = in_process(capsys, "check", "tiny.yaml", "--set", f"curriculum={{economy: {courses}}}")
    assert status == 0
    quota = "export_quota from 100 to 0 between iterations 3 and 5; policies are evaluated and saved with 100"
    lines = out.splitlines()
    assert f"  curriculum: {quota}" in lines
    assert "  curriculum: crra from 0.5 to 0.1 between iterations 0 and 4" in lines


def test_check_has_a_word_for_numbers_that_are_seldom_meant(capsys, in_empty_folder):
    sets = ["--set", "env_config.interest_rate=5", "--set", "env_config.crra=2", "--set", "num_learners=1"]
    status, out, _ = in_process(capsys, "check", "tiny.yaml", *sets)
    notes = [line for line in out.splitlines() if line.startswith("  note: ")]
    assert status == 0 and "  time: " not in out  # of several processes none is tried out
    assert notes[0] == "  note: interest_rate is 5, so that savings grow by 500% each period; 5% is 0.05"
    assert notes[1].startswith("  note: 1040 hours at a wage of 22 buy goods worth 1.77 of utility at a price of 1500")
    assert "work brings consumers next to nothing" in notes[1] and len(notes) == 2


def test_check_plays_an_economy_and_says_what_a_part_breaks(capsys, in_empty_folder):
    sets = ["--set", "env_config.utility=ghh", "--set", "env_config.wage_tax={kind: brackets, thresholds: [9000]}"]
    status, out, _ = in_process(capsys, "check", "tiny.yaml", "--economy", *sets)
    assert status == 0 and "  parts: utility ghh, wage_tax brackets\n" in out
    assert "  books: every identity holds when agents do nothing, everything, one employer, random" in out
    assert "  work: 1040 hours at a wage of 22 buy goods worth " in out
    source = (ROOT / "tests" / "economy" / "own_parts.py").read_text(encoding="utf-8")
    (in_empty_folder / "parts_of_a_check.py").write_text(source, encoding="utf-8")
    message = refusal(
        capsys, "check", "tiny.yaml", "--economy", "--set", "env_config.transfers=parts_of_a_check.Leaky",
        "--set", "env_config.initial_wage=11",
    )  # fmt: skip
    found = r"the economy does not keep its books: .*the identity taxes is off by: -[\d.e+]+ of money in period 2"
    assert re.match(found, message) and message.endswith("look at transfers parts_of_a_check:Leaky")


def test_the_economies_of_others_have_no_books(capsys, in_empty_folder):
    (in_empty_folder / "cart.yaml").write_text("cart: {run: PPO, env: CartPole-v1, stop: {training_iteration: 1}}")
    assert "cart.env is CartPole-v1, which is no economy" in refusal(capsys, "check", "cart.yaml", "--economy")


def test_check_says_whose_code_a_file_runs(capsys, in_empty_folder):
    (in_empty_folder / "checked_by_name.py").write_text(OWN_CURRICULUM, encoding="utf-8")
    status, out, _ = in_process(capsys, "check", "tiny.yaml", "--set", "curriculum=checked_by_name.Late")
    assert status == 0
    assert f"  runs code of: checked_by_name ({in_empty_folder / 'checked_by_name.py'})" in out.splitlines()
    status, out, _ = in_process(capsys, "check", "tiny.yaml", "--set", "env_config.start=starts.safetensors")
    assert "runs code of" not in out  # a file of states is no class of a module


@pytest.mark.parametrize("named", ["os.abort", "signal.pause", "http.server.test"])
@pytest.mark.parametrize("command", ["check", "train"])
def test_what_a_file_names_is_looked_at_before_it_is_called(capsys, in_empty_folder, command, named):
    text = FILE.rstrip() + f"\n    curriculum: {named}\n"
    (in_empty_folder / "named.yaml").write_text(text, encoding="utf-8")
    message = refusal(capsys, command, "named.yaml")
    assert message.startswith(f'tiny.config.curriculum is "{named}", which is not a curriculum')
    assert message.endswith("(line 11 of named.yaml)")


def test_presets_are_listed_checked_by_name_and_copied_once(capsys, in_empty_folder):
    status, out, _ = in_process(capsys, "presets")
    assert status == 0
    assert "  quickstart " in out and "  taxes " in out
    assert out.splitlines()[-1] == "next: rbc-marl train quickstart"
    status, out, _ = in_process(capsys, "check", "small")
    assert status == 0 and out.startswith("small: EconomyPPO on rbc_open\n")
    assert out.splitlines()[-1] == "next: rbc-marl train small"
    status, out, _ = in_process(capsys, "presets", "--copy", "mine")
    assert status == 0 and out.splitlines()[-1] == "next: rbc-marl check mine/quickstart.yaml"
    assert (in_empty_folder / "mine" / "sweeps" / "taxes.yaml").is_file()
    assert in_process(capsys, "check", "mine/open_rbc.yaml")[0] == 0
    twice = refusal(capsys, "presets", "--copy", "mine")
    assert "exists already; give another folder, or --force to write over it" in twice
    assert in_process(capsys, "presets", "--copy", "mine", "--force")[0] == 0


def test_a_schema_is_printed_as_json(capsys):
    status, out, _ = in_process(capsys, "schema")
    assert status == 0
    assert json.loads(out)["title"] == "Experiments of rbc-marl"


@pytest.mark.slow
def test_train_and_evaluate_end_with_what_to_run_next():
    status, out, err = run("train", "tiny.yaml", "--keep-checkpoints-num", "1", "--set", "report=true")
    assert (status, err) == (0, "")
    *_, results, checkpoint, picture, report, following = out.splitlines()
    folder = results.removeprefix("results: ").split(" ")[0]
    assert checkpoint == f"checkpoint: {folder}/checkpoint_000002"
    assert picture == f"picture: {folder}/economy.png" and Path(folder, "economy.png").stat().st_size > 5000
    assert report == f"report: {folder}/report/report.html" and Path(folder, "report", "report.html").is_file()
    assert {"README.txt", "metrics.json"} <= {path.name for path in Path(folder).iterdir()}
    assert following == f"next: rbc-marl evaluate {folder}"
    assert "iteration 2/2" in out

    status, out, err = run("evaluate", folder, "--episodes", "5", "--json")
    assert (status, err) == (0, "")
    evaluation = json.loads(out)
    promised = "hours consumption output exports price wage income_tax corporate_tax consumer_return firm_return"
    assert {*promised.split(), "welfare_consumers", "welfare_total", "collapsed"} <= set(evaluation)
    assert evaluation["episodes"] == 5

    status, out, err = run("evaluate", folder, "--episodes", "5", "--set", "consumer_grant=500", "--json")
    assert (status, err) == (0, "")
    richer = json.loads(out)
    assert richer["economy"] == {"consumer_grant": 500} and evaluation["economy"] == {}
    assert richer["consumption"] > evaluation["consumption"]

    status, out, err = run("evaluate", folder, "--greedy", "--out", "periods.parquet")
    assert (status, err) == (0, "")
    assert "1 episode, greedy play" in out
    assert out.endswith("table: periods.parquet (a row per period)\n")
    assert Path("periods.parquet").stat().st_size > 0


@pytest.mark.long
def test_two_experiments_run_in_the_files_order(in_empty_folder):
    (in_empty_folder / "two.yaml").write_text(FILE + FILE.replace("tiny", "other"), encoding="utf-8")
    status, out, err = run("train", "two.yaml", "--stop", "{training_iteration: 1}")
    assert (status, err) == (0, "")
    assert out.startswith("two.yaml holds tiny, other: they run in this order (--experiment NAME runs one)\n")
    assert out.count("finished after 1 iterations") == 2
    assert sorted(path.name for path in Path("results").iterdir()) == ["other", "tiny"]
    status, out, err = run("train", "two.yaml", "--resume")
    assert (status, out) == (2, "")
    assert err == "rbc-marl: two.yaml holds tiny, other; say which one to resume: --experiment NAME\n"


@pytest.mark.long
@pytest.mark.parametrize(("number", "status", "to_group"), [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, False)])
def test_an_interrupted_run_prints_the_command_that_resumes_it(number, status, to_group):
    process = start("train", "tiny.yaml", "--set", "stop.training_iteration=100000", start_new_session=True)
    deadline = time.monotonic() + 120
    while not (tables := list(Path("results").glob("tiny/*/progress.csv"))) and time.monotonic() < deadline:
        time.sleep(0.1)
    # A terminal sends Ctrl-C to Ray's processes too; `kill` reaches the command alone.
    (os.killpg if to_group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=1200)
    assert (process.returncode, err) == (status, "")
    *_, checkpoint, following = out.splitlines()
    assert following == "next: rbc-marl train tiny.yaml --resume"
    reached = int(checkpoint.rpartition("_")[2])
    assert Path(checkpoint.removeprefix("checkpoint: "), "policies.json").is_file()

    status, out, err = run("train", "tiny.yaml", "--resume", "--set", f"stop.training_iteration={reached + 2}")
    assert (status, err) == (0, "")
    assert out.startswith(f"resuming {tables[0].parent}, with the settings it began with\n")
    assert f"finished after {reached + 2} iterations" in out


@pytest.mark.long
def test_search_spaces_in_a_file_make_a_sweep_that_goes_on_where_it_stopped():
    status, out, err = run("train", "tiny.yaml", "--set", "lr={grid_search: [1e-3, 1e-2]}")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    (folder,) = Path("results/tiny").glob("*_sweep")
    assert lines[-2] == f"results: {folder} (summary.md; tables as .csv and .parquet; figures; runs/)"
    assert lines[-1] == f"next: rbc-marl evaluate {folder}/runs/lr=0.001-0/tiny"
    assert sum(line.startswith(("1/2  lr=0.0", "2/2  lr=0.0")) for line in lines) == 2
    (folder / "rows" / "lr=0.01-0.json").unlink()
    status, out, err = run("train", "tiny.yaml", "--set", "lr={grid_search: [1e-3, 1e-2]}", "--resume")
    assert (status, err) == (0, "")
    assert out.startswith(f"resuming {folder}, with the settings it began with\n1 of 2 runs are done")
    assert sorted(path.name for path in Path("results/tiny").iterdir()) == [folder.name]


OWN_CURRICULUM = """
from rbc_marl.curriculum import Phase


class Late:
    def phase(self, iteration):
        return Phase(learning=frozenset({"firm"}))
"""

OWN_CALLBACK = """
from ray.rllib.callbacks.callbacks import RLlibCallback


class Mine(RLlibCallback):
    def on_sample_end(self, *, env_runner, metrics_logger, samples, **kwargs):
        metrics_logger.log_value("worker_of_mine", env_runner.worker_index, window=1)
"""


@pytest.mark.long
def test_classes_of_ones_own_are_found_by_the_console_script_and_by_its_processes(in_empty_folder):
    """As from a console script, Python puts no folder of the user on its path (PYTHONSAFEPATH)."""
    beside, work = in_empty_folder / "beside", in_empty_folder / "work"
    for folder in (beside, work):
        folder.mkdir()
    settings = "curriculum: late.Late\n    callbacks: mine.Mine\n    num_env_runners: 1"
    (beside / "own.yaml").write_text(f"{FILE.rstrip()}\n    {settings}\n", encoding="utf-8")
    (beside / "mine.py").write_text(OWN_CALLBACK, encoding="utf-8")
    (work / "late.py").write_text(OWN_CURRICULUM, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}

    def typed(*arguments):
        code = f"from rbc_marl.cli import main; main({list(arguments)!r})"
        command = [sys.executable, "-c", code]
        return subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=1200)

    assert typed("check", "../beside/own.yaml").returncode == 0
    done = typed("train", "../beside/own.yaml", "--stop", "{training_iteration: 1}")
    assert done.returncode == 0, done.stderr
    (result,) = (work / "results" / "tiny").glob("*/result.json")
    assert json.loads(result.read_text(encoding="utf-8"))["env_runners/worker_of_mine"] == 1
