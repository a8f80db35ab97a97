"""The columns of every table of a study. What they mean stands in ``docs/formats/sae-tables.md``."""

from collections.abc import Mapping

from release_kit.sae.browser.tables import LINK_COLUMNS

CELL: Mapping[str, str] = {"size": "string", "step": "int64", "layer": "int32", "seed": "int32"}
"""What every row of every table begins with, links (between two steps) left aside."""
METRIC_ROW: Mapping[str, str] = {"metric": "string", "language": "string", "value": "double"}
NULL_ROW: Mapping[str, str] = {
    "rule": "string", "by": "string", "class": "string", "null": "string", "share": "double", "low": "double",
    "high": "double", "null_share": "double", "null_low": "double", "null_high": "double", "n": "double",
    "null_n": "double", "verdict": "string",
}  # fmt: skip
FEATURE_ROW: Mapping[str, str] = {
    "feature": "int32", "class": "string", "granularity": "string", "share": "double", "low": "double",
    "high": "double", "density": "double", "max_activation": "double",
}  # fmt: skip
"""Columns of features that are always there; ``classify.table.feature_table`` says which follow."""
CONTEXT_ROW: Mapping[str, str] = {
    "feature": "int32", "language": "string", "rank": "int32", "peak": "int32", "tokens": "list<string>",
    "activations": "list<float>", "pair_text": "string",
}  # fmt: skip
LOSS_ROW: Mapping[str, str] = {
    "variant": "string", "class": "string", "strength": "double", "control": "string", "draw": "int32",
    "kind": "string", "sentence": "string", "nll": "double", "n_tokens": "int64",
}  # fmt: skip
EFFECT_ROW: Mapping[str, str] = {
    "variant": "string", "name": "string", "strength": "double", "kind": "string", "beside": "string",
    "value": "double", "low": "double", "high": "double", "p": "double", "n_seeds": "int32", "n_sentences": "int32",
}  # fmt: skip
STABILITY_ROW: Mapping[str, str] = {
    "other_seed": "int32", "share_matched": "double", "mean_cosine": "double", "null_share_matched": "double",
    "null_mean_cosine": "double",
}  # fmt: skip
LABEL_ROW: Mapping[str, str] = {
    "feature": "int32", "class": "string", "granularity": "string", "label": "string",
}  # fmt: skip
LINKS: Mapping[str, str] = LINK_COLUMNS
POOLED_SEED = -1
"""The seed of rows that rest on all seeds together."""
