"""Trained policies on disk: what is written is read back, and what cannot be read is refused in one line."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from rbc_marl import ConfigError, UserError, VectorEconomy, preset, presets
from rbc_marl.config import AGENT_TYPES
from rbc_marl.errors import NonFiniteError
from rbc_marl.policies.build import build_network
from rbc_marl.policies.saved import find_checkpoint, load_policies, save_policies

CONFIG = preset("closed", num_consumers=4, num_firms=3, initial_capital=(5000.0, 6000.0, 7000.5), crra=0.3)
SPECS = {"consumer": {"kind": "flat", "hidden": [16, 8]}, "firm": {"kind": "flat", "hidden": [8]}, "government": "flat"}


def make_networks(seed=0, config=CONFIG, encoding="digits"):
    torch.manual_seed(seed)
    return {name: build_network(config, name, encoding, SPECS[name]) for name in AGENT_TYPES}


def save(folder, seed=0):
    networks = make_networks(seed)
    save_policies(folder, CONFIG, "digits", networks, SPECS, {"iteration": 7})
    return networks


@pytest.fixture
def checkpoint(tmp_path):
    save(tmp_path / "checkpoint_000010")
    return tmp_path / "checkpoint_000010"


def edit_index(folder, **changes):
    index = json.loads((folder / "policies.json").read_text())
    index = {name: value for name, value in {**index, **changes}.items() if value is not ...}
    (folder / "policies.json").write_text(json.dumps(index))


def refusal(path):
    with pytest.raises(UserError) as error:
        load_policies(path)
    message = str(error.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_what_is_loaded_is_what_was_saved(tmp_path):
    networks = make_networks()
    networks["firm"].set_mask(torch.arange(30) < 4)
    save_policies(tmp_path, CONFIG, "digits", networks, SPECS, {"iteration": 7})
    policies = load_policies(tmp_path)
    assert (policies.config, policies.encoding, policies.info) == (CONFIG, "digits", {"iteration": 7})
    for name, network in networks.items():
        loaded = policies.networks[name].state_dict()
        assert loaded.keys() == network.state_dict().keys()
        assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())
        assert not policies.networks[name].training
    assert policies.device == torch.device("cpu")


def test_policies_play_in_another_economy_that_offers_the_same_choices(checkpoint):
    before = torch.random.get_rng_state()
    policies = load_policies(checkpoint, economy={"export_quota": 3.0, "num_consumers": 7})
    assert policies.config == CONFIG.model_copy(update={"export_quota": 3.0, "num_consumers": 7})
    assert torch.equal(torch.random.get_rng_state(), before)
    saved = load_policies(checkpoint).networks["firm"].state_dict()
    assert all(torch.equal(saved[name], value) for name, value in policies.networks["firm"].state_dict().items())


def test_parts_of_a_field_change_alone_and_a_field_changes_whole():
    names = {"shocks.technology.deviation": 0.1}
    assert load_policies("open_shocks", economy=names).config.shocks.technology.persistence == 0.8
    chain = {"kind": "path", "values": [0.01, 0.02]}
    assert load_policies("open_shocks", economy={"shocks.technology": chain}).config.shocks.technology.kind == "path"
    hidden = {"kind": "ar1", "persistence": 0.5, "deviation": 0.1, "sees": False}
    moving = load_policies("quickstart", economy={"shocks.technology": hidden}).config
    assert moving.shocks.technology.deviation == 0.1


@pytest.mark.parametrize(
    ("economy", "message"),
    [
        ({"consumption_choices": [0.0, 1.0]}, "the network of the consumer was made for other choices"),
        ({"num_firms": 2, "initial_capital": 9.0, "labour_exponent": 0.5}, "the network of the consumer was made for"),
        ({"price_choices": [0.0, 1000.0]}, "the network of the firm was made for other choices or another number of"),
        ({"export_quotas": 3.0}, 'economy.export_quotas is not a field of an economy; did you mean "export_quota"?'),
    ],
)
def test_an_economy_in_which_the_networks_cannot_play_is_refused(checkpoint, economy, message):
    with pytest.raises(ConfigError) as error:
        load_policies(checkpoint, economy=economy)
    assert str(error.value).startswith(message)


def test_loaded_policies_act_as_the_networks_would(checkpoint):
    networks, policies = make_networks(), load_policies(checkpoint)
    observation = VectorEconomy(CONFIG, 5, encoding="digits").reset()
    drawn = policies.act(observation, torch.Generator().manual_seed(3))
    likeliest = policies.act(observation, greedy=True)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name in AGENT_TYPES:
            network = networks[name]
            choices = network.distribution(network(observation["global"], observation[name])[0])
            assert torch.equal(choices.sample(generator).flatten(), drawn[name].flatten())
            assert torch.equal(choices.greedy().flatten(), likeliest[name].flatten())


def test_greedy_consumers_take_the_likeliest_goods_and_hours_and_share_out_their_employers(checkpoint):
    crowd = CONFIG.replace(num_consumers=200)
    policies = load_policies(checkpoint, economy={"num_consumers": 200})
    observation = VectorEconomy(crowd, 2, encoding="digits").reset()
    logits = policies.logits(observation)["consumer"]
    choices = policies.networks["consumer"].distribution(logits)
    greedy = policies.act(observation, greedy=True)["consumer"]
    assert torch.equal(greedy[..., :-1], choices.mode()[..., :-1])
    probabilities = logits[..., -CONFIG.num_firms :].softmax(-1).sum(1)
    workers = torch.nn.functional.one_hot(greedy[..., -1], CONFIG.num_firms).sum(1)
    assert (workers - probabilities).abs().max() <= 5
    assert (workers > 0).sum() > 2
    assert torch.equal(greedy, policies.act(observation, torch.Generator().manual_seed(1), greedy=True)["consumer"])


def test_actions_of_loaded_policies_play_whole_episodes(checkpoint):
    policies = load_policies(checkpoint)
    batch = VectorEconomy(CONFIG, 2, encoding=policies.encoding)
    observation, generator = batch.reset(), torch.Generator().manual_seed(0)
    for _ in range(CONFIG.horizon):
        observation, _, truncated, _ = batch.step(policies.act(observation, generator))
    assert bool(truncated.all())


def test_loading_leaves_torchs_own_generator_alone(checkpoint):
    before = torch.get_rng_state()
    load_policies(checkpoint)
    assert torch.equal(torch.get_rng_state(), before)


def test_saving_again_replaces_the_policies_and_keeps_other_files(checkpoint):
    (checkpoint / "rllib_checkpoint.json").write_text("{}")
    networks = save(checkpoint, seed=1)
    loaded = load_policies(checkpoint).networks["firm"].state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in networks["firm"].state_dict().items())
    assert sorted(path.name for path in checkpoint.iterdir()) == ["policies", "policies.json", "rllib_checkpoint.json"]


def test_a_save_that_fails_leaves_the_previous_policies_whole(checkpoint):
    before = {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()}
    with pytest.raises(TypeError):
        save_policies(checkpoint, CONFIG, "digits", make_networks(1), SPECS, {"seed": object()})
    assert {path: path.read_bytes() for path in checkpoint.rglob("*") if path.is_file()} == before


def test_a_runs_folder_stands_for_its_newest_whole_checkpoint(tmp_path):
    for number in (2, 10, 9):
        save(tmp_path / f"checkpoint_{number}")
    (tmp_path / "checkpoint_11").mkdir()  # one that was being written
    assert find_checkpoint(tmp_path) == tmp_path / "checkpoint_10"
    assert find_checkpoint(tmp_path / "checkpoint_2") == tmp_path / "checkpoint_2"


def test_policies_that_travel_with_the_package_are_found_by_name_and_a_folder_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "ZOO_FOLDER", tmp_path / "zoo")
    kept = tmp_path / "zoo" / "open_mini" / "checkpoint_000010"
    save(kept, seed=1)
    assert find_checkpoint("open_mini") == kept
    assert "a name of trained policies: open_mini; did you mean \"open_mini\"?" in refusal("open_mimi")
    assert "trained policies" not in refusal("runs/open_mimi")
    save(tmp_path / "open_mini", seed=2)
    assert find_checkpoint("open_mini") == Path("open_mini")


def test_a_path_without_a_checkpoint_is_refused(tmp_path):
    assert "holds no policies" in refusal(tmp_path)
    assert "does not exist" in refusal(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(tmp_path / "file")


@pytest.mark.parametrize("text", ["{", "", "[1]", "null", "\x00"])
def test_an_index_that_is_not_one_is_refused(checkpoint, text):
    (checkpoint / "policies.json").write_text(text)
    assert "policies.json" in refusal(checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 2}, "format_version is 2"),
        ({"format_version": True}, "format_version is True"),
        ({"format_version": ...}, "no format_version"),
        ({"economy": ...}, "economy is missing"),
        ({"economy": {"num_firms": 0}}, "economy.num_firms is 0"),
        ({"encoding": "binary"}, "binary"),
        ({"networks": {"consumer": "flat", "firm": "flat"}}, "lacks government"),
        ({"networks": {**SPECS, "firm": "flatt"}}, "flatt"),
        ({"info": [1]}, "info is missing or not a dict"),
        ({"sha256": [1]}, "sha256 is not a dict"),
    ],
)
def test_an_index_that_does_not_fit_is_refused_by_its_field(checkpoint, changes, message):
    edit_index(checkpoint, **changes)
    assert message in refusal(checkpoint)


def test_weights_of_another_economy_are_refused(checkpoint):
    economy = json.loads((checkpoint / "policies.json").read_text())["economy"]
    edit_index(checkpoint, economy={**economy, "num_firms": 2, "initial_capital": "two_level"})
    message = refusal(checkpoint)
    assert "consumer.safetensors" in message
    assert "need float32" in message


@pytest.mark.parametrize("encode", [lambda x: x.double(), lambda x: x[:-1], None])
def test_weights_of_another_type_or_shape_or_none_are_refused(checkpoint, encode):
    path = checkpoint / "policies" / "firm.safetensors"
    weights = load_file(path)
    name = sorted(weights)[0]
    weights = {k: encode(v) if k == name else v for k, v in weights.items() if encode or k != name}
    save_file({k: v.contiguous() for k, v in weights.items()}, path)
    message = refusal(checkpoint)
    assert "firm.safetensors" in message
    assert name in message


def test_weights_the_network_does_not_have_are_refused(checkpoint):
    path = checkpoint / "policies" / "firm.safetensors"
    save_file({**load_file(path), "zzz": torch.zeros(1)}, path)
    assert "zzz is float32 [1]" in refusal(checkpoint)


def test_missing_and_damaged_weights_are_refused(checkpoint):
    path = checkpoint / "policies" / "government.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert "government.safetensors is damaged" in refusal(checkpoint)
    path.unlink()
    assert "government.safetensors does not exist" in refusal(checkpoint)
    shutil.rmtree(path.parent)
    assert "consumer.safetensors does not exist" in refusal(checkpoint)


def test_a_pickle_in_place_of_weights_runs_nothing(checkpoint, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"x": Trap()}, checkpoint / "policies" / "firm.safetensors")
    assert "firm.safetensors is damaged" in refusal(checkpoint)
    assert not (tmp_path / "sprung").exists()


def test_policies_play_in_economies_of_a_finer_type(checkpoint):
    policies = load_policies(checkpoint)
    batch = VectorEconomy(policies.config, num_envs=2, dtype=torch.float64, encoding=policies.encoding)
    logits = policies.logits(batch.reset())
    expected = policies.logits({name: part.float() for name, part in batch.reset().items()})
    assert all(torch.equal(logits[t], expected[t]) for t in logits)
    batch.step(policies.act(batch.reset()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_not_saved(tmp_path, value):
    networks = make_networks()
    networks["firm"].action_head.weight.data[0, 0] = value
    with pytest.raises(NonFiniteError, match=r"^the policies cannot be saved: action_head.weight of the firm holds"):
        save_policies(tmp_path / "saved", CONFIG, "digits", networks, SPECS)
    assert not (tmp_path / "saved").exists()


def test_weights_that_are_not_finite_are_not_loaded(checkpoint):
    path = checkpoint / "policies" / "government.safetensors"
    weights = load_file(path)
    weights["value_head.bias"][0] = float("nan")
    save_file(weights, path)
    with pytest.raises(NonFiniteError, match=r"government.safetensors: value_head.bias of the government holds"):
        load_policies(checkpoint)


def test_policies_of_an_earlier_version_are_still_read():
    policies = load_policies(Path(__file__).parent / "saved_before_sections")
    assert {t: (spec.kind, spec.hidden) for t, spec in policies.specs.items()} == {
        "consumer": ("equivariant", (3,)),
        "firm": ("equivariant", (3,)),
        "government": ("flat", (2,)),
    }
    logits = policies.logits(VectorEconomy(policies.config, 1).reset())
    expected = policies.info["largest_logit_of_the_first_period"]
    assert {t: float(x.max()) for t, x in logits.items()} == pytest.approx(expected, abs=1e-5)


def test_an_index_can_describe_a_network_by_name_alone(checkpoint):
    networks = make_networks()
    save_policies(checkpoint, CONFIG, "digits", networks, SPECS)
    edit_index(checkpoint, networks={**SPECS, "government": "flat"})
    assert load_policies(checkpoint).specs["government"].hidden == (128, 128)
