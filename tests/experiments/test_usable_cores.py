"""A machine is not all ours: work side by side counts the cores that this process may use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = """
from rbc_marl.experiments.ray_session import RayOptions, _where, usable_cores
print(usable_cores(), _where(RayOptions(), 1)["num_cpus"], _where(RayOptions(), 2)["num_cpus"])
"""


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_that_is_bound_to_one_core_counts_one():
    bind = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    done = subprocess.run([sys.executable, "-c", bind + CODE], capture_output=True, text=True, check=True)
    # Of a run with a process of its own the sampler and the run itself each take one, whatever there is.
    assert done.stdout.split() == ["1", "1", "2"]
