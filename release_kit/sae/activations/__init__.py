"""Tokens and their activations: a content-addressed cache, truly shuffled, and the same without a disk."""
