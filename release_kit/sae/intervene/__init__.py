"""Putting decomposed representations into a model and taking them out, beside matched random controls."""
