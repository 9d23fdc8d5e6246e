"""One Ray for all tests that need one."""

from __future__ import annotations

import logging
import os

import pytest


@pytest.fixture(scope="session")
def ray_running():
    """A small Ray on this machine, started at the first test that asks for it."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    is_ours = not ray.is_initialized()
    if is_ours:
        ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray").setLevel(logging.ERROR)
    yield
    if is_ours:
        ray.shutdown()
