"""Certificates: whoever has the policies can compute every number again, and nothing that was changed passes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rbc_marl import UserError, cli
from rbc_marl.analysis import certificates
from rbc_marl.analysis.certificates import Claim, verify
from rbc_marl.analysis.deviators import Deviator
from rbc_marl.analysis.gains import measure
from rbc_marl.policies.saved import load_policies
from rbc_marl.policies.trembles import Trembles
from tests.equilibrium.economies import SHOPS, plant

ROOT = Path(__file__).resolve().parents[2]
ECONOMY = SHOPS.replace(wage_choices=(0.0, 1.0), initial_consumer_budget=2500.0)
TREMBLES = Trembles(price=0.2)
PLANS = {
    Deviator("firm", 1): {
        "learned": {"kind": "learned", "weights": "weights/best.safetensors", "is_greedy": True},
        "constant": {"kind": "constant", "choice": [2]},
        "searched": {"kind": "rule", "name": "undercut by one step"},
    },
    Deviator("consumer", 2): {
        "constant": {"kind": "constant", "choice": [2, 2, 0, 0]},
        "searched": {"kind": "one-step", "values": [[1e-4], [1e-4], [0.0]]},
    },
    Deviator("government"): {
        "constant": {"kind": "constant", "choice": [3]},
        "searched": {"kind": "schedule", "choices": [[0], [1], [2]]},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a checkpoint and a certificate."""
    folder = tmp_path_factory.mktemp("made")
    checkpoint = folder / "run" / "checkpoint_000007"
    networks = plant(checkpoint, ECONOMY)
    (folder / "work" / "weights").mkdir(parents=True)
    save_file(networks["firm"].state_dict(), folder / "work" / "weights" / "best.safetensors")
    policies, gains = load_policies(checkpoint), []
    for deviator, plans in PLANS.items():
        deviations = {
            name: deviator.plays(plan, policies, networks["firm"] if plan["kind"] == "learned" else None)
            for name, plan in plans.items()
        }
        measured = measure(policies, deviator, deviations, 24, 11, TREMBLES)
        gains.append((deviator, {**measured, "plans": plans}))
    claim = Claim(checkpoint, "checkpoint_000007", policies.config, 24, 11, TREMBLES, gains)
    certificates.write(folder / "run" / "results", [claim], folder / "work")
    return folder / "run"


@pytest.fixture
def copied(made, tmp_path):
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def content_of(run):
    return json.loads((run / "results" / "certificate.json").read_text(encoding="utf-8"))


def put(run, content, renew=True):
    """Write a certificate, with its own hash made anew."""
    if renew:
        bare = {name: x for name, x in content.items() if name != "sha256"}
        content = {**bare, "sha256": certificates._digest(bare)}
    (run / "results" / "certificate.json").write_text(json.dumps(content), encoding="utf-8")


def numbers_in(content, place=()):
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from numbers_in(value, (*place, key))
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield place


def refusal(run, **options):
    with pytest.raises(UserError) as caught:
        verify(run / "results", log=lambda line: None, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_certificate_says_who_gains_what_and_by_what(made):
    (checkpoint,) = content_of(made)["checkpoints"]
    assert checkpoint["path"] == "../checkpoint_000007" and checkpoint["episodes"] == 24
    firm, consumer, government = checkpoint["agents"]
    assert (firm["agent_type"], firm["agent"], firm["found_by"]) == ("firm", 1, "constant")
    assert firm["lower"]["gain"] == firm["deviations"]["constant"]["gain"]["gain"] > 0.0
    assert firm["upper"] is None and government["upper"] is None
    assert 0.0 < consumer["lower"]["gain"] <= consumer["upper"]["gain"]
    assert firm["deviations"]["learned"]["trembles"]["low"] <= firm["deviations"]["learned"]["trembles"]["high"]
    names = {path.name for path in (made / "results" / "deviations").iterdir()}
    assert "checkpoint_000007-firm-1-learned.safetensors" in names and len(names) == 8
    assert {"torch", "python", "rbc_marl", "cpu"} == set(content_of(made)["versions"])


def test_what_was_computed_is_computed_again(made):
    said = []
    lines = verify(made / "results" / "certificate.json", log=said.append)
    assert len(said) == 3 and said[0].startswith("played again: firm 1 gains at least ")
    assert lines[-1].endswith("was computed again, within rounding") and lines[1].startswith("consumer 2 gains")
    assert ", at most " in lines[1] and ", at most " not in lines[0]


def test_any_number_that_was_changed_is_refused_also_with_a_hash_made_anew(copied, monkeypatch):
    whole = content_of(copied)
    places = list(numbers_in(whole["checkpoints"]))
    assert len(places) > 70
    # Played once for each setting; what is compared is compared for every number.
    computed = {}
    again = certificates._again

    def remembered(path, claim, *rest):
        agents = [(agent["agent_type"], agent["agent"]) for agent in claim["agents"]]
        key = json.dumps([claim["episodes"], claim["seed"], claim["trembles"], agents])
        if key not in computed:
            computed[key] = again(path, claim, *rest)
        return computed[key]

    monkeypatch.setattr(certificates, "_again", remembered)
    verify(copied / "results", log=lambda line: None)
    for place in places:
        content = json.loads(json.dumps(whole))
        holder = content["checkpoints"]
        for key in place[:-1]:
            holder = holder[key]
        changed = holder[place[-1]]
        holder[place[-1]] = changed + 1 if isinstance(changed, int) else changed * 1.001 + 1e-4
        put(copied, content, renew=False)
        assert "its sha256 is not that of its content" in refusal(copied)
        put(copied, content)
        message = refusal(copied)
        assert "computed again it is" in message or "what another agent does" in message, place


def test_seeds_and_deviations_that_were_exchanged_are_refused(copied):
    plan = copied / "results" / "deviations" / "checkpoint_000007-firm-1-constant.json"
    text = plan.read_text(encoding="utf-8")
    plan.write_text(text.replace("[2]", "[4]"), encoding="utf-8")
    assert refusal(copied).endswith("constant.json was changed: its sha256 is not the one in the certificate")
    content = content_of(copied)
    files = content["checkpoints"][0]["agents"][0]["deviations"]["constant"]["files"]
    files[plan.name] = certificates._hash_of(plan)
    put(copied, content)
    assert "deviations.constant.gain.gain is" in refusal(copied) or "lower.gain is" in refusal(copied)
    plan.unlink()
    assert refusal(copied).endswith("checkpoint_000007-firm-1-constant.json is missing")


def test_weights_that_were_exchanged_are_refused(copied):
    weights = copied / "results" / "deviations" / "checkpoint_000007-firm-1-learned.safetensors"
    content = content_of(copied)
    files = content["checkpoints"][0]["agents"][0]["deviations"]["learned"]["files"]
    save_file({"other": torch.zeros(2)}, weights)
    files[weights.name] = certificates._hash_of(weights)
    put(copied, content)
    assert "cannot be played" in refusal(copied)


def test_a_certificate_belongs_to_its_policies_wherever_they_are(copied, tmp_path):
    moved = shutil.move(copied / "checkpoint_000007", tmp_path / "elsewhere")
    assert "say where they are with --checkpoint" in refusal(copied)
    assert verify(copied / "results", Path(moved), log=lambda line: None)
    plant(tmp_path / "other", ECONOMY, tempted=2.0)
    message = refusal(copied, checkpoint=tmp_path / "other")
    assert "belongs to other policies than those in" in message and "policies.json differs" in message


@pytest.mark.parametrize("other", [{"torch": "2.0.0"}, {"cpu": "AVX512, another one"}, {"cpu": "AVX512"}])
def test_other_versions_and_cpus_agree_within_the_intervals_that_are_computed_here(copied, other):
    content = content_of(copied)
    content["versions"] |= other
    firm = content["checkpoints"][0]["agents"][0]
    half = (firm["lower"]["high"] - firm["lower"]["low"]) / 2
    assert half > 0.0
    for end in ("gain", "low", "high"):
        firm["lower"][end] += 0.5 * half
    put(copied, content)
    lines = verify(copied / "results", log=lambda line: None)
    assert lines[-1].endswith("within intervals, by other versions or another CPU than made it")
    firm["lower"]["gain"] += half
    put(copied, content)
    assert "lower.gain is" in refusal(copied)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is damaged: "),
        ("[]", "is damaged: it holds no mapping"),
        ("{}", "has format None; this version reads 1"),
        ('{"format_version": 1}', "is damaged: KeyError"),
    ],
)
def test_a_damaged_certificate_is_refused_in_one_line(copied, text, message, capsys):
    (copied / "results" / "certificate.json").write_text(text, encoding="utf-8")
    assert message in refusal(copied)
    with pytest.raises(SystemExit) as caught:
        cli.main(["verify", str(copied / "results")])
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count("\n")) == (2, "", 1)


def test_the_command_verifies_without_ray(made):
    code = """import sys
sys.modules["ray"] = None
from rbc_marl import cli
cli.main(["verify", sys.argv[1]])"""
    words = [sys.executable, "-c", code, str(made / "results")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("verified: every number of ")
