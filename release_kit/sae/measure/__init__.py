"""What is measured of finished autoencoders on held-out texts: one load of a model, one pass for all of its layers."""
