"""The pictures of README and docs, made anew: from docs/evidence, from the zoo, and by the first tutorial.

Run by `make pictures`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

import rbc_marl
from rbc_marl.analysis.charts import Chart
from rbc_marl.analysis.comparison import compare
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.figures import deviations, episodes, off_path, reforms, responses, speed, sweeps, taxes, textbook
from rbc_marl.analysis.rollouts import play
from rbc_marl.analysis.treatments import Impulse, impulse
from rbc_marl.policies.imposed import Imposed
from rbc_marl.presets import zoo

DOCS = Path(__file__).resolve().parent
# Sweeps of the page about the curriculum, and what is drawn of them.
CELLS = {
    "curriculum": "quickstart",
    "curriculum_closed": "closed, more money",
    "curriculum_flat": "flat networks",
    "curriculum_paper": "paper's learner",
}
DRAWN = ("comparison-welfare_total", "comparison-consumer_return")
TUTORIAL = DOCS.parent / "tutorials" / "01_see_an_economy.py"


def draw(path: Path, charts: Sequence[Chart], columns: int = 3, title: str = "") -> None:
    """Draw charts into a file, and print its name and the captions, from which its alt text is written."""
    print(save(charts, path, columns, title))
    print("\n".join(f"  {chart.caption}" for chart in charts))


def of_evidence(name: str) -> list[dict[str, Any]]:
    """The rows of a committed table."""
    table = pd.read_csv(DOCS / "evidence" / f"{name}.csv")
    return [{str(column): value for column, value in row.items()} for row in table.to_dict("records")]


def of_curricula() -> list[Chart]:
    """With a curriculum and without: a row of charts per quantity, a column per economy."""
    charts = {name: {chart.name: chart for chart in sweeps.comparison(of_evidence(name))} for name in CELLS}
    return [
        replace(charts[name][drawn], name=f"{name}-{drawn}", title=f"{cell}: {charts[name][drawn].title}")
        for drawn in DRAWN
        for name, cell in CELLS.items()
    ]


def of_speed() -> dict[str, Any]:
    """Records of `rbc-marl bench` by version, the oldest first."""
    files = (DOCS / "evidence" / "speed").glob("*.json")
    records = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in files}
    return dict(sorted(records.items(), key=lambda item: [int(number) for number in item[0].split(".")]))


def by_tutorial(folder: Path) -> None:
    """What an environment draws of itself, at the end of the first tutorial: economy.png."""
    environment = {**os.environ, "TUTORIAL_OUTPUT": str(folder), "PYTHONPATH": str(DOCS.parent)}
    subprocess.run([sys.executable, str(TUTORIAL)], env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=True)


def main(to: Path = DOCS) -> None:
    """Make them all.

    Args:
        to: Folder to write into, of the same shape as docs.
    """
    (to / "evidence").mkdir(exist_ok=True)
    for name, figure in (("market", sweeps.market), ("closed", sweeps.comparison)):
        draw(to / "evidence" / f"{name}.png", figure(of_evidence(name)))
    rows = of_evidence("taxes")
    draw(to / "evidence" / "taxes.png", [*taxes.tax_map(rows), *taxes.laffer(rows)])
    draw(to / "evidence" / "curriculum.png", of_curricula(), columns=len(CELLS))
    certificate = json.loads((zoo()["open_rbc"] / "best_response" / "certificate.json").read_text(encoding="utf-8"))
    charts = deviations.best_responses(deviations.certificate_rows(certificate))
    draw(to / "evidence" / "equilibria.png", charts, columns=1)
    draw(to / "benchmarks.png", speed.history(of_speed()))
    draw(to / "textbook.png", textbook.paths(of_evidence("textbook")))
    trained = rbc_marl.load("quickstart")
    played = play(trained, agents=True)
    title = f"quickstart: {episodes.said(played)}; below, the first episode"
    draw(to / "quickstart.png", episodes.portrait(played), title=title)
    draw(to / "money.png", episodes.money(played))
    draw(to / "curves.png", [*off_path.demand(trained), *off_path.labour_supply(trained)])
    taxed = {f"income_tax={rate}": Imposed.parse({"income_tax": rate}, "taxes").on(trained) for rate in (0.2, 0.4)}
    draw(to / "reform.png", reforms.reform(compare({"quickstart": trained, **taxed})))
    shock = Impulse(number="technology", change=-0.05, period=3)
    draw(to / "impulse.png", responses.responses(impulse(rbc_marl.load("open_shocks"), shock)))
    with TemporaryDirectory() as folder:
        by_tutorial(Path(folder))
        shutil.copyfile(Path(folder) / "economy.png", to / "economy.png")


if __name__ == "__main__":
    main()
