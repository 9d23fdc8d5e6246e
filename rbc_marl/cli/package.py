"""The commands about the package itself: presets, schema and bench."""

from __future__ import annotations

import json
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from rbc_marl.cli.options import AsJson, RayAddress
from rbc_marl.errors import require

SchemaKind = Literal["experiment", "sweep", "scenario", "best_response"]


def presets(
    copy: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Copy them there, to edit them.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over files of the same names.")] = False,
) -> None:
    """List the files that come with the package; `train`, `sweep` and `scenario` take their names."""
    from rbc_marl.presets import copy_presets, describe_presets

    if copy is not None:
        copies = copy_presets(copy, force=force)
        print(f"copied: {len(copies)} files to {copy}")
        print(f"next: {shlex.join(['rbc-marl', 'check', str(copy / 'quickstart.yaml')])}")
        return
    listed = list(describe_presets())
    width = max(len(name) for _, name, _ in listed)
    for command, kind in (("train", "experiment"), ("sweep", "sweep"), ("scenario", "scenario")):
        print(f"rbc-marl {command} NAME")
        print("\n".join(f"  {name:<{width}}  {what}" for of, name, what in listed if of == kind))
    print("next: rbc-marl train quickstart")


def schema(
    kind: Annotated[SchemaKind, typer.Argument(metavar="KIND", help="experiment, sweep, scenario, best_response.")] = (
        "experiment"
    ),
) -> None:
    """Print the JSON schema of a kind of file, with which editors complete and check it."""
    require("ray.rllib", "rllib")
    print(json.dumps(schema_of(kind), indent=1))


def bench(
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PART", help="Such as economy, training, sizes or compiled. Repeatable."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="DEVICE", help="Where batches are played: cpu or cuda.")] = "cpu",
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Measure, in one run, the economy, environments, sampling and training against references, and large economies."""
    from rbc_marl.benchmark import bench as benchmark

    parts = only or list(benchmark.PARTS)
    with ExitStack() as stack:
        if set(parts) & set(benchmark.NEEDS_RAY):
            require("ray.rllib", "rllib")
            from rbc_marl.experiments.ray_session import RayOptions, quieten, ray_session

            quieten(0)
            stack.enter_context(ray_session(RayOptions(address=ray_address), 1))
        result = benchmark.run(parts, device)
    print(json.dumps(result, indent=2) if as_json else benchmark.table(result))


def schema_of(kind: SchemaKind) -> dict[str, object]:
    """JSON schema of a kind of file."""
    from rbc_marl.analysis.scenarios import Scenario
    from rbc_marl.equilibrium.best_response_settings import BestResponseSettings
    from rbc_marl.equilibrium.study import StudyFile
    from rbc_marl.experiments.build import experiment_schema
    from rbc_marl.schema import file_schema

    if kind == "experiment":
        return experiment_schema()
    if kind == "best_response":  # what stands under best_response in a sweep file
        return BestResponseSettings.model_json_schema()
    if kind == "scenario":
        return Scenario.model_json_schema()
    return file_schema(StudyFile, "Sweeps of rbc-marl")
