"""Can each checkpoint be loaded, and are its numbers numbers: files, shards, index, and values."""

from collections.abc import Iterator

from release_kit.core.errors import ReleaseKitError
from release_kit.release.check.codes import problem
from release_kit.release.check.problem import Problem
from release_kit.release.check.shapes import shape_contradictions
from release_kit.release.check.views import ArtifactFile, CellView, Survey

INDEX_SUFFIX = ".safetensors.index.json"


def check_weights(survey: Survey) -> Iterator[Problem]:
    """Yield every cell that cannot be loaded, or holds values that no training makes."""
    for view in survey.cells.values():
        yield from _absent(survey, view)
        for file in view.files:
            yield from _unreadable(view, file)
        for inner, reason in view.broken_documents.items():
            code = "index-broken" if inner.endswith(".index.json") else "config-broken"
            yield _problem(code, view, f"{inner} is not valid JSON: {reason}", view.file(inner))
        yield from _index(view)
        yield from _config(view)
        yield from _values(survey, view)


def _problem(code: str, view: CellView, what: str, file: ArtifactFile | None = None) -> Problem:
    return problem(code, view.where, what, cell_id=view.cell.cell_id, path=file.path if file else None)


def _absent(survey: Survey, view: CellView) -> Iterator[Problem]:
    if view.results_only or view.weights:
        return
    folder = view.folder.relative_to(survey.study.folder).as_posix()
    names = [file.inner for file in view.files if file.inner.endswith(INDEX_SUFFIX)]
    if not view.folder_exists:
        what = f"the folder {folder} is not there"
    elif names:
        return  # the index names its missing shards one by one
    else:
        what = f"{folder} holds no weights ({len(view.files)} other files)"
    yield _problem("weights-absent", view, what)


def _unreadable(view: CellView, file: ArtifactFile) -> Iterator[Problem]:
    digest = file.digest
    if isinstance(digest, ReleaseKitError):
        yield _problem("file-unreadable", view, f"{file.inner} {digest.what}", file)
    elif digest.problem is not None:
        yield _problem("weights-truncated", view, f"{file.inner} {digest.problem}", file)


def _index(view: CellView) -> Iterator[Problem]:
    for inner in sorted(view.documents):
        if not inner.endswith(INDEX_SUFFIX):
            continue
        file = view.file(inner)
        weight_map = view.document(inner).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
            yield _problem("index-broken", view, f"{inner} has no `weight_map` from tensors to files", file)
            continue
        shards = sorted(set(weight_map.values()))
        for shard in shards:
            if view.file(shard) is None:
                n = sum(1 for name in weight_map.values() if name == shard)
                yield _problem("shard-missing", view, f"{inner} expects {n} tensors in {shard}, which is missing", file)
        yield from _unindexed(view, inner, set(shards))
        yield from _disagreement(view, inner, weight_map)


def _unindexed(view: CellView, inner: str, shards: set[str]) -> Iterator[Problem]:
    stem = inner.removesuffix(INDEX_SUFFIX)
    for file in view.weights:
        beside = "/" not in file.inner and file.inner.endswith(".safetensors") and file.inner.startswith(stem)
        if beside and file.inner not in shards:
            yield _problem("shard-unindexed", view, f"{file.inner} is not named by {inner}", file)


def _disagreement(view: CellView, inner: str, weight_map: dict[str, str]) -> Iterator[Problem]:
    """Compare the index with the headers of the shards that can be read."""
    readable = {
        shard: {tensor.name for tensor in view.file(shard).tensors}
        for shard in set(weight_map.values())
        if view.file(shard) is not None and view.file(shard).tensors
    }
    lost = sorted(name for name, shard in weight_map.items() if shard in readable and name not in readable[shard])
    found = sorted((name, shard) for shard, names in readable.items() for name in names)
    explained = set(lost)
    extra = [name for name, shard in found if weight_map.get(name) != shard and name not in explained]
    if lost or extra:
        parts = []
        if lost:
            parts.append(f"{len(lost)} tensors are not in the shard that it names (first: {lost[0]})")
        if extra:
            parts.append(f"{len(extra)} tensors of the shards are not in it (first: {extra[0]})")
        yield _problem("index-disagrees", view, f"{inner}: " + "; ".join(parts), view.file(inner))


def _config(view: CellView) -> Iterator[Problem]:
    if not view.weights or view.is_adapter or "config.json" in view.broken_documents:
        return
    config = view.document("config.json")
    if not config:
        # Other libraries name their files otherwise and bring other configurations (sparse autoencoders, for one).
        if any(file.inner.startswith("model") and file.inner.endswith(".safetensors") for file in view.weights):
            yield _problem("config-missing", view, "there is no config.json beside the weights")
        return
    shapes = {name: tensor.shape for name, tensor in view.tensors.items()}
    complete = all(not isinstance(file.digest, ReleaseKitError) and file.tensors for file in view.weights)
    complete = complete and not any(inner.endswith(INDEX_SUFFIX) for inner in view.broken_documents)
    complete = complete and _all_shards(view)
    for what in shape_contradictions(config, shapes, complete=complete):
        yield _problem("shape-contradicts-config", view, what, view.file("config.json"))


def _all_shards(view: CellView) -> bool:
    """Whether nothing is missing by the word of the index, so that layers may be counted."""
    for inner, document in view.documents.items():
        if inner.endswith(INDEX_SUFFIX) and isinstance(document, dict):
            weight_map = document.get("weight_map")
            if isinstance(weight_map, dict) and any(view.file(str(s)) is None for s in set(weight_map.values())):
                return False
    return True


def _values(survey: Survey, view: CellView) -> Iterator[Problem]:
    tensors = [(file, tensor) for file in view.weights for tensor in file.tensors]
    filled = [(file, tensor) for file, tensor in tensors if tensor.n_bytes]
    if filled and all(tensor.zero for _, tensor in filled):
        yield _problem("weights-all-zero", view, f"all {len(filled)} tensors are zero", filled[0][0])
        return
    base = survey.base_of(view)
    for file, tensor in filled:
        if tensor.n_nonfinite:
            n_values = 1
            for length in tensor.shape:
                n_values *= length
            what = f"{tensor.name} holds NaN or infinity in {tensor.n_nonfinite:,} of {n_values:,} values"
            yield _problem("tensor-nonfinite", view, f"{file.inner}: {what}", file)
        known = base.tensors.get(tensor.name) if base else None
        meant = "lora_" in tensor.name or (known is not None and known.zero)
        if tensor.zero and len(tensor.shape) >= 2 and not meant:
            what = f"{tensor.name} {list(tensor.shape)} holds nothing but zeros"
            yield _problem("tensor-zero", view, f"{file.inner}: {what}", file)
