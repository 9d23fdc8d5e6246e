"""Mutated folders of policies: each is read, or refused in one line, and nothing of it runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save

from rbc_marl.policies.saved import INDEX_NAME, WEIGHTS_FOLDER, find_checkpoint, load_policies
from rbc_marl.vector_env import VectorEconomy
from tests.fuzz.mutations import cases, mutated, mutated_text, refused_or_accepted

pytestmark = pytest.mark.long

ZOO = find_checkpoint("quickstart")
INDEX = json.loads((ZOO / INDEX_NAME).read_text(encoding="utf-8"))
FIRM = Path(WEIGHTS_FOLDER, "firm.safetensors")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Path(shutil.copytree(ZOO, tmp_path_factory.mktemp("fuzz") / "policies"))


def check_policies(folder):
    with refused_or_accepted():
        policies = load_policies(folder)
        if policies.config.num_consumers * policies.config.num_firms <= 10_000:
            economy = VectorEconomy(policies.config, 1, encoding=policies.encoding)
            economy.step(policies.act(economy.reset(), torch.Generator().manual_seed(0)))


@given(index=mutated([INDEX], most=2))
@cases(80)
def test_mutated_indices_are_read_or_refused(folder, index):
    (folder / INDEX_NAME).write_text(json.dumps(index, default=str), encoding="utf-8")
    check_policies(folder)


@given(text=mutated_text([json.dumps(INDEX)]))
@cases(60)
def test_mutated_texts_of_indices_are_read_or_refused(folder, text):
    (folder / INDEX_NAME).write_bytes(text.encode("utf-8", "surrogatepass"))
    check_policies(folder)


WHOLE = (ZOO / FIRM).read_bytes()


@given(start=st.integers(0, 3000), length=st.integers(0, 64), patch=st.binary(max_size=64))
@cases(100)
def test_mutated_weights_are_read_or_refused(folder, start, length, patch):
    shutil.copy(ZOO / INDEX_NAME, folder / INDEX_NAME)
    (folder / FIRM).write_bytes(WHOLE[:start] + patch + WHOLE[start + length :])
    try:
        check_policies(folder)
    finally:
        shutil.copy(ZOO / FIRM, folder / FIRM)


@given(name=st.sampled_from(sorted(load_file(ZOO / FIRM))),
       kind=st.sampled_from(["nan", "gone", "more", "double", "shape"]))  # fmt: skip
@cases(20)
def test_weights_of_other_names_shapes_and_kinds_are_refused(folder, name, kind):
    shutil.copy(ZOO / INDEX_NAME, folder / INDEX_NAME)
    weights = load_file(ZOO / FIRM)
    changes = {"nan": weights[name] * torch.nan, "double": weights[name].double(), "shape": weights[name].unsqueeze(0)}
    if kind == "gone":
        del weights[name]
    else:
        weights["more" if kind == "more" else name] = changes.get(kind, weights[name].clone())
    (folder / FIRM).write_bytes(save({n: x.contiguous() for n, x in weights.items()}))
    try:
        check_policies(folder)
    finally:
        shutil.copy(ZOO / FIRM, folder / FIRM)
