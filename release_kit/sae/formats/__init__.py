"""The layouts in which autoencoders are published, read and written."""
