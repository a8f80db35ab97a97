"""Each kind of defect that releases were found with is found in a replica of that release, with its exact counts."""

import json

from hub_replica import (
    CARD,
    PYTHIA_STEPS,
    checkpoint,
    olmo,
    put_release,
    pythia,
    replace_files,
    sae_folders,
    tensor_bytes,
)

from release_kit.hub.reference import Repo
from release_kit.release.audit import AuditOptions, audit_releases

STEPS = tuple(range(1000, 13000, 1000))


def codes(report) -> list[str]:
    return sorted(finding.code for finding in report.findings)


def only(report, code: str):
    (finding,) = [finding for finding in report.findings if finding.code == code]
    return finding


def dump(value) -> bytes:
    return json.dumps(value).encode()


def test_nothing_is_found_in_a_clean_suite_of_154_branches(audit, hub):
    hub.clear_requests()
    report = audit(pythia(), "clean-pythia")
    assert report.findings == ()
    assert (report.n_revisions, report.n_units, report.ok) == (155, 155, True)


def test_nothing_is_found_in_clean_branches_with_tokens_and_clean_folders(audit):
    assert audit(olmo(), "clean-olmo").findings == ()
    assert audit(sae_folders(), "clean-sae").findings == ()


def test_86_of_154_branches_that_serve_the_last_weights_are_counted_exactly(audit):
    release = pythia()
    for step in range(58000, 143000, 1000):
        release[f"step{step}"] = dict(release["step143000"])
    report = audit(release)
    finding = only(report, "serves-last-weights")
    assert codes(report) == ["serves-last-weights"]
    assert finding.counts == {"n_identical": 86, "n_labels": 154}
    assert finding.what.startswith("86 of 154 branches serve the weights of step143000 (model.safetensors)")
    assert [member.rpartition("@step")[2] for member in finding.members] == [
        str(step) for step in range(58000, 143001, 1000)
    ]


def test_listings_alone_find_them_with_one_request_for_each_branch(audit, hub, client):
    release = pythia(STEPS)
    release["step3000"] = dict(release["step12000"])
    audit(release, "budget")
    hub.clear_requests()
    report = audit_releases(client, ["lab/budget"], AuditOptions(read_files=False))
    assert only(report, "serves-last-weights").counts == {"n_identical": 2, "n_labels": 12}
    assert report.n_requests == len(hub.requests) == 1 + len(release)
    assert not any("/resolve/" in request.path for request in hub.requests)


def test_each_distinct_small_file_is_read_once_and_weights_never(audit, hub, client):
    audit(pythia(STEPS), "small-files")
    hub.clear_requests()
    report = audit_releases(client, ["lab/small-files"])
    read = [request.path for request in hub.requests if "/resolve/" in request.path]
    assert sorted(path.rsplit("/", 1)[1] for path in read) == [
        "README.md",
        "config.json",
        "model.safetensors.index.json",
    ]
    assert report.n_requests == 1 + 13 + 3


def test_three_identical_branches_are_one_finding(audit):
    release = olmo()
    names = sorted(name for name in release if name != "main")
    for name in names[3:6]:
        release[name]["model.safetensors"] = release[names[3]]["model.safetensors"]
    report = audit(release)
    finding = only(report, "identical-payload")
    assert codes(report) == ["identical-payload"]
    assert [member.partition("@")[2] for member in finding.members] == names[3:6]
    assert finding.counts == {"n_identical": 3, "n_labels": 12}


def test_same_bytes_under_other_file_names_are_found(audit):
    release = pythia(STEPS, shards=1)
    release["step2000"]["renamed.safetensors"] = release["step2000"].pop("model.safetensors")
    release["step3000"]["model.safetensors"] = release["step2000"]["renamed.safetensors"]
    assert only(audit(release), "identical-payload").counts["n_identical"] == 2


def test_missing_shard_is_named(audit):
    release = pythia(STEPS)
    del release["step5000"]["model-00002-of-00002.safetensors"]
    report = audit(release)
    finding = only(report, "missing-shard")
    assert codes(report) == ["missing-shard"]
    assert finding.where.endswith("@step5000")
    assert finding.members == ("model-00002-of-00002.safetensors",)


def test_shard_of_the_last_model_under_another_step_is_named(audit):
    release = pythia(STEPS)
    release["step4000"]["model-00001-of-00002.safetensors"] = release["main"]["model-00001-of-00002.safetensors"]
    report = audit(release)
    finding = only(report, "shared-shard")
    assert codes(report) == ["shared-shard"]
    assert finding.where.endswith("@step4000")
    assert "is that of step12000 (and 1 more)" in finding.what


def test_missing_steps_follow_from_the_series_itself(audit):
    release = pythia()
    for step in (64, 7000, 99000):
        del release[f"step{step}"]
    finding = only(audit(release), "missing-label")
    assert finding.counts == {"n_missing": 3, "n_expected": len(PYTHIA_STEPS)}
    assert [member.rpartition("@")[2] for member in finding.members] == ["step64", "step7000", "step99000"]


def test_missing_first_steps_are_found_when_the_series_is_declared(audit):
    release = pythia(STEPS[3:])
    assert audit(release, "undeclared").findings == ()
    report = audit(release, "declared", series="step{n}", expect="1000:12000:1000")
    assert [member.rpartition("@")[2] for member in only(report, "missing-label").members] == [
        "step1000", "step2000", "step3000",
    ]  # fmt: skip


def test_series_that_matches_nothing_is_an_error(audit):
    finding = only(audit(pythia(STEPS), series="checkpoint-{n}", expect="1:3"), "missing-label")
    assert finding.where == "--series"


def test_step_that_its_trainer_state_denies_is_named(audit):
    release = olmo()
    release["stage1-step105000-tokens441B"]["trainer_state.json"] = dump({"global_step": 31000})
    report = audit(release)
    finding = only(report, "label-disagrees")
    assert codes(report) == ["label-disagrees"]
    assert finding.severity == "error"
    assert "label says step 105000" in finding.what
    assert "says step 31000" in finding.what


def test_wrong_number_of_tokens_in_a_label_is_named(audit):
    release = olmo()
    release["stage1-step105000-tokens414B"] = release.pop("stage1-step105000-tokens441B")
    report = audit(release)
    assert codes(report) == ["label-outlier"]
    assert only(report, "label-outlier").where.endswith("step105000-tokens414B")


def test_card_of_one_branch_that_says_another_step_is_named(audit):
    release = pythia(STEPS)
    release["step3000"]["README.md"] = CARD.replace(
        "# A run with a checkpoint per branch", "# Run at step 2000"
    ).encode()
    report = audit(release)
    assert codes(report) == ["label-disagrees"]
    assert only(report, "label-disagrees").where.endswith("@step3000")


def test_main_at_another_step_than_the_last_is_named(audit):
    release = pythia(STEPS)
    release["main"] = dict(release["step4000"])
    report = audit(release)
    assert codes(report) == ["main-not-last"]
    assert "main serves the weights of step4000, and the last of the series is step12000" in report.findings[0].what


def test_folders_with_equal_missing_and_empty_places_are_told_apart(audit):
    release = sae_folders()
    files = release["main"]
    weights = sorted(path for path in files if path.endswith(".safetensors"))
    files[weights[0]] = files[weights[7]]
    gone = [path for path in files if path.startswith("layer_3/width_65k/")]
    for path in gone:
        del files[path]
    emptied = next(path for path in weights if path.startswith("layer_6/width_131k/"))
    del files[emptied]
    report = audit(release)
    assert codes(report) == ["identical-payload", "missing-label", "weights-missing"]
    assert only(report, "identical-payload").counts == {"n_identical": 2, "n_labels": 34}
    assert only(report, "missing-label").members[0].endswith("layer_3/width_65k/average_l0_*")
    assert only(report, "weights-missing").members[0].endswith(emptied.rpartition("/")[0])


def test_branch_without_weights_is_named(audit):
    release = pythia(STEPS)
    release["step6000"] = {"README.md": CARD.encode()}
    report = audit(release)
    assert codes(report) == ["weights-missing"]
    assert only(report, "weights-missing").where.endswith("@step6000")


def test_index_that_names_other_files_or_too_many_bytes_is_named(audit):
    release = pythia(STEPS)
    index = json.loads(release["step2000"]["model.safetensors.index.json"])
    swapped = {**index, "weight_map": {**index["weight_map"], "head.weight": "head.safetensors"}}
    release["step2000"]["model.safetensors.index.json"] = dump(swapped)
    release["step3000"]["model.safetensors.index.json"] = dump({**index, "metadata": {"total_size": 10**9}})
    del release["step4000"]["model.safetensors.index.json"]
    release["step5000"]["model.safetensors.index.json"] = b"{}"
    found = {finding.code: finding for finding in audit(release).findings}
    assert sorted(found) == ["index-disagrees", "index-missing", "index-size", "unreadable"]
    assert found["index-disagrees"].members == ("head.safetensors",)
    assert found["index-size"].where.endswith("@step3000")
    assert found["index-missing"].where.endswith("@step4000")
    assert found["unreadable"].where.endswith("@step5000")


def test_cut_off_and_empty_weights_are_named(audit):
    release = pythia(STEPS, shards=1)
    release["step2000"]["model.safetensors"] = release["step2000"]["model.safetensors"][:120]
    release["step3000"]["model.safetensors"] = b""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 1000000\n"
    release["step4000"]["model.safetensors"] = pointer.encode()
    found = {(finding.code, finding.where.rpartition("@")[2]) for finding in audit(release).findings}
    assert {("empty-weights", "step3000"), ("empty-weights", "step4000")} <= found
    assert any(code == "size-outlier" for code, _ in found)


def test_pickles_only_are_named_once_for_a_repo(audit):
    release = pythia(STEPS, shards=1)
    for files in release.values():
        files["pytorch_model.bin"] = files.pop("model.safetensors")
        files["optimizer.pt"] = tensor_bytes("the same everywhere")
    report = audit(release)
    assert codes(report) == ["pickle-only"]
    assert only(report, "pickle-only").counts == {"n_pickled": 13, "n_places": 13}


def test_cards_without_licence_base_model_or_sources_are_named_once(audit):
    release = pythia(STEPS)
    bare = CARD.replace("license: apache-2.0\n", "").replace("base_model: test-lab/start\n", "tags: [sft]\n")
    bare = bare.replace("    source: {name: results, url: https://example.org/results.json}\n", "")
    for files in release.values():
        files["README.md"] = bare.encode()
    report = audit(release)
    assert codes(report) == ["base-model-missing", "license-missing", "number-without-source"]
    assert {finding.severity for finding in report.findings} == {"warning"}
    assert "the same card in 13 places" in only(report, "license-missing").what
    assert "1 of 1 numbers" in only(report, "number-without-source").what
    assert report.ok


def test_many_cards_that_lack_the_same_are_one_finding(audit):
    release = pythia(STEPS)
    for step in STEPS[:5]:
        text = CARD.replace("license: apache-2.0\n", "") + f"\nStep by step: {step}.\n"
        release[f"step{step}"]["README.md"] = text.encode()
    report = audit(release)
    assert codes(report) == ["license-missing"]
    assert only(report, "license-missing").counts == {"n_cards": 5}
    assert "@" not in only(report, "license-missing").where


def test_card_that_records_where_its_numbers_come_from_needs_no_other_source(audit):
    text = CARD.replace("    source: {name: results, url: https://example.org/results.json}\n", "")
    files = checkpoint("one") | {"README.md": text.encode()}
    assert codes(audit({"main": files}, "untraced")) == ["number-without-source"]
    files["README.md"] += b"\n<!-- release_kit:trace {} -->\n"
    assert audit({"main": files}, "traced").findings == ()


def test_broken_and_missing_cards_are_named(audit):
    release = pythia(STEPS)
    del release["main"]["README.md"]
    release["step2000"]["README.md"] = b"---\nlicense: [\n---\n"
    assert codes(audit(release)) == ["card-invalid", "card-missing"]


def test_adapter_whose_card_names_another_base_is_named(audit):
    config = dump({"base_model_name_or_path": "test-lab/other", "peft_type": "LORA"})
    files = {"README.md": CARD.encode(), "adapter_config.json": config, "adapter_model.safetensors": tensor_bytes("a")}
    assert codes(audit({"main": files})) == ["base-model-disagrees"]


def test_account_is_audited_across_its_repos(client):
    for seed in range(6):
        put_release(client, Repo(f"berts/multi-seed_{seed}"), {"main": checkpoint(f"bert {seed}", shards=1)})
    put_release(client, Repo("berts/multi-seed_8"), {"main": checkpoint("bert 2", shards=1)})
    report = audit_releases(client, ["berts"])
    assert codes(report) == ["identical-payload", "missing-label"]
    assert only(report, "identical-payload").members == ("berts/multi-seed_2@main", "berts/multi-seed_8@main")
    assert only(report, "missing-label").members == ("berts/multi-seed_6@main", "berts/multi-seed_7@main")
    assert report.n_repos == 7


def test_branches_at_one_commit_are_listed_once_and_reported(client, hub):
    repo = Repo("lab/one-commit")
    put_release(client, repo, pythia(STEPS[:4]))
    commit = client.resolve(repo, "step4000")
    client.create_branch(repo, "step5000", commit)
    hub.clear_requests()
    report = audit_releases(client, [repo.id], AuditOptions(read_files=False))
    assert only(report, "serves-last-weights").counts == {"n_identical": 2, "n_labels": 5}
    assert len(hub.requests) == 1 + 5


def test_tags_of_their_own_are_looked_at_when_asked(client):
    repo = Repo("lab/tags")
    release = pythia(STEPS[:4])
    release["main"] = {"README.md": CARD.encode()}
    put_release(client, repo, {**release, "step5000": dict(release["step1000"])})
    client.create_tag(repo, "step4500", client.resolve(repo, "step5000"))
    replace_files(client, repo, "step5000", checkpoint("step5000"))
    assert audit_releases(client, [repo.id]).findings == ()
    report = audit_releases(client, [repo.id], AuditOptions(tags=True))
    assert only(report, "identical-payload").members == ("lab/tags@step1000", "lab/tags@step4500")


def test_versions_as_tags_may_repeat_weights(client):
    repo = Repo("lab/versions")
    put_release(client, repo, {"main": checkpoint("one")})
    client.create_tag(repo, "v1.0.0", client.resolve(repo))
    replace_files(client, repo, "main", {"notes.txt": b"only the text is new"})
    client.create_tag(repo, "v1.1.0", client.resolve(repo))
    replace_files(client, repo, "main", {"notes.txt": b"again"})
    report = audit_releases(client, [repo.id], AuditOptions(tags=True))
    assert (report.n_revisions, report.findings) == (3, ())
