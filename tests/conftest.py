"""Set-up shared by all tests."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from hypothesis import settings

# The tests import their own helpers as `tests.convert` and so on, from wherever pytest is started.
sys.path.append(str(Path(__file__).resolve().parent.parent))

# Checkpoints of tests are signed with a key of their own, and the configuration folder of whoever tests stays as it is.
os.environ["RBC_MARL_KEY"] = "of the tests"

# Whoever started the tests with nohup does not decide what a closed terminal does to a run.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Small tensors: threads would only wait for each other, and for the other workers of pytest-xdist.
torch.set_num_threads(1)

# Examples are few but always the same, so that a failure is never a matter of luck. `make fuzz` tries more of them, and
# `pytest --hypothesis-profile=search` others each time.
settings.register_profile("default", deadline=None, max_examples=25, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=400, derandomize=True)
# The campaign of tests/fuzz, ten times as large.
settings.register_profile("fuzz", deadline=None, max_examples=250, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile("default")
