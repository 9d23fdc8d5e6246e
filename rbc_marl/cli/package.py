"""The commands about the package itself: presets, schema and bench."""

from __future__ import annotations

import json
import math
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from rbc_marl.cli.options import AsJson, RayAddress
from rbc_marl.errors import one_of, require
from rbc_marl.places import local_path, named, push

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
        typer.Option(metavar="PART", help="Such as economy, training, compiled, sizes or living. Repeatable."),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="DEVICE", help="Where economies and learners run: cpu, cuda, or auto.")
    ] = "cpu",
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of torch; with 1, CPU time is measured.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="For all parts together; the rest is left out.")
    ] = None,
    out: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Save the record (.json), its table (.md) or a picture (.png). Repeatable."),
    ] = None,
    note: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="Keep it with the figures. Repeatable.")
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(metavar="PACKAGE", help="Another package beside it, installed on first use: vmas. Repeatable."),
    ] = None,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Measure the economy, sampling, training and large economies, on a CPU or an accelerator, against references."""
    from rbc_marl.analysis.frames import check_path
    from rbc_marl.benchmark import bench as benchmark
    from rbc_marl.benchmark import tables
    from rbc_marl.benchmark.clock import resolve
    from rbc_marl.benchmark.rivals import check_rivals
    from rbc_marl.benchmark.training import has_ray
    from rbc_marl.files import replace_file

    device, files = resolve(device), [local_path(file) for file in out or []]
    for file in files:
        check_path(file, (".json", ".md", ".png", ".pdf", ".svg"))

    def save(result: dict[str, Any]) -> None:
        """Write what there is after every part: what was measured stays if the next part never ends."""
        texts = {".json": lambda: json.dumps(result, indent=2) + "\n", ".md": lambda: tables.markdown(result)}
        for file in files:
            if file.suffix in texts:
                replace_file(file, texts[file.suffix]())

    wanted = only or ([] if against else list(benchmark.PARTS))
    parts = [one_of(part, benchmark.PARTS, "the part to measure") for part in wanted]
    check_rivals(against or ())
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    with ExitStack() as stack:
        if has_ray() and set(parts) & set(benchmark.STARTS_RAY):
            from rbc_marl.experiments.ray_session import RayOptions, quieten, ray_session

            quieten(0)
            stack.enter_context(ray_session(RayOptions(address=ray_address), 1))
        most = math.inf if limit is None else limit
        chosen = parts if only or against else None
        result = benchmark.run(chosen, device, against=against or (), limit=most, notes=note or (), save=save)
    for file in files:
        if file.suffix not in (".json", ".md"):
            from rbc_marl.analysis.drawing import save as draw
            from rbc_marl.analysis.figures import speed

            draw(speed.measured(result), file)
        push(file)
    print(json.dumps(result, indent=2) if as_json else tables.text(result))
    if files and not as_json:
        print(f"saved: {', '.join(map(named, files))}")
    if result["failed"]:
        print("\n".join(one["traceback"] for one in result["failed"]), file=sys.stderr)
        raise typer.Exit(1)


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
