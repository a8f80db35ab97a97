"""The audit of every run of a study: runs that train on the same tokens are audited once.

Owns the grouping and what of a base model's folder is read for it (tokenizer, context, vocabulary), no weights. One
run's audit is ``audit.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.core import canonical
from release_kit.core.errors import ReleaseKitError
from release_kit.core.grid import Level, matches
from release_kit.core.study import Study
from release_kit.sft.data.audit import Audit, audit
from release_kit.sft.data.errors import DataError
from release_kit.sft.data.examples import Selected, select_for
from release_kit.sft.data.invariants import check_run
from release_kit.sft.data.packing import plan_steps, steps_per_epoch
from release_kit.sft.data.tokens import pad_id
from release_kit.sft.runtime import prepare_runtime
from release_kit.sft.spec.runs import RunPlan, base_folder, plan_runs
from release_kit.sft.spec.settings import TrainingSettings

TOKENISED_BY = ("template", "loss_on", "truncation", "max_length")
PACKED_BY = ("batch_size", "packing", "micro_batch")
"""Settings that decide what of the data is trained on, and in which rows."""


@dataclass(frozen=True, kw_only=True)
class GroupAudit:
    """The audit of the runs that train on the same tokens in the same rows."""

    base_model: str
    dataset: str
    data_size: int | None
    settings: Mapping[str, Any]
    runs: tuple[str, ...]
    """How each of them is named in messages."""
    audit: Audit | None
    """None where the data or the base model cannot be read."""
    problems: tuple[ReleaseKitError, ...]
    """All that is wrong: of the audit, of reading, of the rows."""
    steps_per_epoch: int | None = None
    fill: float | None = None
    """Part of the rows' ``max_length`` tokens that hold examples, over one epoch of the first run."""

    @property
    def ok(self) -> bool:
        """Return whether these runs may be trained."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form without the single examples."""
        warnings = self.audit.warnings if self.audit else ()
        return {
            "ok": self.ok,
            "base_model": self.base_model,
            "dataset": self.dataset,
            "data_size": self.data_size,
            "settings": dict(self.settings),
            "n_runs": len(self.runs),
            "runs": list(self.runs),
            "counts": dict(self.audit.counts) if self.audit else {},
            "steps_per_epoch": self.steps_per_epoch,
            "fill": self.fill,
            "problems": [problem.to_dict() for problem in self.problems],
            "warnings": [warning.to_dict() for warning in warnings],
        }


def audit_study(
    study: Study,
    selection: Mapping[str, Sequence[Level]] | None = None,
    on_event: Callable[[str], None] | None = None,
) -> list[GroupAudit]:
    """Audit every run of ``study``, or those that ``selection`` names; nothing is written.

    A group whose data or base model cannot be read has that as its problem; the others are audited all the same.

    Args:
        study: with data and base models in place.
        selection: factor → wanted levels (``core.grid.parse_selection``); the epoch plays no part.
        on_event: called with what is being audited.

    Raises:
        StudyError: the study declares no runs, or contradicts itself.
        MissingExtraError: transformers is not installed.
    """
    prepare_runtime()
    plans = [plan for plan in plan_runs(study) if matches(plan.levels, selection or {})]
    bases: dict[str, _Base | ReleaseKitError] = {}
    reports: dict[tuple, Audit] = {}
    groups: dict[tuple, tuple[RunPlan, Selected | ReleaseKitError, list[str]]] = {}
    for plan in plans:
        selected = _caught(lambda plan=plan: select_for(study, plan))
        data = selected.sha256 if isinstance(selected, Selected) else str(selected)
        known = tuple(getattr(plan.settings, name) for name in TOKENISED_BY + PACKED_BY)
        key = (plan.base_model, plan.dataset, plan.data_size, data, *known)
        groups.setdefault(key, (plan, selected, []))[2].append(plan.describe())
    result = []
    for plan, selected, runs in groups.values():
        if on_event:
            on_event(f"{plan.dataset} with {plan.base_model}")
        if plan.base_model not in bases:
            bases[plan.base_model] = _caught(lambda plan=plan: _read_base(base_folder(study, plan.base_model)))
        result.append(_group(plan, selected, bases[plan.base_model], tuple(runs), reports))
    return result


@dataclass(frozen=True, kw_only=True)
class _Base:
    """What of a base model an audit needs."""

    tokenizer: Any
    context_length: int | None
    vocab_size: int | None


def _group(plan: RunPlan, selected: Any, base: Any, runs: tuple[str, ...], reports: dict[tuple, Audit]) -> GroupAudit:
    shown = {name: getattr(plan.settings, name) for name in TOKENISED_BY + PACKED_BY}
    facts: dict[str, Any] = {
        "base_model": plan.base_model, "dataset": plan.dataset, "data_size": plan.data_size, "settings": shown,
        "runs": runs,
    }  # fmt: skip
    unread = tuple(part for part in (selected, base) if isinstance(part, ReleaseKitError))
    if unread:
        return GroupAudit(**facts, audit=None, problems=unread)
    key = (plan.base_model, selected.sha256, *(shown[name] for name in TOKENISED_BY))
    if key not in reports:
        limits = {"context_length": base.context_length, "vocab_size": base.vocab_size}
        reports[key] = audit(selected.rows, base.tokenizer, plan.settings, places=selected.places, **limits)
    report = reports[key]
    if not report.ok:
        return GroupAudit(**facts, audit=report, problems=report.problems)
    examples = report.tokens
    problem = _caught(
        lambda: check_run(examples, plan.settings, plan.seed, pad_id(base.tokenizer), vocab_size=base.vocab_size)
    )
    return GroupAudit(
        **facts,
        audit=report,
        problems=() if problem is None else (problem,),
        steps_per_epoch=steps_per_epoch(len(examples), plan.settings),
        fill=_fill([len(example.ids) for example in examples], plan.settings, plan.seed),
    )


def _fill(lengths: Sequence[int], settings: TrainingSettings, seed: int) -> float:
    steps = plan_steps(lengths, settings, seed, steps_per_epoch(len(lengths), settings))
    n_rows = sum(len(rows) for step in steps for rows in step.micro_batches)
    return sum(lengths) / (n_rows * settings.max_length)


def _read_base(folder: Path) -> _Base:
    """Read the tokenizer and the limits of a base model.

    Raises:
        DataError: the folder is missing, or holds no tokenizer.
    """
    from transformers import AutoTokenizer

    config = folder / "config.json"
    if not config.is_file():
        step = "run `release-kit sft prepare` on the study, or put the base model there"
        raise DataError("there is no base model", where=str(folder), next_step=step)
    known = canonical.read_json(config)
    known = {**known.get("text_config", {}), **known}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        what = f"holds no tokenizer that transformers reads ({str(error).splitlines()[0][:120]})"
        raise DataError(what, where=str(folder)) from error
    limits = (known.get("max_position_embeddings"), known.get("vocab_size"))
    return _Base(tokenizer=tokenizer, context_length=limits[0], vocab_size=limits[1])


def _caught(work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns, or the problem that it raises."""
    try:
        return work()
    except ReleaseKitError as problem:
        return problem
