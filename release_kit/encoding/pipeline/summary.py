"""The tables of an analysis, made of its results: scores, layers, comparisons, factors, ceilings, samples.

Every row of a score names its fit, so that a number in a report leads to the voxels that it is the mean of. What modes
change is ``mode_table.py``'s.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from release_kit.core.wording import counted
from release_kit.encoding.partition.bootstrap import block_bootstrap
from release_kit.encoding.pipeline.banded import SPLIT
from release_kit.encoding.pipeline.designs import Part
from release_kit.encoding.pipeline.judging import block_samples
from release_kit.encoding.pipeline.mode_table import mode_rows
from release_kit.encoding.pipeline.regions import ALL, TOP, TOP_SHARE, top_voxels
from release_kit.encoding.pipeline.results import ANNOTATORS, REPEATS, SUBJECTS, ModeResult, mean_of
from release_kit.encoding.pipeline.tables import write_rows
from release_kit.encoding.spec.model import Comparison
from release_kit.encoding.statistics.ceiling import normalised
from release_kit.encoding.statistics.paired import paired_test
from release_kit.encoding.statistics.profiles import factor_slope

Row = dict[str, Any]
OVER_SUBJECTS, IN_SUBJECT = "subjects", "blocks"
DIFFERENCE = frozenset(["a"]), frozenset(["b"])


def write_tables(folder: Path, results: Sequence[ModeResult]) -> list[Path]:
    """Write every table of an analysis, of all modes that were run; the files are returned."""
    scores = [row for result in results for row in score_rows(result)]
    made = {
        "encoding_scores": scores,
        "layers": [row for result in results for row in layer_rows(result)],
        "partition": [row for result in results for row in partition_rows(result)],
        "statistics": [row for result in results for row in comparison_rows(result)],
        "factors": [row for mode in dict.fromkeys(row["mode"] for row in scores) for row in factor_rows(scores, mode)],
        "ceiling": [row for result in results for row in ceiling_rows(result)],
        "samples": [row for result in results for row in sample_rows(result)],
    }
    if len(results) > 1:
        made["modes"] = mode_rows(results)
    return [write_rows(folder, name, rows) for name, rows in made.items()]


def score_rows(result: ModeResult) -> Iterator[Row]:
    """Yield the mean of every score over every region, for each fit."""
    for (subject, part), fit in result.fits.items():
        judged = result.judged.get((subject, part))
        values = {"cv_r": fit.cv, "r": fit.r, "r2": fit.columns["r2"]}
        if judged is not None:
            values["share_significant"] = np.where(np.isfinite(judged.q), judged.significant, np.nan)
        if best := result.best_ceiling(subject):
            values["r_normalised"] = normalised(fit.r, best[1])
        regions = {ALL: np.ones(len(fit.r), bool), TOP: _top(result, subject, part), **result.regions[subject]}
        for region, inside in regions.items():
            for metric, each in values.items():
                yield {
                    **_model(result, subject, part),
                    "mode": result.choices.mode,
                    "chosen": result.is_chosen(subject, part),
                    "metric": metric,
                    "region": region,
                    "value": mean_of(each, inside),
                    "n_voxels": int((np.isfinite(each) & inside).sum()),
                    "fit_id": fit.fit_id,
                }


def layer_rows(result: ModeResult) -> Iterator[Row]:
    """Yield a row for each layer: mean scores over the voxels that any layer predicts best in cross-validation."""
    for (subject, feature, annotator), profile in result.profiles.items():
        for layer, cv, held_out in zip(profile.layers, profile.cv, profile.held_out, strict=True):
            part = Part(feature=feature, layer=layer, annotator=annotator)
            yield {
                **_model(result, subject, part),
                "mode": result.choices.mode,
                "depth": layer / profile.layers[-1] if profile.layers[-1] else None,
                "cv_r": cv,
                "r": held_out,
                "chosen": layer == profile.best,
                "n_voxels": int(_top(result, subject, part).sum()),
                "fit_id": result.fit(subject, part).fit_id,
            }


def partition_rows(result: ModeResult) -> Iterator[Row]:
    """Yield what each band explains alone and together, mean over each region, with its interval."""
    for each in result.partitions:
        labels = {
            "mode": result.choices.mode,
            "subject": each.subject,
            "name": each.name,
            "fit_id": each.fitted.fit_id,
            "partition_id": each.partition_id,
        }
        for (region, part), (value, low, high, n_voxels) in each.means.items():
            yield {
                **labels,
                "part": part,
                "metric": each.metric,
                "region": region,
                "value": value,
                "low": low,
                "high": high,
                "n_voxels": n_voxels,
            }
        regions = {ALL: np.ones(len(each.fitted.r), bool), TOP: each.top, **result.regions[each.subject]}
        for name, values in each.fitted.columns.items():
            if name.startswith(SPLIT):
                for region, inside in regions.items():
                    n_voxels = int((np.isfinite(values) & inside).sum())
                    row = {**labels, "part": f"split:{name.removeprefix(SPLIT)}", "metric": "r2", "region": region}
                    yield {**row, "value": mean_of(values, inside), "n_voxels": n_voxels}


def comparison_rows(result: ModeResult) -> Iterator[Row]:
    """Yield each comparison in each region: inside every subject by blocks, over subjects where there are two."""
    for comparison in result.analysis.compare:
        regions = dict.fromkeys([ALL, TOP, *(name for named in result.regions.values() for name in named)])
        means: dict[str, list[tuple[float, float]]] = {name: [] for name in regions}
        for group in result.groups:
            for plan in group.plans:
                for row, pair in _in_subject(result, group, plan.subject, comparison):
                    means[row["region"]].append(pair)
                    yield row
        for region, pairs in means.items():
            if sum(np.isfinite(a) and np.isfinite(b) for a, b in pairs) < 2:
                continue
            test = paired_test(*zip(*pairs, strict=True), seed=result.analysis.seed)
            yield {
                **_asked(result, comparison),
                "test": OVER_SUBJECTS,
                "metric": "r",
                "region": region,
                "n": test.n,
                "difference": test.difference,
                "low": test.low,
                "high": test.high,
                "t": test.t,
                "p_t": test.p_t,
                "p_sign_flip": test.p_sign_flip,
                "p_wilcoxon": test.p_wilcoxon,
                "n_greater": test.n_greater,
            }


def _in_subject(
    result: ModeResult, group: Any, subject: str, comparison: Comparison
) -> Iterator[tuple[Row, tuple[float, float]]]:
    a, b = (result.fit(subject, result.chosen(subject, name)) for name in (comparison.a, comparison.b))
    regions = {ALL: np.ones(len(a.r), bool), TOP: top_voxels(a.cv, b.cv), **result.regions[subject]}
    low: dict[str, tuple[float, float]] = {}
    if result.choices.bootstrap:
        found = block_bootstrap(
            group.held_out(subject),
            {DIFFERENCE[0]: np.asarray(a.prediction()), DIFFERENCE[1]: np.asarray(b.prediction())},
            group.plan(subject).test_borders,
            lambda scores: {"difference": scores[DIFFERENCE[0]] - scores[DIFFERENCE[1]]},
            regions=regions,
            metric="r",
            block=block_samples(result.choices.test, group.plan(subject)),
            n=result.choices.bootstrap,
            seed=result.analysis.seed,
        )
        low = {region: (float(each.low), float(each.high)) for (region, _), each in found.means.items()}
    for region, inside in regions.items():
        both = inside & np.isfinite(a.r) & np.isfinite(b.r)
        pair = (mean_of(a.r, both), mean_of(b.r, both))
        ends = low.get(region, (np.nan, np.nan))
        row = {
            **_asked(result, comparison),
            "test": IN_SUBJECT,
            "subject": subject,
            "metric": "r",
            "region": region,
            "n": int(both.sum()),
            "difference": pair[0] - pair[1],
            "low": ends[0],
            "high": ends[1],
            "fit_id_a": a.fit_id,
            "fit_id_b": b.fit_id,
        }
        yield row, pair


def factor_rows(scores: Sequence[Row], mode: str) -> Iterator[Row]:
    """Yield what ten times as many parameters, and a second of context, are worth inside a level."""
    for factor, log10 in (("n_parameters", True), ("context_s", False)):
        for level in dict.fromkeys(row["level"] for row in scores):
            for region in (ALL, TOP):
                rows = [
                    row
                    for row in scores
                    if (row["mode"], row["level"], row["region"], row["metric"]) == (mode, level, region, "r")
                    and row["chosen"] and row["kind"] in ("causal", "encoder") and row[factor] is not None
                ]  # fmt: skip
                if not any(
                    len({r[factor] for r in rows if r["subject"] == s}) > 1 for s in {r["subject"] for r in rows}
                ):
                    continue
                slope = factor_slope(
                    [row[factor] for row in rows], [row["value"] for row in rows], [row["subject"] for row in rows],
                    log10=log10,
                )  # fmt: skip
                named = {"mode": mode, "factor": factor, "level": level, "metric": "r", "region": region}
                yield {**named, "n": slope.n, "slope": slope.slope, "low": slope.low, "high": slope.high, "p": slope.p}


def ceiling_rows(result: ModeResult) -> Iterator[Row]:
    """Yield the mean ceiling of every region: of repeats, between subjects, between annotators."""
    found = [(subject, REPEATS, "upper", values) for subject, values in result.repeats.items()]
    found += [
        (subject, SUBJECTS, bound, values)
        for subject, bounds in result.ceiling.items()
        for bound, values in zip(("lower", "upper"), bounds, strict=True)
    ]
    found += [
        (subject, f"{ANNOTATORS}{feature}", "upper", values) for (subject, feature), values in result.agreement.items()
    ]
    for subject, source, bound, values in found:
        regions = {ALL: np.ones(len(values), bool), **result.regions[subject]}
        best = result.best_ceiling(subject)
        for region, inside in regions.items():
            yield {
                "mode": result.choices.mode,
                "subject": subject,
                "source": source,
                "bound": bound,
                "region": region,
                "value": mean_of(values, inside),
                "n_voxels": int((np.isfinite(values) & inside).sum()),
                "normalises": best is not None and values is best[1],
            }


def sample_rows(result: ModeResult) -> Iterator[Row]:
    """Yield how many samples of each run train and are held out, in each split."""
    for plan in result.inputs.plans.values():
        for split in plan.splits:
            for run, part in zip(plan.used_runs, split.samples.borders, strict=True):
                n_train = int(split.samples.train[part].sum())
                yield {
                    "mode": result.choices.mode,
                    "subject": plan.subject,
                    "split": split.name,
                    "run": run.name,
                    "title": run.title,
                    "n_volumes": run.n_volumes,
                    "n_train": n_train,
                    "n_held_out": part.stop - part.start - n_train,
                }


def headline(result: ModeResult) -> list[str]:
    """Return a line for each subject and feature: its score, its layer, how many voxels are significant."""
    lines = []
    for (subject, feature, annotator), profile in result.profiles.items():
        part = result.chosen(subject, feature, annotator)
        fit, judged = result.fit(subject, part), result.judged.get((subject, part))
        top = mean_of(fit.r, _top(result, subject, part))
        called = ""
        if judged is not None:
            n, of = int(judged.significant.sum()), int(np.isfinite(judged.q).sum())
            called = f", {n:,} of {counted(of, 'voxel')} at q <= {judged.level:g}"
        who = "" if annotator == "mean" else f" ({annotator})"
        layer = f"layer {part.layer}, the best of {len(profile.layers)}; " if len(profile.layers) > 1 else ""
        over_all = mean_of(fit.r, np.ones(len(fit.r), bool))
        lines.append(f"sub-{subject} {feature}{who}: {layer}r {over_all:.3f} over all, "
                     f"{top:.3f} over the best {100 * TOP_SHARE:g} % by cross-validation{called}")  # fmt: skip
    return lines


def _asked(result: ModeResult, comparison: Comparison) -> Row:
    return {"mode": result.choices.mode, "name": comparison.name, "a": comparison.a, "b": comparison.b}


def _top(result: ModeResult, subject: str, part: Part) -> Any:
    same = [fit.cv for (who, each), fit in result.fits.items()
            if (who, each.feature, each.annotator) == (subject, part.feature, part.annotator)]  # fmt: skip
    return top_voxels(*same)


def _model(result: ModeResult, subject: str, part: Part) -> Row:
    use = result.analysis.features[part.feature]
    return {
        "subject": subject,
        "feature": part.feature,
        "level": use.level,
        "model": use.model.name if use.model else use.kind,
        "kind": use.kind,
        "layer": part.layer,
        "language": use.language,
        "annotator": part.annotator,
        "context_s": use.context_s if use.kind in ("causal", "encoder") else None,
        "n_parameters": result.n_parameters(part.feature),
    }
