"""The file ``encoding.yaml``: what an analysis uses, fits and compares."""
