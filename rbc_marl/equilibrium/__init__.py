"""Experiments with trained policies and over many runs: best responses, and sweeps with Ray Tune."""
