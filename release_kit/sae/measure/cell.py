"""Everything about the autoencoders of one model at one step, from one load of the model.

Held-out texts go through the model once for all layers and seeds (and once in Latin letters, and digits). What needs a
pass for each autoencoder, cross-entropy with its reconstruction and the contexts that are shown, is bounded by
``MeasureSettings``. Finished autoencoders are passed over; files of one are the same whatever is measured beside it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from release_kit.sae.activations.tokens import TokenBatches, require_languages, tokenise
from release_kit.sae.classify.counts import layers_activations, rows_of_documents, text_pairs
from release_kit.sae.classify.scripts import token_scripts
from release_kit.sae.classify.token_meanings import TokenMeanings
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import SaeError
from release_kit.sae.measure.counting import Labels, SaeCounter
from release_kit.sae.measure.dictionary import study_meanings
from release_kit.sae.measure.documents import DocumentCounts
from release_kit.sae.measure.result import Measured, measured_tables
from release_kit.sae.measure.settings import SETTINGS, MeasureSettings, measure_identity
from release_kit.sae.measure.texts import null_texts
from release_kit.sae.measure.write import is_current, write_recorded
from release_kit.sae.metrics.recovered import Recovered, recovered_of
from release_kit.sae.models.load import LanguageModel
from release_kit.sae.pipeline.identity import versions
from release_kit.sae.pipeline.models import open_step
from release_kit.sae.pipeline.paths import MEASURE_FILE, SaeKey, measure_folder
from release_kit.sae.pipeline.plan import cell_keys
from release_kit.sae.pipeline.read import is_finished, read_finished
from release_kit.sae.pipeline.texts import StudyTexts, study_texts
from release_kit.sae.prepare.documents import texts_of
from release_kit.sae.spec.model import SaeStudy

if TYPE_CHECKING:
    import torch

Report = Callable[[str, int, int], None]
"""Stage, how far, of how much; raises to stop."""
MAX_BYTES = 2 << 30
"""Autoencoders that are held in memory together; more of them take another pass."""


def measure_cell(
    study: SaeStudy, size: str, step: int, *, device: str = "cpu", report: Report,
    settings: MeasureSettings = SETTINGS,
) -> None:  # fmt: skip
    """Measure every finished autoencoder of a size at a step, all layers and seeds; those that are measured stay.

    Args:
        study: with autoencoders in ``saes/``. size, step: of the model. device: of torch.
        report: told how far it is. settings: how much is looked at.

    Raises:
        SaeError: none is finished, one is of another width than the model, or a language has no held-out text.
        ActivationError: activations are no numbers, or the model has no such layer.
    """
    texts = study_texts(study)
    todo = _todo(study, size, step, texts, settings)
    if not todo:
        return
    require_languages(texts_of(texts.held_out))
    lm = open_step(study, size, step, device)
    look = _Look.of(study, lm, texts, settings)
    for block in _blocks(todo, look):
        _measure(study, block, look, device, report)


def _todo(
    study: SaeStudy, size: str, step: int, texts: StudyTexts, settings: MeasureSettings
) -> dict[SaeKey, dict[str, Any]]:
    """Return the autoencoders that are not measured, with the identities of what will be written."""
    there = [key for key in cell_keys(study, size, step) if is_finished(study.folder, key)]
    if not there:
        where = f"{study.file}: {size}, step {step}"
        raise SaeError("no autoencoder is finished", where=where, next_step="release-kit sae run trains them")
    todo = {}
    for key in there:
        identity = measure_identity(study, read_finished(study.folder, key), texts.held_out_digest, settings)
        if not is_current(measure_folder(study.folder, key), MEASURE_FILE, key, identity):
            todo[key] = identity
    return todo


@dataclass(frozen=True, kw_only=True, eq=False)
class _Look:
    """What all autoencoders of a cell are measured with."""

    study: SaeStudy
    lm: LanguageModel
    settings: MeasureSettings
    tokens: TokenBatches
    labels: Labels
    recovered: TokenBatches
    nulls: Mapping[str, TokenBatches]
    texts: dict[int, str]
    meanings: TokenMeanings | None

    @classmethod
    def of(cls, study: SaeStudy, lm: LanguageModel, texts: StudyTexts, settings: MeasureSettings) -> "_Look":
        tokens = texts.held_out_tokens(lm.tokenizer)
        labels = Labels(
            language=tokens.language, document=tokens.document, script=token_scripts(lm.tokenizer)[tokens.ids],
            n_documents=len(tokens.texts), pairs=text_pairs(tokens)[: settings.max_pairs],
        )  # fmt: skip
        given = null_texts(study, texts.held_out, settings)
        return cls(
            study=study, lm=lm, settings=settings, tokens=tokens, labels=labels,
            recovered=tokenise(texts_of(texts.held_out[: settings.recovered_pairs]), lm.tokenizer, texts.context),
            nulls={name: tokenise(one, lm.tokenizer, texts.context) for name, one in given.items()}, texts={},
            meanings=study_meanings(study, lm.tokenizer),
        )  # fmt: skip

    def groups(self, tokens: TokenBatches) -> list[npt.NDArray[np.int64]]:
        """Return the rows of texts in groups that fit into memory."""
        return rows_of_documents(tokens, np.arange(len(tokens.texts)), self.settings.group_tokens)

    def passes(
        self, tokens: TokenBatches, layers: Sequence[int]
    ) -> "Iterator[tuple[dict[int, torch.Tensor], npt.NDArray[np.int64]]]":
        """Yield the activations of groups at all layers."""
        for rows in self.groups(tokens):
            yield layers_activations(self.lm, layers, tokens, rows)


def _blocks(todo: Mapping[SaeKey, dict[str, Any]], look: _Look) -> Iterator[dict[SaeKey, dict[str, Any]]]:
    """Yield autoencoders that fit into memory together."""
    d_in = look.lm.d_model
    each = 8 * d_in * look.study.sae.width(d_in)
    n = max(1, MAX_BYTES // each)
    items = list(todo.items())
    for start in range(0, len(items), n):
        yield dict(items[start : start + n])


def _measure(study: SaeStudy, block: Mapping[SaeKey, dict[str, Any]], look: _Look, device: str, report: Report) -> None:
    saes = {key: _load(study, key, look.lm, device) for key in block}
    layers = sorted({key.layer for key in saes})
    n_groups = sum(len(look.groups(tokens)) for tokens in (look.tokens, *look.nulls.values()))
    n, done = n_groups + len(saes), 0
    counters = {key: SaeCounter(sae, look.labels, n_top=look.settings.n_top) for key, sae in saes.items()}
    for x, index in look.passes(look.tokens, layers):
        report("measure", done, n)
        for key, counter in counters.items():
            counter.add(x[key.layer], index)
        done += 1
    nulls = {name: {key: _documents(sae, tokens) for key, sae in saes.items()} for name, tokens in look.nulls.items()}
    for name, tokens in look.nulls.items():
        for x, index in look.passes(tokens, layers):
            report("measure", done, n)
            for key, sae in saes.items():
                nulls[name][key].add(sae.encode(x[key.layer]), index)
            done += 1
    kept: dict[SaeKey, dict[str, Recovered]] = {}
    for key, identity in sorted(block.items(), key=lambda one: (one[0].layer, one[0].seed)):
        report("measure", done, n)
        if key not in kept:
            same = [one for one in block if one.layer == key.layer]
            kept = dict(zip(same, recovered_of([saes[one] for one in same], look.lm, key.layer, look.recovered),
                            strict=True))  # fmt: skip
        measured = Measured(
            key=key, sae=saes[key], counter=counters[key], nulls={name: nulls[name][key] for name in nulls},
            lm=look.lm, tokens=look.tokens, null_tokens=look.nulls, recovered=kept[key],
            classify=study.classify, settings=look.settings, texts=look.texts, meanings=look.meanings,
        )  # fmt: skip
        folder = measure_folder(study.folder, key)
        write_recorded(folder, MEASURE_FILE, measured_tables(measured), identity=identity, versions=versions(device))
        done += 1


def _load(study: SaeStudy, key: SaeKey, lm: LanguageModel, device: str) -> Sae:
    sae = read_finished(study.folder, key).load()
    if sae.config.d_in != lm.d_model:
        what = f"the autoencoder takes width {sae.config.d_in}, the model has {lm.d_model}"
        raise SaeError(what, where=key.title, next_step="remove the autoencoder, or give the model it was trained on")
    return sae.to(device)


def _documents(sae: Sae, tokens: TokenBatches) -> DocumentCounts:
    return DocumentCounts(n_features=sae.config.n_features, document=tokens.document, n_documents=len(tokens.texts))
