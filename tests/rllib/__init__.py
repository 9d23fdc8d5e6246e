"""Tests of the RLlib side."""
