"""From nothing to a living economy and to its certificate: training of the preset `small`, and its best responses."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from rbc_marl.benchmark.clock import Limit, is_accelerator, seconds_of
from rbc_marl.config import EconomyConfig

PRESET = "small"
# Iterations between two looks at the outcome, and how many looks in a row must find it living: one can be luck.
EVERY = 20
IN_A_ROW = 2
# Episodes of a look, and their seed.
EPISODES = 64
SEED = 0
# How best responses are searched for: of types, each learnt once, and of no single agents.
SEARCH: dict[str, Any] = {"seeds": [0], "agents": {}, "iterations": 50}


def measure_living(
    config: EconomyConfig, device: str, rounds: int, seconds: float = 0.0, limit: Limit | None = None
) -> dict[str, Any]:
    """Seconds of training until the economy of a preset is living, as `rbc_marl.analysis.outcomes` judges it.

    Looks at the outcome cost nothing here: training alone is timed. The seed is the preset's, so that only a change of
    the code changes the iterations.

    Args:
        config: Not used: the economy is the preset's, whose curriculum fits it.
        device: Where it is trained.
        rounds: Not used: it is trained once.
        seconds: Not used.
        limit: Of time.

    Returns:
        ``preset``, the ``outcome`` at the last look, ``iterations`` and ``seconds`` until the first of the looks in a
        row that found it living, or of the whole training where none did. Where it lives, ``certificate`` has the
        ``seconds`` of the whole training and of the best responses to all types, and their ``verdict``: before its
        curriculum ends an economy still changes.
    """
    from rbc_marl.experiments.file import load_experiments

    limit = limit or Limit()
    experiment = load_experiments(PRESET)[0]
    most = int(experiment.stop["training_iteration"])
    settings = experiment.config.copy(copy_frozen=False).learners(num_gpus_per_learner=int(is_accelerator(device)))
    algorithm = settings.build_algo()
    taken, first, found = 0.0, (0, 0.0), ""
    result: dict[str, Any]
    in_a_row = iteration = 0
    try:
        while iteration < most and in_a_row < IN_A_ROW and limit.allows(f"living, from iteration {iteration} on"):
            for _ in range(min(EVERY, most - iteration)):
                taken += seconds_of(algorithm.train, device)
                iteration += 1
            found = _outcome_of(algorithm)
            in_a_row = in_a_row + 1 if found == "living" else 0
            first = (iteration, taken) if in_a_row == 1 else first
        lives = in_a_row == IN_A_ROW
        result = {"preset": PRESET, "outcome": found}
        result |= dict(zip(("iterations", "seconds"), first if lives else (iteration, taken), strict=True))
        if lives and limit.allows("living, its certificate", taken * most / iteration):
            taken += sum(seconds_of(algorithm.train, device) for _ in range(iteration, most))
            searching, verdict = _certified(algorithm, device)
            result["certificate"] = {"seconds": taken + searching, "verdict": verdict}
    finally:
        algorithm.stop()
    return result


def _certified(algorithm: Any, device: str) -> tuple[float, str]:  # noqa: ANN401 - EconomyPPO
    """Seconds of the search for best responses to the policies, and what comes of it."""
    from rbc_marl.equilibrium.best_response import best_responses
    from rbc_marl.equilibrium.best_response_settings import BestResponseSettings

    settings = BestResponseSettings(**SEARCH)
    verdicts: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        algorithm.save_policies(folder / "policies")

        def search() -> None:
            report = best_responses(folder / "policies", settings, folder / "found", 0, lambda line: None)
            report.save(folder / "found")
            verdicts.extend(report.verdicts().values())

        return seconds_of(search, device), verdicts[0]


def _outcome_of(algorithm: Any) -> str:  # noqa: ANN401 - EconomyPPO: RLlib is imported where it is needed
    from rbc_marl.analysis.outcomes import outcome
    from rbc_marl.analysis.rollouts import evaluate
    from rbc_marl.policies.saved import load_policies

    with tempfile.TemporaryDirectory() as folder:
        algorithm.save_policies(folder)
        policies = load_policies(folder)
    return outcome(policies.config, evaluate(policies, EPISODES, SEED).means, algorithm.config.rules)
