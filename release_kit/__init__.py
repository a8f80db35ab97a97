"""release_kit: reproducible, provable releases of models and datasets."""

__version__ = "0.1.0"
