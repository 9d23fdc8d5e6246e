"""Tests of rbc_marl.economy."""
