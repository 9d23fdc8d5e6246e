"""The single-file PPO: what it computes, and that it learns."""

import math
from dataclasses import replace

import pytest
import torch

from tests.envs.examples import FOLDER, load_example

ppo = load_example("ppo")
TINY = ppo.Args(num_consumers=4, num_firms=2, num_envs=4, updates=3, hidden=16, train="consumer,firm,government")


def silent(line):
    return None


def test_every_network_moves_and_no_number_is_lost():
    agents, history = ppo.train(TINY, report=silent)
    torch.manual_seed(TINY.seed)
    start = {t: ppo.Agent(agents[t].critic[0].in_features, agents[t].sizes, 16) for t in agents}  # drawn in this order
    assert list(agents) == ["consumer", "firm", "government"]
    for t, agent in agents.items():
        new, old = agent.state_dict(), start[t].state_dict()
        assert all(value.isfinite().all() for value in new.values())
        assert all(not torch.equal(new[f"{net}.0.weight"], old[f"{net}.0.weight"]) for net in ("actor", "critic"))
    assert len(history) == 3 and all(math.isfinite(value) for row in history for value in row.values())


def test_a_seed_decides_everything():
    first, again, other = (ppo.train(replace(TINY, seed=seed, updates=1), report=silent)[1] for seed in (1, 1, 2))
    assert first == again and first != other


@pytest.mark.slow
def test_consumers_learn_to_live_on_what_the_firms_of_the_rules_offer():
    args = ppo.Args(updates=15, num_envs=16)
    _, history = ppo.train(args, report=silent)
    returns = [row["consumer_return"] for row in history]
    assert sum(returns[-3:]) / 3 > 1.04 * sum(returns[:3]) / 3  # from 74 to 80, where the rules' consumers come to 81


def test_advantages_and_returns_by_hand():
    args = ppo.Args(gamma=0.5, gae_lambda=0.5)
    rewards, values = torch.tensor([[[1.0]], [[2.0]]]), torch.tensor([[[10.0]], [[4.0]]])
    advantages, returns = ppo.advantages_and_returns(rewards, values, args)
    # Last period: 2 - 4, nothing follows. First: 1 + 0.5 x 4 - 10 = -7, and 0.25 of the later -2.
    assert advantages.flatten().tolist() == [-7.5, -2.0] and returns.flatten().tolist() == [2.5, 2.0]


def test_log_probabilities_and_entropies_of_several_decisions_add_up():
    agent = ppo.Agent(3, [2, 5], 8)
    with torch.no_grad():
        for parameter in agent.actor[-1].parameters():
            parameter.zero_()  # every choice alike
    action, logprob, entropy, value = agent.get_action_and_value(torch.zeros(7, 3))
    assert action.shape == (7, 2) and value.shape == (7,) and bool((action < torch.tensor([2, 5])).all())
    assert logprob.tolist() == pytest.approx([-math.log(10)] * 7)
    assert entropy.tolist() == pytest.approx([math.log(10)] * 7)


def test_it_is_one_file_of_readable_length():
    assert 200 <= len((FOLDER / "ppo.py").read_text(encoding="utf-8").splitlines()) <= 300
