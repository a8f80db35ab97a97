"""What a result depends on, as digests: code, libraries, responses. With settings they are a folder's identity."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.canonical import digest
from release_kit.encoding.features.model_files import runtime_versions
from release_kit.encoding.pipeline.choices import Choices
from release_kit.encoding.pipeline.inputs import Inputs, SubjectPlan

_ROOT = Path(__file__).parents[1]
FIT_CODE = (
    "arrays.py",
    "data",
    "features",
    "solve",
    "pipeline/designs.py",
    "pipeline/filtering.py",
    "pipeline/fits.py",
    "pipeline/banded.py",
    "pipeline/repeats.py",
    "pipeline/responses.py",
)
TEST_CODE = ("statistics", "pipeline/judging.py", "pipeline/pooled.py")
PARTITION_CODE = ("partition", "solve/scores.py", "pipeline/partitions.py")


def code_digest(names: tuple[str, ...]) -> str:
    """Return the digest of files and folders of ``release_kit.encoding``."""
    files: list[Path] = []
    for name in names:
        path = _ROOT / name
        files += sorted(path.glob("*.py")) if path.is_dir() else [path]
    return digest({file.relative_to(_ROOT).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files})


def libraries() -> Mapping[str, str]:
    """Return the versions of what calculates."""
    return dict(runtime_versions(("numpy", "scipy", "torch")))


def responses_identity(inputs: Inputs, plan: SubjectPlan, choices: Choices) -> dict[str, Any]:
    """Return what the cleaned responses of a subject's samples depend on, as JSON."""
    return {
        "subject": plan.subject,
        "runs": {run.name: inputs.digest(plan.subject, run) for run in plan.used_runs},
        "rows": digest([plan.samples.run.tolist(), plan.samples.volume.tolist(), list(plan.samples.runs)]),
        "clean": {
            "center": choices.clean.center,
            "detrend": choices.clean.detrend,
            "window_s": choices.clean.window_s,
        },
    }
