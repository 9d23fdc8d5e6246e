"""Policy networks: their layers, their masks and their descriptions."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rbc_marl import ConfigError, preset
from rbc_marl.choices import firm_mask, government_mask, head_sizes
from rbc_marl.config import AGENT_TYPES
from rbc_marl.observations import ENCODINGS, join, observation_size, private_size, with_number
from rbc_marl.policies import networks
from rbc_marl.policies.build import NetworkSpec, build_network
from rbc_marl.policies.distributions import MASKED_LOGIT
from rbc_marl.policies.networks import FlatNetwork
from rbc_marl.vector_env import VectorEconomy
from tests.golden_files import host_math

CONFIG = preset("open", num_consumers=4, num_firms=3, horizon=2)
SPEC = {"kind": "flat", "hidden": [16, 8]}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def parts(network_type, rows=5, encoding="symlog"):
    shared, _ = observation_size(CONFIG, network_type, encoding)
    agents, size = CONFIG.agents(network_type), private_size(CONFIG, network_type, encoding)
    private = torch.randn(rows, agents, size, generator=generator(1))
    if network_type == "firm":
        private[..., -1] = torch.arange(agents)
    return torch.randn(rows, shared, generator=generator()), private


def joined_layers(network):
    """The body of a flat network with an ordinary first layer over joined observations."""
    weights = [network.shared_layer.weight]
    if network.private_layer is not None:
        weights.append(network.private_layer.weight)
    first = nn.Linear(sum(w.shape[1] for w in weights), weights[0].shape[0])
    with torch.no_grad():
        first.weight.copy_(torch.cat(weights, dim=1))
        first.bias.copy_(network.shared_layer.bias)
    return nn.Sequential(first, nn.ReLU(), network.body)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_the_split_first_layer_equals_one_layer_over_the_joined_observation(agent_type, encoding):
    network = build_network(CONFIG, agent_type, encoding, {"hidden": [16, 8, 4]})
    env = VectorEconomy(CONFIG, num_envs=5, encoding=encoding, seed=1)
    env.reset()
    observation = env.step(env.sample_actions())[0]
    logits, values = network(observation["global"], observation[agent_type])
    features = joined_layers(network)(join(observation, agent_type))
    torch.testing.assert_close(logits, network.action_head(features))
    torch.testing.assert_close(values, network.value_head(features).squeeze(-1))
    agents = CONFIG.agents(agent_type)
    assert logits.shape == (5, agents, sum(head_sizes(CONFIG, agent_type))) and values.shape == (5, agents)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_the_first_layer_starts_as_one_layer_over_the_joined_observation_would(agent_type):
    torch.manual_seed(0)
    network = build_network(CONFIG, agent_type, "symlog", {"hidden": [4000]})
    bound = sum(observation_size(CONFIG, agent_type, "symlog")) ** -0.5
    first = joined_layers(network)[0]
    for parameter in (first.weight, first.bias):
        assert parameter.abs().max() <= bound
        assert parameter.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_the_published_networks_give_the_published_values_and_probabilities(agent_type, monkeypatch):
    golden = host_math()
    weight = {
        name: torch.from_numpy(golden[f"ppo_{agent_type}_before_{name}"])
        for name in ("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias", "fc4.weight", "fc4.bias")
    }
    heads = (11, 11, 11, 5, 3) if agent_type == "consumer" else (30,) if agent_type == "firm" else (36,)
    names = [f"action_heads.{h}" for h in range(5)] if agent_type == "consumer" else ["fc3"]
    inputs = torch.from_numpy(golden[f"rollout_{agent_type}_network_input"]).flatten(0, 1)
    shared_size = golden["rollout_government_network_input"].shape[-1]
    sizes = (shared_size, inputs.shape[-1] - shared_size)  # the published observations have a layout of their own
    monkeypatch.setattr(networks, "observation_size", lambda *_: sizes)
    network = FlatNetwork(CONFIG, agent_type, "symlog", heads)
    state = {
        "shared_layer.weight": weight["fc1.weight"][:, :shared_size],
        "shared_layer.bias": weight["fc1.bias"],
        "body.0.weight": weight["fc2.weight"],
        "body.0.bias": weight["fc2.bias"],
        "value_head.weight": weight["fc4.weight"],
        "value_head.bias": weight["fc4.bias"],
    }
    for part in ("weight", "bias"):
        rows = [torch.from_numpy(golden[f"ppo_{agent_type}_before_{name}.{part}"]) for name in names]
        state[f"action_head.{part}"] = torch.cat(rows)
    if network.private_layer is not None:
        state["private_layer.weight"] = weight["fc1.weight"][:, shared_size:]
    network.load_state_dict(state, strict=False)  # without a mask
    # Every agent of an economy sees the same global part, or the split would not be possible.
    assert (inputs[..., :shared_size] == inputs[:, :1, :shared_size]).all()
    private = inputs[..., shared_size:]
    private = with_number(private, CONFIG.num_firms) if agent_type == "firm" else private
    logits, values = network(inputs[:, 0, :shared_size], private)
    probabilities = torch.cat([part.softmax(-1) for part in logits.split(list(heads), dim=-1)], dim=-1)
    expected = torch.from_numpy(golden[f"ppo_{agent_type}_value_before"]).flatten(0, 1)
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-6)
    expected = torch.from_numpy(golden[f"ppo_{agent_type}_probs_before"]).flatten(0, 1)
    torch.testing.assert_close(probabilities, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("agent_type", AGENT_TYPES)
def test_a_row_does_not_depend_on_its_neighbours(agent_type):
    network, (shared, private) = build_network(CONFIG, agent_type, "symlog", SPEC), parts(agent_type)
    logits, values = network(shared, private)
    for row in range(5):
        alone = network(shared[row : row + 1], private[row : row + 1])
        torch.testing.assert_close(alone[0][0], logits[row])
        torch.testing.assert_close(alone[1][0], values[row])


@pytest.mark.parametrize("agent_type", ["consumer", "firm"])
def test_agents_share_one_policy(agent_type):
    network, (shared, private) = build_network(CONFIG, agent_type, "symlog", SPEC), parts(agent_type)
    order = torch.arange(private.shape[1] - 1, -1, -1)
    for forwards, backwards in zip(network(shared, private), network(shared, private[:, order]), strict=True):
        torch.testing.assert_close(backwards[:, order], forwards)


MASKS = {
    "firm": firm_mask(CONFIG, price=(500.0, 1500.0), wage=(11.0, 33.0)),
    "government": government_mask(CONFIG, 0.4),
}


@pytest.mark.parametrize("agent_type", MASKS)
def test_a_mask_holds_when_acting(agent_type):
    network, (shared, private) = build_network(CONFIG, agent_type, "symlog", SPEC), parts(agent_type, rows=400)
    network.set_mask(MASKS[agent_type])
    choices = network.distribution(network(shared, private)[0])
    for actions in (choices.sample(generator()), choices.mode()):
        assert MASKS[agent_type][actions].all()
    # What is allowed does come up.
    assert set(choices.sample(generator()).flatten().tolist()) <= set(MASKS[agent_type].nonzero().flatten().tolist())
    network.set_mask(torch.ones_like(MASKS[agent_type]))
    assert not MASKS[agent_type][network.distribution(network(shared, private)[0]).sample(generator())].all()


@pytest.mark.parametrize("agent_type", MASKS)
def test_a_mask_holds_when_learning(agent_type):
    network, (shared, private) = build_network(CONFIG, agent_type, "symlog", SPEC), parts(agent_type)
    free = network(shared, private)[0].detach()
    network.set_mask(MASKS[agent_type])
    choices = network.distribution(network(shared, private)[0])
    logp, entropy = choices.logp_and_entropy(choices.sample(generator()))
    allowed = torch.distributions.Categorical(logits=free[..., MASKS[agent_type]])
    torch.testing.assert_close(entropy, allowed.entropy())
    (logp + entropy).sum().backward()
    gradient = network.action_head.bias.grad
    assert (gradient[~MASKS[agent_type]] == 0).all() and (gradient[MASKS[agent_type]] != 0).any()


def test_a_mask_leaves_the_weights_alone():
    network = build_network(CONFIG, "firm", "symlog", SPEC)
    before = network.action_head.bias.detach().clone()
    network.set_mask(MASKS["firm"])
    assert torch.equal(network.action_head.bias, before)


def test_a_mask_travels_with_the_weights():
    first, second = (build_network(CONFIG, "firm", "symlog", SPEC) for _ in range(2))
    first.set_mask(MASKS["firm"])
    assert "log_mask" in first.state_dict()
    assert "log_mask" not in build_network(CONFIG, "consumer", "symlog", SPEC).state_dict()
    second.load_state_dict(first.state_dict())
    assert torch.equal(second.log_mask == MASKED_LOGIT, ~MASKS["firm"])
    shared, private = parts("firm")
    torch.testing.assert_close(second(shared, private), first(shared, private))


def test_masks_that_leave_no_choice_are_refused():
    network = build_network(CONFIG, "firm", "symlog", SPEC)
    for mask in (
        torch.zeros(30, dtype=torch.bool),
        torch.ones(29, dtype=torch.bool),
        torch.ones(1, 30, dtype=torch.bool),
    ):
        with pytest.raises(ConfigError, match="mask"):
            network.set_mask(mask)
    assert (network.log_mask == 0).all()


def test_a_mask_over_several_heads_must_leave_each_a_choice():
    network = FlatNetwork(CONFIG, "firm", "symlog", (2, 2), (4,))
    with pytest.raises(ConfigError, match="every head"):
        network.set_mask(torch.tensor([False, False, True, True]))


def test_consumers_take_no_mask():
    network = build_network(CONFIG, "consumer", "symlog", SPEC)
    with pytest.raises(ConfigError, match="firms and the government"):
        network.set_mask(torch.ones(sum(network.head_sizes), dtype=torch.bool))


def test_a_description_is_completed():
    assert NetworkSpec.of("flat").model_dump() == {"kind": "flat", "hidden": [128, 128]}
    assert NetworkSpec.of({"hidden": (7,)}).model_dump() == {"kind": "flat", "hidden": [7]}
    assert NetworkSpec.of(NetworkSpec.of(SPEC).model_dump()).model_dump() == SPEC


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("flatt", 'network is .flatt.*did you mean "flat"'),
        (3, "network is 3"),
        (None, "network is None"),
        ({"kind": "flat", "hiden": [3]}, 'network.hiden .*did you mean "hidden"'),
        ({"hidden": []}, "network.hidden"),
        ({"hidden": [0]}, "network.hidden"),
        ({"hidden": [True]}, "network.hidden"),
        ({"hidden": [1.5]}, "network.hidden"),
        ({"hidden": "128"}, "network.hidden"),
    ],
)
def test_a_wrong_description_is_refused_with_its_place(spec, message):
    with pytest.raises(ConfigError, match=message):
        NetworkSpec.of(spec)


def test_the_government_of_an_economy_without_private_parts_has_one_layer_only():
    network = build_network(CONFIG, "government", "symlog", SPEC)
    assert network.private_layer is None
    assert network(*parts("government"))[0].shape == (5, 1, 36)


def test_a_network_can_begin_with_its_first_choice():
    usual, leaning = (
        seeded_network(CONFIG, "government", {"kind": "flat", "hidden": [8], "first_choice": x}) for x in (0.0, 8.0)
    )
    shared, private = torch.zeros(2, usual.shared_size), torch.zeros(2, 1, 0)
    difference = leaning(shared, private)[0] - usual(shared, private)[0]
    assert difference[..., 0].tolist() == [[pytest.approx(8.0)]] * 2
    assert difference[..., 1:].abs().max() < 1e-6


def seeded_network(config, agent_type, spec):
    torch.manual_seed(0)
    return build_network(config, agent_type, spec=spec)


@pytest.mark.parametrize(("agent_type", "spec", "message"), [
    ("firm", {"kind": "equivariant", "ranks_prices": True}, "firm.ranks_prices is not a setting"),
    ("consumer", {"kind": "flat", "ranks_prices": True}, "consumer.ranks_prices is not a setting"),
    ("government", {"kind": "equivariant", "first_choice": 3.0}, "government.first_choice is not a setting"),
])  # fmt: skip
def test_options_that_a_network_does_not_have_are_refused(agent_type, spec, message):
    with pytest.raises(ConfigError, match=message):
        build_network(CONFIG, agent_type, spec=spec)


def test_descriptions_of_networks_without_options_are_as_before():
    assert NetworkSpec.of({"kind": "flat", "hidden": [8]}).model_dump() == {"kind": "flat", "hidden": [8]}
    described = NetworkSpec.of({"kind": "equivariant", "ranks_prices": True}).model_dump(mode="json")
    assert described == {"kind": "equivariant", "hidden": [32, 32], "ranks_prices": True}
    assert NetworkSpec.of(described).ranks_prices
