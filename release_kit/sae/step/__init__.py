"""One exact training step without tensors of tokens by features."""
