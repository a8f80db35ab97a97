"""Run by test_conformance_server.py in its own process: transformers loads models from the Hub and pushes them."""

import sys
from pathlib import Path

import torch
from huggingface_hub import HfApi
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

work = Path(sys.argv[1])
api = HfApi()
CONFIG = LlamaConfig(
    vocab_size=64,
    hidden_size=16,
    intermediate_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    max_position_embeddings=32,
)


def make_model(seed: int) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    return LlamaForCausalLM(CONFIG)


def assert_equal(left, right):
    for name, tensor in left.state_dict().items():
        assert torch.equal(tensor, right.state_dict()[name]), name


def push_and_load():
    first, second = make_model(0), make_model(1)
    first.push_to_hub("lab/llama")
    api.create_tag("lab/llama", tag="step0")
    second.push_to_hub("lab/llama")
    assert_equal(AutoModelForCausalLM.from_pretrained("lab/llama"), second)
    assert_equal(AutoModelForCausalLM.from_pretrained("lab/llama", revision="step0"), first)


def load_from_a_subfolder_of_a_branch():
    third = make_model(2)
    third.save_pretrained(work / "third", max_shard_size="5KB")
    assert len(list((work / "third").glob("*.safetensors"))) > 1
    api.create_branch("lab/llama", branch="runs/seed-2")
    api.upload_folder(
        repo_id="lab/llama", folder_path=work / "third", path_in_repo="cells/third", revision="runs/seed-2"
    )
    where = {"subfolder": "cells/third", "revision": "runs/seed-2"}
    assert AutoConfig.from_pretrained("lab/llama", **where).hidden_size == 16
    assert_equal(AutoModelForCausalLM.from_pretrained("lab/llama", **where), third)


for step in [push_and_load, load_from_a_subfolder_of_a_branch]:
    step()
    print("passed", step.__name__, flush=True)
