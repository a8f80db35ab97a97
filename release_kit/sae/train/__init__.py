"""Training the autoencoders of one model: all layers and seeds in one pass, resumed exactly, warm-started."""
