"""Training of one run: the warm base, the loop, exact resume, the artifacts it leaves, several adapters in one batch.

Examples come tokenised from ``data/``; which runs there are is ``spec/``, who runs them when is ``engine/``.
"""
