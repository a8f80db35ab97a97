"""Language models: loading at a revision, and the residual stream of every layer in one forward pass."""
