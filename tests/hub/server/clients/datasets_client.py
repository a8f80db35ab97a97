"""Run by test_conformance_server.py in its own process: the datasets library reads from and writes to the Hub."""

import sys
from pathlib import Path

from datasets import Dataset, load_dataset
from huggingface_hub import HfApi

work = Path(sys.argv[1])
api = HfApi()


def load_a_table_with_configs():
    card = "---\nconfigs:\n- config_name: scores\n  data_files: scores/*.csv\n---\n# Scores\n"
    (work / "table/scores").mkdir(parents=True)
    (work / "table/README.md").write_text(card)
    (work / "table/scores/part.csv").write_text("cell,score\na,0.5\nb,0.75\n")
    api.create_repo("lab/scores", repo_type="dataset")
    api.upload_folder(repo_id="lab/scores", repo_type="dataset", folder_path=work / "table")
    loaded = load_dataset("lab/scores", "scores", split="train")
    assert loaded["score"][:] == [0.5, 0.75]


def push_and_load_again():
    table = Dataset.from_dict({"text": ["one", "two"], "label": [0, 1]})
    table.push_to_hub("lab/pushed", split="test")
    api.create_tag("lab/pushed", tag="v1", repo_type="dataset")
    table.select([0]).push_to_hub("lab/pushed", split="test")
    assert len(load_dataset("lab/pushed", split="test")) == 1
    assert load_dataset("lab/pushed", split="test", revision="v1")["text"][:] == ["one", "two"]
    files = api.list_repo_files("lab/pushed", repo_type="dataset")
    assert [path for path in files if path.endswith(".parquet")]


def stream():
    rows = list(load_dataset("lab/pushed", split="test", revision="v1", streaming=True))
    assert rows == [{"text": "one", "label": 0}, {"text": "two", "label": 1}]


for step in [load_a_table_with_configs, push_and_load_again, stream]:
    step()
    print("passed", step.__name__, flush=True)
