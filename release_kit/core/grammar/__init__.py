"""Declared files in YAML: the kinds of their keys, reading by them, and where in the text a key stands."""
