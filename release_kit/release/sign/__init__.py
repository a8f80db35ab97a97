"""Signatures: one over the manifest for a whole release, one for a single model folder on request."""
