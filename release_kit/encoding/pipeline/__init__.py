"""An analysis from its file to its tables, step by step, continued where it was interrupted."""
