"""Scores of one model on harness tasks: the harness itself, a faster scorer with equal results, per-sample outputs."""
