"""Networks of one's own: what they may be, and what saved policies that name one need to load."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rbc_marl import ConfigError, EconomyConfig, UserError, own_class
from rbc_marl.config import AGENT_TYPES
from rbc_marl.policies.build import NetworkSpec, build_network
from rbc_marl.policies.networks import PolicyNetwork
from rbc_marl.policies.saved import load_policies, save_policies
from tests.policies import small_network
from tests.policies.small_network import TanhNetwork

CONFIG = EconomyConfig(num_consumers=3, num_firms=2, horizon=2)
OWN = "tests.policies.small_network"
SOURCE = Path(small_network.__file__)


class Unmasked(TanhNetwork):
    def logits(self, features):
        return self.action_head(features)


class Narrow(TanhNetwork):
    def logits(self, features):
        return super().logits(features)[..., :-1]


class Failing(TanhNetwork):
    def features(self, shared, private):
        raise RuntimeError("no such layer\nand more")


class Earlier(TanhNetwork):
    """Reads the private part as it is."""

    def written_out(self, private):
        return private


class Takes(PolicyNetwork):
    def __init__(self, config, agent_type, encoding, sizes, **settings):
        super().__init__(config, agent_type, encoding, sizes)


def observation(rows=4):
    generator = torch.Generator().manual_seed(1)
    sizes = {t: build_network(CONFIG, t) for t in AGENT_TYPES}
    shared = torch.rand(rows, sizes["firm"].shared_size, generator=generator)
    private = {t: torch.rand(rows, CONFIG.agents(t), sizes[t].seen_size, generator=generator) for t in AGENT_TYPES}
    return {"global": shared, **private}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The network in a module of a working folder, as a user has it: importable, not installed, not of these tests."""
    name = "my_networks_of_a_test"
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / f"{name}.py").write_text(SOURCE.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "work")
    importlib.invalidate_caches()
    yield importlib.import_module(name)
    for loaded in [n for n in sys.modules if n == name or n.startswith("_copy_")]:
        del sys.modules[loaded]
        own_class._COPIES.pop(loaded, None)


@pytest.fixture
def checkpoint(module, tmp_path):
    """Policies whose consumers have a network of that module."""
    specs = {"consumer": {"kind": module.TanhNetwork, "width": 5}, "firm": "flat", "government": "flat"}
    networks = {t: build_network(CONFIG, t, "symlog", specs[t]) for t in AGENT_TYPES}
    save_policies(tmp_path / "saved", CONFIG, "symlog", networks, specs)
    return tmp_path / "saved", networks["consumer"]


def forget(module, monkeypatch):
    """As in a process that never saw the module's folder."""
    elsewhere = [entry for entry in sys.path if not (Path(entry) / "my_networks_of_a_test.py").exists()]
    monkeypatch.setattr(sys, "path", elsewhere)
    del sys.modules[module.__name__]
    importlib.invalidate_caches()


@pytest.mark.parametrize(
    "spec",
    [TanhNetwork, f"{OWN}.TanhNetwork", f"{OWN}:TanhNetwork", {"kind": TanhNetwork}, {"kind": f"{OWN}.TanhNetwork"}],
)
def test_a_class_is_named_by_itself_or_by_its_path(spec):
    described = NetworkSpec.of(spec)
    assert described.kind is TanhNetwork and described == NetworkSpec.of(TanhNetwork)
    assert described.model_dump(mode="json") == {"kind": f"{OWN}:TanhNetwork"}
    assert NetworkSpec.of(described.model_dump()) == described
    assert pickle.loads(pickle.dumps(described)) == described


def test_settings_beside_the_kind_reach_the_class():
    spec = NetworkSpec.of({"kind": TanhNetwork, "width": 6})
    for agent_type in AGENT_TYPES:
        network = build_network(CONFIG, agent_type, "symlog", spec)
        assert network.body.out_features == 6 and not network.log_mask.any()
    assert NetworkSpec.of({"kind": Takes, "anything": [1, 2]}).settings == {"anything": [1, 2]}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"kind": TanhNetwork, "widht": 6}, r'network.widht is not a setting of TanhNetwork; did you mean "width"'),
        ({"kind": TanhNetwork, "width": object()}, r"network: what stands beside TanhNetwork must be plain data"),
        ("os.abort", r"network is 'os.abort'; it must be flat or equivariant, or .*; is not a subclass"),
        ("pathlib.Path", r"network is 'pathlib.Path'; .* is not a subclass of PolicyNetwork"),
        ("no_such_module.Net", r"network is 'no_such_module.Net'; .*cannot be imported"),
        (torch.nn.Linear, r"network is <class .*it must be flat or equivariant"),
        ({"kind": "flat", "settings": {"a": 1}}, r"network.settings are for a class of one's own"),
        (type("Net", (TanhNetwork,), {"__qualname__": "f.<locals>.Net"}), r"it must be at the top of a module"),
    ],
)
def test_what_is_no_network_of_ones_own_is_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        NetworkSpec.of(spec)


@pytest.mark.parametrize(
    ("own", "message"),
    [
        (Unmasked, "networks.firm: Unmasked ignores its mask, which curricula need; add self.log_mask to the logits"),
        (Narrow, r"networks.firm: Narrow gives logits of shape \(2, 2, 29\); for 2 rows of 2 agents give \(2, 2, 30\)"),
        (Failing, "networks.firm: Failing cannot be made and run: RuntimeError: no such layer$"),
        (Earlier, r"shapes cannot be multiplied .*; self\.written_out\(private\) has the private_size columns"),
        (Takes, "networks.firm: Takes cannot be made and run: NotImplementedError"),
    ],
)
def test_a_network_that_does_not_do_what_one_must_is_refused_when_it_is_made(own, message):
    with pytest.raises(ConfigError, match=message):
        build_network(CONFIG, "firm", "symlog", own)


def test_code_of_a_working_folder_runs_only_for_who_trusts_it(checkpoint):
    folder, network = checkpoint
    index = json.loads((folder / "policies.json").read_text(encoding="utf-8"))
    assert index["networks"]["consumer"] == {"kind": "my_networks_of_a_test:TanhNetwork", "width": 5}
    copies = list((folder / "policies" / "source").iterdir())
    assert [copy.name for copy in copies] == ["my_networks_of_a_test.py"]
    assert copies[0].read_text(encoding="utf-8") == SOURCE.read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"networks.consumer.kind: my_networks_of_a_test:TanhNetwork is code .*--trust"):
        load_policies(folder)
    policies = load_policies(folder, trust=True)
    assert type(policies.networks["consumer"]) is type(network)  # the module is as it was: the program's own class
    assert torch.equal(policies.networks["consumer"].body.weight, network.body.weight)


def test_the_copy_runs_where_the_module_is_not_to_be_found(checkpoint, module, monkeypatch):
    folder, network = checkpoint
    forget(module, monkeypatch)
    path = list(sys.path)
    with pytest.raises(UserError, match="--trust"):
        load_policies(folder)
    assert not any(name.startswith("_copy_") for name in sys.modules)  # nothing has run
    policies = load_policies(folder, trust=True)
    assert sys.path == path and module.__name__ not in sys.modules
    expected = network.logits(network.features(*(observation()[part] for part in ("global", "consumer"))))
    assert torch.equal(policies.logits(observation())["consumer"], expected)


def test_the_copy_runs_where_the_module_has_changed_since(checkpoint, module):
    folder, network = checkpoint
    path = Path(module.__file__)
    path.write_text(path.read_text(encoding="utf-8").replace("torch.tanh", "torch.sin"), encoding="utf-8")
    policies = load_policies(folder, trust=True)
    expected = network.logits(network.features(*(observation()[part] for part in ("global", "consumer"))))
    assert torch.equal(policies.logits(observation())["consumer"], expected)
    assert type(policies.networks["consumer"]) is not module.TanhNetwork


def test_policies_from_a_copy_are_saved_and_loaded_again_and_their_description_travels(
    checkpoint, module, monkeypatch, tmp_path
):
    forget(module, monkeypatch)
    policies = load_policies(checkpoint[0], trust=True)
    save_policies(tmp_path / "again", CONFIG, "symlog", policies.networks, policies.specs)
    again = load_policies(tmp_path / "again", trust=True)
    assert torch.equal(again.logits(observation())["consumer"], policies.logits(observation())["consumer"])
    program = (
        "import pickle, sys\n"
        "from rbc_marl.policies.build import build_network\n"
        "from rbc_marl import EconomyConfig\n"
        "spec = pickle.load(sys.stdin.buffer)\n"
        "config = EconomyConfig(num_consumers=3, num_firms=2, horizon=2)\n"
        "print(build_network(config, 'consumer', 'symlog', spec).body.out_features)\n"
    )
    sent = pickle.dumps(again.specs["consumer"])
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, input=sent, capture_output=True, check=True, cwd=SOURCE.parents[2])
    assert ended.stdout.strip() == b"5"


def test_a_class_of_an_installed_package_needs_no_trust_and_no_copy(checkpoint, monkeypatch, tmp_path):
    folder, _ = checkpoint
    monkeypatch.setattr(own_class.sysconfig, "get_path", lambda _: str(tmp_path / "work"))
    assert own_class.is_installed("my_networks_of_a_test")
    assert type(load_policies(folder).networks["consumer"]).__name__ == "TanhNetwork"
    policies = load_policies(folder)
    save_policies(tmp_path / "again", CONFIG, "symlog", policies.networks, policies.specs)
    assert not (tmp_path / "again" / "policies" / "source").exists()


@pytest.mark.parametrize("name", ["torch.nn", "pydantic", "rbc_marl.policies.networks"])
def test_what_is_installed_is_known(name):
    assert own_class.is_installed(name)


@pytest.mark.parametrize("name", ["tests.policies.small_network", "json", "__main__", "no_such_module", ""])
def test_what_is_not_installed_is_known(name):
    assert not own_class.is_installed(name)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("os:abort", "os:abort is code of the checkpoint's own"),
        ("os.abort", "a class is written as module:Class"),
        ("torch.nn:Linear", "it must be flat or equivariant"),
        ("torch.nn:NoSuchThing", r"torch.nn:NoSuchThing cannot be imported \(AttributeError"),
        ("../../x:Net", r"../../x:Net is code of the checkpoint's own"),
    ],
)
def test_an_index_runs_nothing_by_naming_it(checkpoint, kind, message):
    path = checkpoint[0] / "policies.json"
    index = json.loads(path.read_text(encoding="utf-8"))
    index["networks"]["consumer"] = {"kind": kind}
    path.write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        load_policies(checkpoint[0])
