# %% [markdown]
# # Curricula
#
# After this tutorial you can
#
# - say what a curriculum does, and see it in the learning curves of a trained economy;
# - switch its parts on and off, and tell whether a run lives or has collapsed;
# - write a curriculum of your own, and name it in a config file.
#
# The paper found that agents who all learn at once from nothing tend to end where nobody works. Firms learn to pay
# nothing before workers have learned to react to wages, and then there is nothing left to learn. Its answer is to let
# them learn one after another. The runs of this tutorial only show how it goes. Set `ITERATIONS` to 800 for real
# results: a minute or two each.

# %%
import os
import tempfile
from pathlib import Path

from rbc_marl.analysis.charts import Chart, Line
from rbc_marl.analysis.figures.training import learning_curves, read_progress
from rbc_marl.analysis.outcomes import outcome, reference_welfare
from rbc_marl.analysis.pictures import Picture
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.config import preset
from rbc_marl.curriculum import build_curriculum
from rbc_marl.experiments import load_experiments, train
from rbc_marl.policies.saved import load_policies
from rbc_marl.presets import zoo

ITERATIONS = int(os.environ.get("ITERATIONS", "6"))
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
# The same as a picture:

# %%
iterations = range(0, 801, 20)
phases = [curriculum.phase(iteration) for iteration in iterations]
allowed = {kind: [100 * int(p.masks(economy)[kind].sum()) for p in phases] for kind in ("firm", "government")}
lines = {
    "firms' choices": [count / phases[-1].masks(economy)["firm"].numel() for count in allowed["firm"]],
    "taxes": [n / phases[-1].masks(economy)["government"].numel() for n in allowed["government"]],
    "cost of work": [100 * phase.labour_disutility for phase in phases],
}
chart = Chart(
    name="curriculum",
    title="What the curriculum allows",
    x="iteration",
    y="% of the full economy",
    layers=tuple(Line(iterations, values, name) for name, values in lines.items()),
    starts_at_zero=True,
    caption="Firms' choices open first, then the government's. Work costs little at first.",
)
Picture([chart], columns=1).save(results / "curriculum.png")

# %% [markdown]
# ## What it does in training
#
# The quickstart was trained with such a curriculum, and its progress travels with the package. Shaded stages say who
# learns. Consumers learn alone at first, at a fixed wage. Firms begin by cutting wages: hours fall with them, until
# firms find a wage that keeps people working, and exports that pay it. Taxes open last, and the government hardly uses
# them.

# %%
Picture(learning_curves(read_progress(zoo()["quickstart"])), title="The quickstart").save(results / "learning.png")

# %% [markdown]
# ## With and without
#
# `small.yaml` is an economy of 20 consumers and 4 firms with a curriculum. In a file, and with `--set`, each part can
# be left out alone: `curriculum.taxes: null`. Leaving out everything is `curriculum: null`.


# %%
def train_small(name, *sets):
    """Train small.yaml with some changes, and say what became of the economy."""
    sets = [*sets, f"stop.training_iteration={ITERATIONS}", f"storage_path={results / name}"]
    (experiment,) = load_experiments("small", sets=sets)
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
# `rllib_configs/sweeps/curriculum.yaml` trains many seeds of each ([guide to curricula](../docs/curricula.md)).
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
assert (results / "mine").is_dir()
