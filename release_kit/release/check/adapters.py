"""Adapters: is the base named, is it the declared one, do ranks and targets fit, was anything trained."""

from collections.abc import Iterator, Mapping
from typing import Any

from release_kit.core.hashing import TensorDigest
from release_kit.release.check.codes import problem
from release_kit.release.check.labels import names_level
from release_kit.release.check.problem import Problem
from release_kit.release.check.views import CellView, Survey

CONFIG = "adapter_config.json"


def check_adapters(survey: Survey) -> Iterator[Problem]:
    """Yield every adapter that nobody can put on the right model."""
    for view in survey.cells.values():
        if not view.is_adapter or CONFIG in view.broken_documents:
            continue
        yield from _base(survey, view)
        yield from _shapes(survey, view)
        yield from _untrained(view)


def _problem(code: str, view: CellView, what: str) -> Problem:
    return problem(code, view.where, what, cell_id=view.cell.cell_id, path=view.file(CONFIG).path)


def _base(survey: Survey, view: CellView) -> Iterator[Problem]:
    said = view.document(CONFIG).get("base_model_name_or_path")
    if not isinstance(said, str) or not said.strip():
        yield _problem("adapter-base-missing", view, f"{CONFIG} has no `base_model_name_or_path`")
        return
    factor = survey.study.factor_with_role("base_model")
    level = view.cell.levels.get(factor.name) if factor else None
    if level is None or level in names_level(said, factor):
        return
    declared = factor.properties.get(level, {}).get("hub_id") or level
    others = sorted(str(other) for other in names_level(said, factor))
    known = f", the base model of {', '.join(others)}" if others else ""
    yield _problem("adapter-base-differs", view, f"{CONFIG} names {said!r}{known}; declared is {declared!r}")


def _shapes(survey: Survey, view: CellView) -> Iterator[Problem]:
    config = view.document(CONFIG)
    rank = config.get("r")
    if str(config.get("peft_type", "")).upper() != "LORA" or not isinstance(rank, int):
        return
    pairs = _pairs(view.tensors)
    wrong = []
    patterns = config.get("rank_pattern")
    patterned = isinstance(patterns, dict) and bool(patterns)
    for target, (a, b) in sorted(pairs.items()):
        if a is None or b is None:
            wrong.append(f"{target} has only one of lora_A and lora_B")
        elif a.shape[0] != b.shape[1]:
            wrong.append(f"{target}: lora_A {list(a.shape)} and lora_B {list(b.shape)} do not multiply")
        elif a.shape[0] != rank and not patterned:
            wrong.append(f"{target} has rank {a.shape[0]}, {CONFIG} has r {rank}")
        elif (reason := _against_base(survey, view, target, a, b)) is not None:
            wrong.append(reason)
    if not pairs and view.tensors:
        wrong.append("there is no lora_A or lora_B")
    wrong += _targets(config, pairs)
    if wrong:
        more = f" … and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield _problem("adapter-shape", view, wrong[0] + more)


def _pairs(tensors: Mapping[str, TensorDigest]) -> dict[str, tuple[TensorDigest | None, TensorDigest | None]]:
    """Return target module → its 2-D (lora_A, lora_B)."""
    result: dict[str, list] = {}
    for name, tensor in tensors.items():
        for index, part in enumerate((".lora_A.", ".lora_B.")):
            if part in name and name.endswith(".weight") and len(tensor.shape) == 2:
                result.setdefault(name.split(part)[0], [None, None])[index] = tensor
    return {target: (a, b) for target, (a, b) in result.items()}


def _against_base(survey: Survey, view: CellView, target: str, a: TensorDigest, b: TensorDigest) -> str | None:
    base = survey.base_of(view)
    known = base.tensors.get(f"{target.removeprefix('base_model.model.')}.weight") if base else None
    if known is None or len(known.shape) != 2 or known.shape == (b.shape[0], a.shape[1]):
        return None
    if known.shape == (a.shape[1], b.shape[0]) and view.document(CONFIG).get("fan_in_fan_out"):
        return None
    return f"{target} is made for {[b.shape[0], a.shape[1]]}, the base model has {list(known.shape)}"


def _targets(config: Mapping[str, Any], pairs: Mapping[str, Any]) -> list[str]:
    """Every module that the configuration targets by name must have its matrices."""
    wanted = config.get("target_modules")
    if not isinstance(wanted, list) or not all(isinstance(name, str) for name in wanted) or not pairs:
        return []
    present = {part for target in pairs for part in (target, target.rsplit(".", 1)[-1])}
    suffixes = tuple(f".{name}" for name in wanted)
    lost = [n for n in wanted if n not in present and not any(t.endswith(f".{n}") for t in pairs)]
    strange = [t for t in pairs if not t.endswith(suffixes) and t not in wanted]
    found = [f"{CONFIG} targets {name}, which has no matrices" for name in sorted(lost)]
    if strange and not config.get("modules_to_save"):
        found.append(f"{strange[0]} has matrices, but is not among `target_modules`")
    return found


def _untrained(view: CellView) -> Iterator[Problem]:
    second = [b for _, b in _pairs(view.tensors).values() if b is not None]
    if second and all(tensor.zero for tensor in second):
        yield _problem("adapter-untrained", view, f"all {len(second)} lora_B matrices are zero")
