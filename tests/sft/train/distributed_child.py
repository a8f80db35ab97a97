"""One process of a distributed run, started by torchrun: BASE FOLDER METHOD SHARDED [stop after step]."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tiny_training import make_examples, make_settings

from release_kit.sft.train.distributed import train_distributed
from release_kit.sft.train.warm import WarmBase

base, folder, method, sharded, *stop = sys.argv[1:]


def on_step(step: int, loss: float) -> None:
    """Die as a killed process does, after the step that was asked for."""
    if stop and step == int(stop[0]):
        os._exit(9)


facts = train_distributed(
    WarmBase(Path(base)), make_examples(), make_settings(checkpoint_every=2), method=method, seed=0,
    keep={"epoch-1": 3, "final": 6}, folder=Path(folder), sharded=sharded == "sharded", on_step=on_step,
)  # fmt: skip
if os.environ["RANK"] == "0":
    print("FACTS " + json.dumps(facts.to_dict()))
