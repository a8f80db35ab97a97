"""A small random model with a byte-level tokenizer, and a study folder with one task of every kind that is scored."""

import json
from pathlib import Path

import yaml

MAX_LENGTH = 160
NOUNS = ("river", "stone", "garden", "window", "market", "letter", "bridge", "candle", "forest", "harbour")
VERBS = ("crosses", "holds", "hides", "opens", "finds", "follows", "leaves", "brings")


def sentence(seed: int) -> str:
    """Return a sentence that depends on ``seed`` alone."""
    return f"The {NOUNS[seed % 10]} {VERBS[seed * 3 % 8]} the {NOUNS[seed * 7 % 10 - 3]} number {seed * 17 % 23}."


def documents(n: int = 24) -> list[dict]:
    """Return documents that serve every task: a question, choices of different lengths, a text, an answer."""
    return [
        {
            "question": f"What does the {NOUNS[i % 10]} do in story {i}?",
            "choices": [f"It {VERBS[(i + j) % 8]} the {NOUNS[(i * j + 2) % 10]}" + " now" * j for j in range(4)],
            "letter": "ABCD"[i % 4],
            "answer": i * 5 % 4,
            "text": " ".join(sentence(i * 31 + k) for k in range(1 + i % 9 * 3)),
            "number": str(i * 17 % 23),
        }
        for i in range(n)
    ]


_COMMON = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "data/stories.jsonl", "train": "data/examples.jsonl"}},
    "test_split": "test",
    "metadata": {"version": 1.0},
}
_MEAN = {"aggregation": "mean", "higher_is_better": True}
_ASKED = {"doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "{{choices}}", "doc_to_target": "answer"}

TASKS = {
    "choice": {
        "output_type": "multiple_choice", **_ASKED,
        "metric_list": [
            {"metric": "acc", **_MEAN}, {"metric": "acc_norm", **_MEAN}, {"metric": "acc_mutual_info", **_MEAN},
            {"metric": "brier_score", "aggregation": "brier_score", "higher_is_better": False},
        ],
    },
    "letters": {
        "output_type": "multiple_choice", "doc_to_text": "{{question}}\nAnswer:",
        "doc_to_choice": ["A", "B", "C", "D"], "doc_to_target": "answer",
        "metric_list": [
            {"metric": "acc", **_MEAN}, {"metric": "acc_bytes", "aggregation": "median", "higher_is_better": True},
        ],
    },
    "choice_3_first": {
        "output_type": "multiple_choice", **_ASKED, "num_fewshot": 3, "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "metric_list": [{"metric": "acc", **_MEAN}, {"metric": "acc_norm", **_MEAN}],
    },
    "choice_2_random": {
        "output_type": "multiple_choice", **_ASKED, "num_fewshot": 2, "fewshot_split": "train",
        "metric_list": [{"metric": "acc", **_MEAN}, {"metric": "acc_norm", **_MEAN}],
    },
    "last_word": {
        "output_type": "loglikelihood", "doc_to_text": "{{text.rsplit(' ', 1)[0]}}",
        "doc_to_target": " {{text.rsplit(' ', 1)[1]}}",
        "metric_list": [
            {"metric": "acc", **_MEAN},
            {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
        ],
    },
    "prose": {
        "output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
        "metric_list": [
            {"metric": name, "aggregation": how, "higher_is_better": False}
            for name, how in (("word_perplexity", "weighted_perplexity"), ("byte_perplexity", "weighted_perplexity"),
                              ("bits_per_byte", "bits_per_byte"))
        ],
    },
    "answers": {
        "output_type": "generate_until", "doc_to_text": "{{text}} The number is", "doc_to_target": "{{number}}",
        "num_fewshot": 1, "fewshot_split": "train", "fewshot_config": {"sampler": "first_n"},
        "generation_kwargs": {"until": ["\n", "er"], "do_sample": False, "max_gen_toks": 12},
        "filter_list": [
            {"name": "first-letters",
             "filter": [{"function": "regex", "regex_pattern": "([a-h]+)"}, {"function": "take_first"}]},
            {"name": "all", "filter": [{"function": "take_first"}]},
        ],
        "metric_list": [{"metric": "exact_match", **_MEAN, "ignore_case": True}],
    },
}  # fmt: skip


def write_study(folder: Path, tasks: dict[str, dict] | None = None) -> Path:
    """Write data and task files and return the folder."""
    rows = documents()
    (folder / "data").mkdir(parents=True)
    (folder / "tasks").mkdir()
    write_rows(folder / "data" / "stories.jsonl", rows)
    write_rows(folder / "data" / "examples.jsonl", [{**row, "question": row["question"][:-1] + " again?"}
                                                   for row in rows[:8]])  # fmt: skip
    for name, task in (TASKS if tasks is None else tasks).items():
        document = {"task": name, **_COMMON, **task}
        (folder / "tasks" / f"{name}.yaml").write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return folder


def write_rows(path: Path, rows: list[dict]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_tokenizer(folder: Path) -> int:
    """Write a byte-level BPE tokenizer trained on the documents; returns its vocabulary's size."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<eos>", "<pad>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator([row["text"] + row["question"] for row in documents(200)], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", bos_token="<eos>", pad_token="<pad>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip
    fast.save_pretrained(folder)
    return len(fast)


def write_model(folder: Path, *, seed: int = 0, kind: str = "llama", **changes) -> Path:
    """Write a small model with random weights, wide enough apart that its choices differ, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    vocabulary = write_tokenizer(folder)
    settings = {
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1, "initializer_range": 0.3,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(settings | changes)))
    model.save_pretrained(folder)
    return folder
