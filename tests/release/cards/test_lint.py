"""The lint finds each planted defect, on its line, and nothing in the cards that release_kit writes."""

import pytest

from release_kit.release.cards.lint import lint_card
from release_kit.release.cards.problems import CODES

CARD = """---
language:
- en
license: apache-2.0
base_model: lab/base
pipeline_tag: text-generation
model-index:
- name: m
  results:
  - task:
      type: text-generation
    dataset:
      name: mmlu (5-shot)
      type: cais/mmlu
      args:
        num_few_shot: 5
    metrics:
    - type: acc
      value: 0.5
---
# m
"""

DATASET = """---
license: mit
size_categories:
- n<1K
configs:
- config_name: default
  data_files:
  - split: train
    path: data/*.parquet
---
# d
"""

SECOND = """  - task:
      type: text-generation
    dataset:
      name: mmlu (5-shot)
      type: cais/mmlu
      args:
        num_few_shot: 5
    metrics:
    - type: acc
      value: 0.6
---
"""


def lint(text, folder=None):
    return lint_card(text, "README.md", folder)


def test_good_card_has_no_problem(tmp_path):
    assert lint(CARD, tmp_path) == []


def test_cards_that_release_kit_writes_have_no_problem(built):
    for card in sorted(built.release.rglob("README.md")):
        problems = lint_card(card.read_text(), str(card), card.parent)
        assert [p for p in problems if p.code != "base-model-missing"] == []


@pytest.mark.parametrize(
    ("code", "old", "new", "marker"),
    [
        ("license-missing", "license: apache-2.0\n", "", "---"),
        ("license-unknown", "license: apache-2.0", "license: apache2", "apache2"),
        ("license-unknown", "license: apache-2.0", "license: other", "other"),
        ("language-unknown", "- en", "- english", "- english"),
        ("language-unknown", "language:\n- en", "language: no", "language: no"),
        ("base-model-missing", "base_model: lab/base\n", "", "---"),
        ("id-malformed", "lab/base", "lab/base/model", "lab/base/model"),
        ("id-malformed", "lab/base", "my model", "my model"),
        ("task-unknown", "pipeline_tag: text-generation", "pipeline_tag: text-gen", "text-gen"),
        ("relation-unknown", "base_model: lab/base", "base_model: lab/base\nbase_model_relation: child", "child"),
        ("key-unknown", "license:", "licence: mit\nlicense:", "licence: mit"),
        ("key-duplicate", "license: apache-2.0", "license: mit\nlicense: apache-2.0", "license: apache-2.0"),
        ("key-type", "language:", "tags: [7b, 2024]\nlanguage:", "tags"),
        ("number-nan", "value: 0.5", "value: .nan", ".nan"),
        ("number-nan", "value: 0.5", "value: 20.0 ± 1.2", "±"),
        ("number-nan", "value: 0.5", "value: ", "value:"),
        ("number-duplicate", "value: 0.5\n---\n", "value: 0.5\n" + SECOND, "value: 0.6"),
        ("shots-merged", "value: 0.5\n", "value: 0.5\n    - type: acc\n      value: 0.6\n", "  - task:"),
        ("model-index-broken", "      type: cais/mmlu\n", "", "  - task:"),
        ("model-index-broken", "- name: m\n", "- title: m\n", "- title: m"),
        ("placeholder", "# m", "# m\n[More Information Needed]", "[More"),
        ("placeholder", "# m", "# m\n{{ model_summary }}", "{{"),
        ("file-missing", "# m", "# m\n![figure](figures/none.png)", "figures"),
        ("front-matter-broken", "license: apache-2.0", "license: [apache", None),
        ("front-matter-missing", CARD, "# only text\n", "# only"),
    ],
)
def test_planted_defect_is_found_on_its_line(tmp_path, code, old, new, marker):
    assert old in CARD and code in CODES
    text = CARD.replace(old, new, 1)
    problems = [p for p in lint(text, tmp_path) if p.code == code]
    assert problems, [p.code for p in lint(text, tmp_path)]
    if marker:
        assert marker in text.split("\n")[problems[0].line - 1]
    others = {p.code for p in lint(text, tmp_path)} - {code, "number-duplicate" if code == "shots-merged" else code}
    assert not others


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("configs-broken", "config_name: default", "name: default"),
        ("configs-broken", "configs:\n", "configs:\n- config_name: default\n"),
        ("key-type", "n<1K", "small"),
        ("file-missing", "data/*.parquet", "elsewhere/*.parquet"),
    ],
)
def test_dataset_card_is_held_against_its_files(tmp_path, code, old, new):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.parquet").write_bytes(b"")
    assert lint(DATASET, tmp_path) == []
    assert {p.code for p in lint(DATASET.replace(old, new, 1), tmp_path)} == {code}


@pytest.mark.parametrize(
    "text",
    ["just text", "- value: 0.5", "- dataset: {id: a/b, task_id: t}\n  value: .nan", "- dataset: [", "[]"],
)
def test_eval_results_of_another_structure_are_named(tmp_path, text):
    (tmp_path / ".eval_results").mkdir()
    file = tmp_path / ".eval_results" / "x.yaml"
    file.write_text("- dataset: {id: a/b, task_id: t}\n  value: 0.5\n")
    assert lint(CARD, tmp_path) == []
    file.write_text(text)
    assert {p.code for p in lint(CARD, tmp_path)} == {"eval-results-broken"}


def test_front_matter_that_blows_up_is_refused():
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "\n".join(
        f"{chr(98 + i)}: &{chr(98 + i)} [{','.join([f'*{chr(97 + i)}'] * 10)}]" for i in range(8)
    )
    assert "front-matter-broken" in {p.code for p in lint(f"---\n{bomb}\n---\n")}
    assert "front-matter-broken" in {p.code for p in lint("---\na: &a [*a]\n---\n")}
    assert "front-matter-broken" in {p.code for p in lint(f"---\n{'[' * 5000}\n---\n")}
    assert "front-matter-broken" in {p.code for p in lint("---\na: !!python/object/apply:os.system ['true']\n---\n")}
