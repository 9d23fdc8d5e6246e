# %% [markdown]
# # Train
#
# After this tutorial you can
#
# - write a file that says what to train, and have it checked before anything runs;
# - train it from the command line, and change single settings there;
# - find a run's results, and see how learning went;
# - evaluate trained policies, and use them in Python without Ray;
# - start the same training from Python.
#
# It needs the extras `rllib` and `analysis`. The economy here is small and the run is short. `rbc-marl train
# quickstart` trains the economy of the paper, in minutes.

# %%
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

torch.set_num_threads(1)  # these tensors are small: threads would only wait for each other
# Everything is written into a temporary folder, or the one that TUTORIAL_OUTPUT names.
folder = Path(os.environ.get("TUTORIAL_OUTPUT") or tempfile.mkdtemp(prefix="rbc_marl_tutorial_"))
os.environ.pop("FORCE_COLOR", None)  # Jupyter asks programs for colours, which are no good in a text that is kept


def command(*arguments, shows=True):
    """Run the command rbc-marl in the folder, as you would in a terminal: !rbc-marl ... in a notebook."""
    print("$ rbc-marl", *arguments, flush=True)
    # The command of this Python, wherever the terminal would look for it.
    done = subprocess.run(
        [sys.executable, "-m", "rbc_marl.cli", *arguments],
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if shows or done.returncode:
        print(done.stdout)
    return done


# %% [markdown]
# ## A file
#
# A file names an experiment, an algorithm, an economy, when to stop, and settings. `EconomyPPO` is RLlib's PPO on whole
# batches of economies, with one network for all consumers, one for all firms and one for the government. Settings are
# those of RLlib's `AlgorithmConfig`; `env_config` holds fields of `EconomyConfig`. What is left out has a default.

# %%
text = """\
first-steps:                      # results go to results/first-steps/
  run: EconomyPPO
  env: rbc_open                   # or rbc_closed
  stop:
    training_iteration: 40
  config:
    env_config:
      num_consumers: 10
      num_firms: 2
      export_quota: 50
    num_envs_per_env_runner: 8    # economies played side by side; an iteration is one episode in each
    networks:                     # by agent type
      consumer: {kind: flat, hidden: [32, 32]}
      firm: {kind: flat, hidden: [32, 32]}
      government: {kind: flat, hidden: [32, 32]}
    lr: 2e-3
    seed: 0                       # two runs with one seed agree
"""
(folder / "first.yaml").write_text(text)
print(text)

# %% [markdown]
# ## Check it
#
# `check` reads the file as `train` would, and says what would run.

# %%
assert command("check", "first.yaml").returncode == 0

# %% [markdown]
# ## Train it
#
# `train` shows how far it is, and ends with where the results are and what to run next. Ctrl-C saves a checkpoint
# first, and `--resume` goes on from it. `--set` changes a setting of the file for this run.

# %%
assert command("train", "first.yaml", "--set", "lr=1e-3").returncode == 0

# %% [markdown]
# ## Read the results
#
# A run has a folder of its own: the settings it ran with (`config.yaml`, with everything that was set), what it was
# (`run.json`: seed, versions, command), what it reported, and its checkpoints.

# %%
import pandas as pd

run = max((folder / "results" / "first-steps").iterdir())  # names begin with the time: the newest
for path in sorted(run.iterdir()):
    print(path.name)
print("versions:", json.loads((run / "run.json").read_text())["versions"])

# %% [markdown]
# `progress.csv` has a row per iteration, and `result.json` and the TensorBoard events the same numbers. Names are
# RLlib's; what happened in the economies is under `env_runners/`. Hours are per consumer and period, welfare is summed
# over the episode.

# %%
progress = pd.read_csv(run / "progress.csv")
columns = ["hours", "consumption", "price", "wage", "income_tax", "welfare_total"]
shown = progress[["training_iteration", *(f"env_runners/{name}" for name in columns)]].iloc[[0, 9, 19, 29, 39]]
shown = shown.rename(columns=lambda name: name.removeprefix("env_runners/"))
print(shown.to_string(index=False, float_format="{:.1f}".format))
assert len(progress) == 40

# %% [markdown]
# `learning_curves` draws the same. Everybody learns at once here, and everybody for itself: firms find out that high
# prices pay, and consumers lose by it. Tutorial 03 lets them learn one after another.

# %%
from rbc_marl.analysis.figures.training import learning_curves, read_progress
from rbc_marl.analysis.pictures import Picture

Picture(learning_curves(read_progress(run)), title="A short run of a small economy").save(folder / "learning.png")

# %% [markdown]
# ## Evaluate
#
# `evaluate` takes a checkpoint, or a run's folder for its newest one. It plays episodes in which the agents draw from
# their policies, from a seed. `--greedy` plays each agent's likeliest choice instead, and `--json` prints for programs.
# `economy.png` in the run's folder shows the same as a picture.

# %%
evaluated = command("evaluate", str(run.relative_to(folder)), "--episodes", "32", "--json", shows=False)
means = json.loads(evaluated.stdout)
for name in ("outcome", "collapsed", "hours", "consumption", "price", "welfare_total", "shopping_share"):
    print(f"{name:15}", means[name] if isinstance(means[name], str | bool) else f"{means[name]:,.2f}")

# %% [markdown]
# So short a run teaches little: these consumers hardly look at prices (`shopping_share`). The package holds policies
# that were trained for longer, such as those of `quickstart`.

# %%
trained = command("evaluate", "quickstart", "--episodes", "32", "--out", "economy.png")
assert "outcome: living" in trained.stdout

# %% [markdown]
# ## Use the policies in Python
#
# A checkpoint also holds the policies as plain data: `policies.json` and weights as safetensors. Reading them runs no
# code from the file, and needs no Ray.

# %%
from rbc_marl import VectorEconomy
from rbc_marl.analysis.rollouts import evaluate
from rbc_marl.policies.saved import load_policies

policies = load_policies(run)
assert "ray" not in sys.modules
again = evaluate(policies, num_episodes=32).means
assert abs(again["welfare_total"] - means["welfare_total"]) < 1e-6 * abs(means["welfare_total"]) + 1e-6
print("the same as from the command line: welfare", round(again["welfare_total"], 1))

# %% [markdown]
# Or step them yourself. `act` takes what `VectorEconomy` gives and returns what it takes.

# %%
batch = VectorEconomy(policies.config, num_envs=4, autoreset=False, encoding=policies.encoding)
observation, generator = batch.reset(), torch.Generator().manual_seed(0)
for number in range(1, policies.config.horizon + 1):
    observation, rewards, truncated, flows = batch.step(policies.act(observation, generator))
    print(f"period {number:2}: {float(flows.consumption.sum((1, 2)).mean()):6.1f} units consumed")
assert bool(truncated.all())

# %% [markdown]
# ## From Python
#
# Two functions do what the command does. Here the government looks after consumers only, and the run is shorter still.
# (`storage_path` is where results go: the command used `results` in its folder.)

# %%
from rbc_marl.experiments.file import load_experiments
from rbc_marl.experiments.run import train

sets = ["env_config.welfare=consumers", "stop.training_iteration=4", f"storage_path={folder / 'results'}"]
[experiment] = load_experiments(folder / "first.yaml", sets=sets)
outcome = train(experiment)
print(outcome.status, "in", outcome.folder.name)
print("welfare of consumers:", round(outcome.results["env_runners/welfare_consumers"], 1))
assert load_policies(outcome.checkpoint).config.welfare == "consumers"

# %% [markdown]
# A mistake in a file or a setting is a `ConfigError` of one line. The command prints it and ends with exit status 2.

# %%
from rbc_marl import ConfigError

try:
    load_experiments(folder / "first.yaml", sets=["env_config.num_consumer=20"])
except ConfigError as error:
    print(error)
else:
    raise AssertionError("the misspelt field was not noticed")

# %% [markdown]
# ## What next
#
# - `rbc-marl train rllib_configs/quickstart.yaml` trains the open economy of the paper, with a curriculum.
# - The other files in `rllib_configs` train other economies and with other algorithms; each option has a comment.
# - Write `lr: {grid_search: [1e-3, 3e-3]}` into a file, and `train` runs a sweep with Ray Tune.
