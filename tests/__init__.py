"""Tests of rbc_marl; the folders mirror the package."""
