"""Permutation tests, false-discovery control, noise ceilings, tests over subjects and layer profiles."""
