"""A static feature browser that opens from disk."""
