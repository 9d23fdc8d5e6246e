"""The pictures of README and docs, made anew: from the tables of docs/evidence and from the zoo.

Run by `make pictures`. docs/economy.png is made by the first tutorial.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

import rbc_marl
from rbc_marl.analysis.charts import Chart
from rbc_marl.analysis.comparison import compare
from rbc_marl.analysis.drawing import save
from rbc_marl.analysis.figures import deviations, episodes, off_path, reforms, sweeps
from rbc_marl.analysis.rollouts import play
from rbc_marl.policies.imposed import Imposed
from rbc_marl.presets import zoo

DOCS = Path(__file__).resolve().parent


def draw(name: str, charts: Sequence[Chart], columns: int = 3, title: str = "") -> None:
    """Draw charts into a file of docs, and print the captions, from which its alt text is written."""
    print(save(charts, DOCS / name, columns, title).relative_to(DOCS))
    print("\n".join(f"  {chart.caption}" for chart in charts))


def main() -> None:
    """Make them all."""
    for name, figure in (("market", sweeps.market), ("closed", sweeps.comparison)):
        table = pd.read_csv(DOCS / "evidence" / f"{name}.csv")
        draw(f"evidence/{name}.png", figure(table.to_dict("records")))
    certificate = json.loads((zoo()["open_rbc"] / "best_response" / "certificate.json").read_text(encoding="utf-8"))
    draw("evidence/equilibria.png", deviations.best_responses(deviations.certificate_rows(certificate)), columns=1)
    trained = rbc_marl.load("quickstart")
    played = play(trained, agents=True)
    title = f"quickstart: {episodes.said(played)}; below, the first episode"
    draw("quickstart.png", episodes.portrait(played), title=title)
    draw("money.png", episodes.money(played))
    draw("curves.png", [*off_path.demand(trained), *off_path.labour_supply(trained)])
    taxed = {f"income_tax={rate}": Imposed.parse({"income_tax": rate}, "taxes").on(trained) for rate in (0.2, 0.4)}
    draw("reform.png", reforms.reform(compare({"quickstart": trained, **taxed})))


if __name__ == "__main__":
    main()
