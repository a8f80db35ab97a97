"""Reads ``sae.yaml`` into a ``SaeStudy``; everything that is wrong is said at once, with its line.

What keys say of one another is judged here; whether models and layers exist is seen when a model is opened.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from release_kit.core.grammar.problem import Problem
from release_kit.core.grammar.values import Findings, read_record
from release_kit.core.grammar.yaml_text import is_broken, places_of, refuse_swelling
from release_kit.core.records import nearest
from release_kit.core.wording import counted
from release_kit.sae.errors import SaeError
from release_kit.sae.spec import grammar
from release_kit.sae.spec.model import (
    CLASSES,
    NULLS,
    RULES,
    SCHEMA_VERSION,
    VARIANTS,
    CacheUse,
    ClassifyUse,
    InterveneUse,
    LanguageModelUse,
    ModelUse,
    SaeStudy,
    SaeUse,
    TextUse,
    TrainingUse,
)

STUDY_FILE = "sae.yaml"
_SHAPE = ("hidden_size", "n_layers", "n_heads")


class StudyFileError(SaeError):
    """Everything that is wrong with a ``sae.yaml``, at once."""

    def __init__(self, problems: tuple[Problem, ...], *, where: str):
        self.problems = problems
        if len(problems) == 1:
            super().__init__(problems[0].what, where=problems[0].where, next_step=problems[0].next_step or None)
            return
        lines = [f"  {problem.sentence()}" for problem in problems]
        super().__init__("\n".join([counted(len(problems), "problem"), *lines]), where=where)

    def to_dict(self) -> dict:
        """Return the parts for ``--json`` with every problem as a record."""
        return {**super().to_dict(), "problems": [problem.to_dict() for problem in self.problems]}


def read_study(path: Path) -> SaeStudy:
    """Return the study in ``path`` (the file, or the folder of a ``sae.yaml``).

    Raises:
        SaeError: there is no such file, or everything that is wrong with it.
        RecordError: it is no YAML.
    """
    file = path / STUDY_FILE if path.is_dir() else path
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        step = "name a sae.yaml; its keys stand in docs/formats/sae.md"
        raise SaeError(f"no study can be read here ({reason})", where=str(file), next_step=step) from error
    return parse_study(text, file=file)


def parse_study(text: str, *, file: Path) -> SaeStudy:
    """Return the study that a text describes; see ``read_study``."""
    from release_kit.core.strict_yaml import parse_yaml

    where = str(file)
    refuse_swelling(text, where)
    loaded = parse_yaml(text, where)
    found = Findings()
    version = loaded.get("schema_version") if isinstance(loaded, dict) else None
    if version not in (None, SCHEMA_VERSION):
        found.refuse(
            "schema_version", f"is {version!r}", f"this release_kit reads {SCHEMA_VERSION}; update release_kit"
        )
    values = read_record(grammar.STUDY, _with_text_steps(loaded), "", found)
    if isinstance(values, dict) and not is_broken(values):
        _check(values, found)
    if found.problems or found.unfilled or not isinstance(values, dict):
        raise StudyFileError(tuple(found.to_problems(places_of(text, where), unfilled=True)), where=where)
    return _build(values, file)


def _with_text_steps(loaded: Any) -> Any:
    """Return the file with training steps as text where they are keys: YAML reads 1000 as a number."""
    models = loaded.get("models") if isinstance(loaded, dict) else None
    if not isinstance(models, dict):
        return loaded
    changed = {}
    for name, model in models.items():
        revisions = model.get("revisions") if isinstance(model, dict) else None
        if isinstance(revisions, dict):
            steps = {str(k) if isinstance(k, int) and not isinstance(k, bool) else k: v for k, v in revisions.items()}
            model = {**model, "revisions": steps}
        changed[name] = model
    return {**loaded, "models": changed}


def _check(values: Mapping[str, Any], found: Findings) -> None:
    for name, model in values["models"].items():
        _check_model(f"models.{name}", model, values["language_model"]["steps"], found)
    _check_sae(values["sae"], found)
    for key, names, known in (
        ("classify.nulls", values["classify"]["nulls"], NULLS),
        ("classify.rules", values["classify"]["rules"], RULES),
        ("intervene.variants", values["intervene"]["variants"], VARIANTS),
        ("intervene.classes", values["intervene"]["classes"], (*CLASSES, *values["text"]["languages"])),
    ):
        for place, name in enumerate(names):
            if name not in known:
                found.refuse(f"{key}[{place}]", f"is {name!r}", nearest(name, known).removeprefix("; "))
    if len(set(values["text"]["languages"])) != 2:
        found.refuse("text.languages", "are not two different ones", "name two languages, as in [en, ja]")
    if not 0.5 < values["classify"]["share"] <= 1:
        found.refuse("classify.share", f"is {values['classify']['share']:g}", "take more than a half, as in 0.9")
    for key in ("seeds", "layers"):
        if len(set(values[key])) != len(values[key]):
            found.refuse(key, "names one twice", "each stands once")
    if 0 in values["layers"]:
        found.refuse("layers", "names 0", "blocks are counted from 1; the embeddings are not decomposed")


def _check_model(key: str, model: Mapping[str, Any], last: int, found: Findings) -> None:
    shape = [name for name in _SHAPE if model[name] is not None]
    if (model["path"] is None) != (len(shape) == len(_SHAPE)) or (model["path"] is not None and shape):
        found.refuse(key, "is neither trained here nor there already", f"write {', '.join(_SHAPE)}, or path")
        return
    if model["path"] is None:
        if model["revisions"]:
            found.refuse(f"{key}.revisions", "belong to a path", "leave them out: steps are trained here")
        if model["hidden_size"] % (2 * model["n_heads"]):
            found.refuse(f"{key}.hidden_size", "is no multiple of twice n_heads", "rotary positions need pairs")
        if not model["steps"]:
            found.refuse(f"{key}.steps", "are missing", "name the steps that are kept, as in [0, 30, 100, 300, 1000]")
        if beyond := [step for step in model["steps"] if step > last]:
            found.refuse(f"{key}.steps", f"name {beyond[0]}, after the last step {last}", "raise language_model.steps")
    elif missing := [step for step in model["steps"] if str(step) not in {str(k) for k in model["revisions"]}]:
        found.refuse(f"{key}.steps", f"name {missing[0]}, which has no revision", "add it to revisions")
    if odd := [step for step in model["revisions"] if not str(step).isdigit()]:
        found.refuse(f"{key}.revisions", f"has the step {odd[0]!r}", "steps are whole numbers")
    if len(set(model["steps"])) != len(model["steps"]):
        found.refuse(f"{key}.steps", "name one twice", "each stands once")


def _check_sae(sae: Mapping[str, Any], found: Findings) -> None:
    groups = sae["groups"]
    if (sae["architecture"] == "matryoshka") != bool(groups):
        found.refuse("sae.groups", "belong to matryoshka", "write both or neither")
    if sae["n_features"] is not None and sae["k"] > sae["n_features"]:
        found.refuse("sae.k", f"is {sae['k']} of {sae['n_features']} features", "fewer fire than there are")
    if groups and list(groups) != sorted(set(groups)):
        found.refuse("sae.groups", "do not grow", "name the sizes of nested dictionaries, the smallest first")
    if groups and sae["n_features"] is not None and groups[-1] != sae["n_features"]:
        found.refuse("sae.groups", f"end with {groups[-1]}", f"the last one is all of {sae['n_features']} features")


def _build(values: Mapping[str, Any], file: Path) -> SaeStudy:
    models = {}
    for name, model in values["models"].items():
        revisions = {int(step): str(revision) for step, revision in model["revisions"].items()}
        steps = tuple(sorted(model["steps"] or revisions or (0,)))
        models[name] = ModelUse(**{**model, "name": name, "revisions": revisions, "steps": steps})
    steps = values["intervene"]["steps"]
    return SaeStudy(
        file=file,
        name=values["name"],
        description=values["description"],
        text=TextUse(**values["text"]),
        language_model=LanguageModelUse(**values["language_model"]),
        models=models,
        layers=tuple(sorted(values["layers"])),
        seeds=values["seeds"],
        sae=SaeUse(**values["sae"]),
        training=TrainingUse(**values["training"]),
        cache=CacheUse(**values["cache"]),
        classify=ClassifyUse(**values["classify"]),
        intervene=InterveneUse(**{**values["intervene"], "steps": steps}),
    )
