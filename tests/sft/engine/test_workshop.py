"""What a worker keeps warm is held against the disk."""

from pathlib import Path

import pytest

from release_kit.core.errors import ArtifactError
from release_kit.core.study import parse_study
from release_kit.sft.engine.workshop import Workshop

TEXT = """
schema_version: 1
name: tiny
version: "1"
factors: {base_model: [gone], dataset: [x], method: [full]}
"""


def test_base_that_is_not_there_is_a_mistake_of_the_study_with_its_next_step(tmp_path: Path):
    shop = Workshop(parse_study(TEXT, folder=tmp_path))
    for _ in range(2):
        with pytest.raises(ArtifactError, match="run `release-kit sft prepare`"):
            shop.identity("gone")
