"""A checkpoint is fetched from a Hub at its revision, and is the same model as the folder it came from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from release_kit.hub.server import LocalHub
from release_kit.sae.models.load import model_digest
from release_kit.sae.prepare.series import LmSeries

PROGRAM = """
import sys
from huggingface_hub import HfApi
from release_kit.sae.errors import SaeError
from release_kit.sae.models.load import model_digest, open_model
api = HfApi()
api.create_repo("lab/tiny")
for folder in sys.argv[1:]:
    branch = folder.rpartition("/")[2]
    api.create_branch("lab/tiny", branch=branch)
    api.upload_folder(repo_id="lab/tiny", folder_path=folder, revision=branch)
    lm = open_model("lab/tiny", branch)
    assert lm.digest == model_digest("lab/tiny", branch) and lm.label() == f"lab/tiny@{branch}"
    print(lm.digest)
for source, revision in (("lab/tiny", "step-999"), ("lab/none", None), ("lab/tiny", "main")):
    try:
        open_model(source, revision)
    except SaeError as error:
        print(error, file=sys.stderr)
"""


@pytest.mark.slow
def test_revision_of_a_hub_model_is_the_folder_it_was_uploaded_from(small_series: LmSeries, tmp_path: Path):
    folders = [str(small_series.checkpoints[index].folder) for index in (1, 3)]
    with LocalHub(root=tmp_path / "hub") as hub:
        environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"),
                       "HF_HUB_DISABLE_PROGRESS_BARS": "1"}  # fmt: skip
        ran = subprocess.run([sys.executable, "-c", PROGRAM, *folders], capture_output=True, text=True, env=environment,
                             timeout=300)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == [model_digest(folder) for folder in folders]
    said = ran.stderr.strip().splitlines()[-3:]
    assert said[0].startswith("lab/tiny@step-999: transformers cannot read it")
    assert said[1].startswith("lab/none: transformers cannot read it")
    assert said[2].startswith("lab/tiny@main: ")
