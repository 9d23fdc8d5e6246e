"""Experiments for sweep files to vary."""

BASE = """
tiny:
  run: EconomyPPO
  env: rbc_open
  stop: {training_iteration: 40}
  config: {env_config: {num_consumers: 4, num_firms: 2, horizon: 3}}
"""
