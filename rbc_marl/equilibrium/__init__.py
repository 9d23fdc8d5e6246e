"""Experiments over many runs: sweeps with Ray Tune."""
