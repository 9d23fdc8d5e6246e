"""The Ray of the tests of rllib, here too."""

from tests.rllib.conftest import ray_running as ray_running
