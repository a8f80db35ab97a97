"""One cell: a language model at one training step, and the autoencoders of all its layers and seeds.

Owns the order of things: one forward pass over the texts for all layers, training, files, and what is removed
afterwards. Everything resumes by what is on disk; stopping or killing it anywhere changes no byte of the result.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from release_kit.sae.activations.order import Rows
from release_kit.sae.activations.tokens import TokenBatches, require_languages
from release_kit.sae.config import SaeConfig
from release_kit.sae.dictionary import Sae
from release_kit.sae.errors import ActivationError, SaeError
from release_kit.sae.models.load import LanguageModel
from release_kit.sae.pipeline.identity import Identities, changes, versions
from release_kit.sae.pipeline.models import model_label, open_step
from release_kit.sae.pipeline.paths import ACTIVATIONS, SaeKey, activations_folder, run_folder, sae_folder
from release_kit.sae.pipeline.plan import Selection, cell_keys, layers_of, previous_step
from release_kit.sae.pipeline.read import is_finished, read_finished
from release_kit.sae.pipeline.texts import LANGUAGES, study_texts
from release_kit.sae.spec.model import SaeStudy
from release_kit.sae.train import room
from release_kit.sae.train.one import Trained, Training
from release_kit.sae.train.runs import claim_run, forget_run
from release_kit.sae.train.settings import sae_config, schedule, step_settings, warm_sae
from release_kit.sae.train.together import Member, train_together
from release_kit.sae.train.write import write_finished

if TYPE_CHECKING:
    from release_kit.sae.activations.store import ActivationStore

Report = Callable[[str, int, int], None]
STREAM_SEED = 0
"""Streams show all seeds the same order: a seed there decides the first tensors alone."""
SCALE_TOKENS = 1 << 16
"""Tokens of a stream from which the one scale of ``rms`` is taken."""


def train_cell(
    study: SaeStudy,
    size: str,
    step: int,
    *,
    device: str = "cpu",
    report: Report = lambda stage, i, n: None,
    select: Selection | None = None,
    keep_activations: bool = False,
) -> None:
    """Train the autoencoders of one model at one step that are not finished; all others stay as they are.

    Args:
        study: the study; the checkpoint is there, and with a warm start the autoencoders of the step before.
        size: of the model.
        step: of its training.
        device: of torch, for model and autoencoders.
        report: told stage, how many are done and of how many; what it raises ends the work, which can be continued.
        select: partial levels: only these layers and seeds.
        keep_activations: leave the set on disk; it is removed when other cells need its room.

    Raises:
        SaeError: names size, step and layer: an unknown layer, a checkpoint that is missing, texts without a language,
            values that are no numbers, too little memory or room, or a finished autoencoder of other settings.
        ReleaseKitError: the disk is full, or another process trains the same cell.
    """
    identities = Identities(study)
    keys = cell_keys(study, size, step, select)
    todo = [key for key in keys if not _is_kept(study, key, identities)]
    for key in keys:
        if key not in todo:
            forget_run(run_folder(study.folder, key))
    if todo:
        with one_thread(), named(f"size {size}, step {step}"):
            cell = _Cell(study=study, size=size, step=step, device=device, report=report, identities=identities)
            cell.stream(todo) if study.cache.kind == "stream" else cell.disk(todo)
    if not keep_activations and all(is_finished(study.folder, key) for key in cell_keys(study, size, step)):
        room.release(activations_folder(study.folder, size, step))


@dataclass(kw_only=True)
class _Cell:
    """What the work on one cell shares."""

    study: SaeStudy
    size: str
    step: int
    device: str
    report: Report
    identities: Identities
    _facts: dict[str, Any] = field(default_factory=dict)

    def disk(self, todo: Sequence[SaeKey]) -> None:
        """Take activations of all layers to disk in one pass, then train one autoencoder after the other."""
        from release_kit.sae.pipeline.models import shape_of

        study, home = self.study, activations_folder(self.study.folder, self.size, self.step)
        n_layers, d_model = shape_of(study, self.size)
        layers = layers_of(study, self.size, n_layers)
        lm, tokens = self._open(layers)
        needed = room.bytes_needed(tokens.n_tokens, d_model, len(layers), study.cache.dtype)
        room.check_fits(needed, study.cache.max_gb, n_layers=len(layers), where="activations")
        root = study.folder / ACTIVATIONS
        with room.room_for(home, root, needed, study.cache.max_gb, self._wait):
            store = self._collect(lm, tokens, layers, home)
            del lm
            for key in todo:
                with named(f"layer {key.layer}, seed {key.seed}"):
                    store = self._one(store, key, home, tokens, layers)

    def stream(self, todo: Sequence[SaeKey]) -> None:
        """Train all autoencoders of the cell from one stream, in step with each other."""
        from release_kit.sae.activations.stream import ActivationStream

        study, layers = self.study, tuple(sorted({key.layer for key in todo}))
        lm, tokens = self._open(layers)
        stream = ActivationStream(lm=lm, tokens=tokens, layers=layers)
        scales = self._scales(stream) if study.sae.normalise == "rms" else {}
        configs = {layer: sae_config(study, stream.d_model, scales.get(layer)) for layer in layers}
        members = [Member(layer=key.layer, training=self._training(key, configs[key.layer])) for key in todo]

        def joint(start: int) -> Iterator[Rows]:
            return stream.joint(layers, study.training.batch, STREAM_SEED, start, passes=None)

        train_together(members, joint, lambda i, n: self.report("train", i, n))
        for key, member in zip(todo, members, strict=True):
            self._write(key, member.training.config, member.training.trained())

    def _open(self, layers: Sequence[int]) -> tuple[LanguageModel, TokenBatches]:
        self.report("model", 0, 1)
        study = self.study
        lm = open_step(study, self.size, self.step, self.device)
        if unknown := [layer for layer in layers if layer > lm.n_layers]:
            what = f"there is no layer {unknown[0]}: its layers are 1 to {lm.n_layers}"
            raise ActivationError(what, where="layers", next_step="name layers that this size has")
        tokens = study_texts(study).train_tokens(lm.tokenizer)
        require_languages(tokens.texts, LANGUAGES)
        self._facts = {"prepend_bos": tokens.bos is not None}
        return lm, tokens

    def _collect(self, lm: LanguageModel, tokens: TokenBatches, layers: Sequence[int], home: Path) -> "ActivationStore":
        from release_kit.sae.activations.collect import collect

        return collect(
            lm, tokens, layers, home, dtype=self.study.cache.dtype,
            progress=lambda i, n: self.report("activations", i, n),
        )  # fmt: skip

    def _one(
        self, store: "ActivationStore", key: SaeKey, home: Path, tokens: TokenBatches, layers: Sequence[int]
    ) -> "ActivationStore":
        """Train one autoencoder from the set; a shard that turns out damaged is made again, once each."""
        batch, remade = self.study.training.batch, set()
        training = self._training(key, sae_config(self.study, store.d_model, store.mean_square[key.layer]))
        while not training.is_done:
            rows = store.batches(key.layer, batch, key.seed, training.n_steps, passes=None)
            try:
                for x, _ in rows:
                    training.take(x)
                    self.report("/".join(key.parts[2:]), training.n_steps, training.schedule.n_steps)
                    if training.is_done:
                        break
            except ActivationError as error:
                shard = Path(error.where or "")
                if store.folder not in shard.parents or shard in remade:
                    raise
                remade.add(shard)
                shard.unlink(missing_ok=True)
                lm = open_step(self.study, self.size, self.step, self.device)
                store = self._collect(lm, tokens, layers, home)
        self._write(key, training.config, training.trained())
        return store

    def _training(self, key: SaeKey, config: SaeConfig) -> Training:
        folder = run_folder(self.study.folder, key)
        claim_run(folder, self.identities.digest(key))
        return Training(
            config, step_settings(self.study), schedule(self.study), folder, seed=key.seed,
            warm=self._warm(key, config), device=self.device,
        )  # fmt: skip

    def _warm(self, key: SaeKey, config: SaeConfig) -> Sae | None:
        before = previous_step(self.study, key.size, key.step)
        if before is None:
            return None
        donor = SaeKey(size=key.size, step=before, layer=key.layer, seed=key.seed)
        return warm_sae(read_finished(self.study.folder, donor), config)

    def _write(self, key: SaeKey, config: SaeConfig, trained: Trained) -> None:
        study = self.study
        metadata = {
            "model_name": model_label(study, key.size, key.step),
            "hook_name": f"blocks.{key.layer - 1}.hook_resid_post",
            "hook_layer": key.layer - 1,
            "hook_meaning": f"residual stream after block {key.layer} (counted from 1), before the final norm",
            "context_size": study.text.context,
            "prepend_bos": self._facts["prepend_bos"],
            "dataset_path": Path(study.text.source).name,
            "study": study.name, "size": key.size, "step": key.step, "layer": key.layer, "seed": key.seed,
        }  # fmt: skip
        write_finished(
            sae_folder(study.folder, key), trained, config=config, identity=self.identities.of(key), metadata=metadata,
            tokens_seen=study.training.n_steps * study.training.batch, versions=versions(self.device),
        )  # fmt: skip
        forget_run(run_folder(study.folder, key))

    def _scales(self, stream: Any) -> Mapping[int, float]:
        """Return the mean of x² of each layer over the first tokens of the stream."""
        total, n = dict.fromkeys(stream.layers, 0.0), 0
        wanted = min(SCALE_TOKENS, stream.n_tokens)
        for rows, index in stream.joint(stream.layers, self.study.training.batch, STREAM_SEED):
            for layer, x in rows.items():
                total[layer] += float(x.double().square().sum())
            n += len(index)
            if n >= wanted:
                break
        return {layer: value / (n * stream.d_model) for layer, value in total.items()}

    def _wait(self) -> None:
        import time

        self.report("wait for room", 0, 0)
        time.sleep(room.LOOK_S)


def _is_kept(study: SaeStudy, key: SaeKey, identities: Identities) -> bool:
    """Return whether an autoencoder is finished as the study asks for it.

    Raises:
        SaeError: it is finished, from something else.
    """
    if not is_finished(study.folder, key):
        return False
    there, asked = read_finished(study.folder, key), identities.of(key)
    if there.identity_digest == identities.digest(key):
        return True
    what = f"it is there, made from something else: {changes(dict(there.record['identity']), asked)}"
    step = "restore what it was made from, or make it again with --redo-stale"
    raise SaeError(what, where=key.title, next_step=step)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Sums depend on the number of threads, so it is one in the block, whatever the process uses otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def named(place: str) -> Iterator[None]:
    """Say of whatever goes wrong in the block where in the study it was; memory that ran out becomes a sentence.

    Raises:
        SaeError: with ``place`` before its own.
    """
    import torch

    try:
        yield
    except SaeError as error:
        where = f"{place}: {error.where}" if error.where else place
        raise type(error)(error.what, where=where, next_step=error.next_step) from error
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(place) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(place) from error


def _out_of_memory(place: str) -> SaeError:
    step = "lower training.batch or sae.expansion, run fewer workers, or with --device cpu; what is done is kept"
    return SaeError("memory ran out", where=place, next_step=step)
