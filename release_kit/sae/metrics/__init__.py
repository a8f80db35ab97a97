"""How well an autoencoder reconstructs: variance, sparsity, recovered loss, stability; each by language too."""
