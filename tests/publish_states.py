"""The end states that undisturbed publications of the tiny study lead to, to compare others with."""

from pathlib import Path

from publish_hub import end_state
from study_factory import make_study

from release_kit.core.study import LAYOUTS
from release_kit.hub.client import HubClient
from release_kit.hub.server import LocalHub
from release_kit.release.build import build_release
from release_kit.release.publish.run import PublishOptions, publish_release
from release_kit.release.tree import open_tree

STUDY = {"datasets": ("alpaca",), "methods": ("lora",), "seeds": (0, 1)}


def undisturbed(folder: Path) -> dict[str, dict]:
    """Return layout → end state."""
    study = make_study(folder / "study", **STUDY)
    build_release(study)
    states = {}
    for layout in LAYOUTS:
        with LocalHub(folder / layout) as hub, HubClient(hub.endpoint) as client:
            options = PublishOptions(namespace="lab", layout=layout, collection="A tiny grid")
            publish_release(open_tree(study.folder), client, options)
            states[layout] = end_state(hub, "lab")
    return states
