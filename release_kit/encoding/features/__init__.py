"""Annotations and media as feature matrices: latents of models, static word vectors, delays, principal components."""
