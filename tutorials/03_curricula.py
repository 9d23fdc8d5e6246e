# %% [markdown]
# # Curricula
#
# After this tutorial you can train an economy with a curriculum, switch its parts on and off, tell whether a run
# lives or has collapsed, and write a curriculum of your own and name it in a config file.
#
# The paper found that agents who all learn at once from nothing tend to end where nobody works: firms learn to pay
# nothing before workers have learned to react to wages, and then there is nothing left to learn. Its answer is to let
# them learn one after another. Set `ITERATIONS` to 800 for real results (a minute or two each); the default only shows
# how it goes.

# %%
import os
import tempfile
from pathlib import Path

from rbc_marl.analysis.outcomes import outcome, reference_welfare
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.config import preset
from rbc_marl.curriculum import build_curriculum
from rbc_marl.experiments import load_experiments, train
from rbc_marl.policies.saved import load_policies

ITERATIONS = int(os.environ.get("ITERATIONS", "6"))
CONFIGS = (
    Path(__file__).resolve().parent.parent / "rllib_configs" if "__file__" in globals() else Path("../rllib_configs")
)
results = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp())

# %% [markdown]
# ## What a curriculum says
#
# A curriculum is a function from the iteration to a *phase*: who learns, what firms and the government may choose, what
# labour costs, how much exploration is worth. It remembers nothing, so that it can be asked about any iteration.

# %%
economy = preset("open")
curriculum = build_curriculum(
    {
        "start": {"firm": 200, "government": 400},  # consumers learn from the beginning
        "prices": {"around": 1000, "end": 200},  # firms may post only 1000 at first, anything from 200 on
        "wages": {"around": 22, "end": 200},
        "taxes": {"begin": 400, "end": 800},  # no tax until 400
        "labour_disutility": {"decay": 50},
        "entropy": {"decay": 150, "floor": 0.1},
    },
    economy,
)
for iteration in (0, 100, 300, 500, 700):
    phase = curriculum.phase(iteration)
    firm_choices = int(phase.masks(economy)["firm"].sum())
    print(f"{iteration:4}  {phase.describe():45} {firm_choices:2} choices of a firm")

# %% [markdown]
# ## With and without
#
# `small.yaml` is an economy of 20 consumers and 4 firms with a curriculum. In a file, and with `--set`, each part can
# be left out alone: `curriculum.taxes: null`. Leaving out everything is `curriculum: null`.


# %%
def train_small(name, *sets):
    """Train small.yaml with some changes, and say what became of the economy."""
    sets = [*sets, f"stop.training_iteration={ITERATIONS}", f"storage_path={results / name}"]
    (experiment,) = load_experiments(CONFIGS / "small.yaml", sets=sets)
    policies = load_policies(train(experiment).checkpoint)
    means = evaluate(policies, num_episodes=64).means
    reached = means["welfare_total"] / reference_welfare(policies.config)
    state = outcome(policies.config, means)
    print(f"{name}: {state}, {means['hours']:.0f} hours, {reached:.0%} of the rule-based economy's welfare\n")
    return means


with_curriculum = train_small("with")
without = train_small("without", "curriculum=null")
no_stages = train_small("no-stages", "curriculum.start={consumer: 0, firm: 0, government: 0}")

# %% [markdown]
# One run says little: outcomes differ from seed to seed, now and then as much as life and death. The sweep
# `rllib_configs/sweeps/curriculum.yaml` trains many seeds of each.
#
# ## A curriculum of your own
#
# Any class with a method `phase(iteration)` will do. This one lets the government learn first, while everybody else
# acts from an untrained network, and then all.

# %%
MINE = """
from rbc_marl.curriculum import Phase


class GovernmentFirst:
    def phase(self, iteration):
        if iteration < 100:
            return Phase(learning=frozenset({"government"}))
        return Phase(entropy={"consumer": 0.5, "firm": 0.5, "government": 0.5})
"""
import sys

(results / "my_curriculum.py").write_text(MINE)
sys.path.insert(0, str(results))

# %% [markdown]
# It is named in the file by its dotted path: `curriculum: my_curriculum.GovernmentFirst`.

# %%
mine = train_small("mine", "curriculum=my_curriculum.GovernmentFirst")
print(sorted(path.name for path in results.iterdir()))
