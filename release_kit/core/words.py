"""Words that several records share, apart from ``study.py``: reading a manifest must not load a study's reader."""

Level = str | int | float | bool
"""A level of a factor: any YAML scalar but null."""

STUDY_FILE = "study.yaml"

LAYOUTS = ("repos", "branches", "folders")
"""How the cells of a release of models may lie on a Hub; a dataset lies there as ``tree`` (``dataset_tree.py``)."""
