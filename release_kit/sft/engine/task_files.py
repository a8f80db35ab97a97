"""What a task reads: its YAML file and the data files that it names, as one digest for each task.

Kept in a cell's provenance, so that a task that changed afterwards is noticed without the harness.
"""

import hashlib
from pathlib import Path

import yaml

from release_kit.core.errors import ReleaseKitError
from release_kit.core.files import inside
from release_kit.sft.prepare.inputs import TASKS_FOLDER, named_data_files


def task_files_sha256(study_folder: Path, task: str) -> str | None:
    """Return the sha256 over the file of ``task`` and its local data; None when one of them is not there."""
    try:
        text = (study_folder / TASKS_FOLDER / f"{task}.yaml").read_bytes()
        digest = hashlib.sha256(text)
        for name in sorted(named_data_files(text)):
            digest.update(f"\0{name}\0".encode())
            digest.update(inside(study_folder, name).read_bytes())
    except (OSError, ReleaseKitError, yaml.YAMLError):
        return None
    return digest.hexdigest()
