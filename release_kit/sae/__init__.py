"""Sparse autoencoders over training steps, layers and sizes of language models, and the language of their features."""
