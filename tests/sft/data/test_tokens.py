"""Templates and tokens: the loss stands on the answers and their end, whatever the template and the truncation."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.sft.data.errors import DataError
from release_kit.sft.data.templates import TextTemplate, template_of
from release_kit.sft.data.tokens import TokenExample, encode, pad_id, tokenize
from release_kit.sft.data.trained_text import check_trained_text
from release_kit.sft.spec.settings import TrainingSettings

ROW = {"prompt": "What is 1 and 1?", "completion": "The answer is 2."}
TALK = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One and one?"},
        {"role": "assistant", "content": "Two."},
        {"role": "user", "content": "And one more?"},
        {"role": "assistant", "content": "Three."},
        {"role": "user", "content": "Thanks."},
    ]
}


def text(tokenizer: Any, example: TokenExample, *, trained: bool) -> str:
    return tokenizer.decode(example.ids[example.loss if trained else ~example.loss].tolist())


def only(rows: list, tokenizer: Any, settings: TrainingSettings) -> TokenExample:
    return tokenize(rows, tokenizer, settings)[0]


@pytest.mark.parametrize(
    ("template", "masked", "trained"),
    [
        ("plain", "What is 1 and 1?", "The answer is 2.<|im_end|>"),
        ("paper", "###Question: What is 1 and 1?\n###Answer:", " The answer is 2.<|im_end|>"),
        ("Q {prompt}\nA: {completion}\n", "Q What is 1 and 1?\nA:", " The answer is 2.\n<|im_end|>"),
        (
            "chat",
            "<|im_start|>user\nWhat is 1 and 1?<|im_end|>\n<|im_start|>assistant\n",
            "The answer is 2.<|im_end|>",
        ),
    ],
)
def test_the_loss_stands_on_the_answer_and_its_end(
    tokenizer: Any, settings: Callable, template: str, masked: str, trained: str
):
    example = only([ROW], tokenizer, settings(template=template, max_length=128))
    assert text(tokenizer, example, trained=False) == masked
    assert text(tokenizer, example, trained=True) == trained
    assert example.ids.dtype == "int32" and example.loss.dtype == bool


def test_every_turn_of_the_assistant_is_trained_and_nothing_else(tokenizer: Any, settings: Callable):
    example = only([TALK], tokenizer, settings(template="chat", max_length=128))
    assert text(tokenizer, example, trained=True) == "Two.<|im_end|>Three.<|im_end|>"
    whole = tokenizer.decode(example.ids.tolist())
    assert whole.startswith("<|im_start|>system\nBe brief.<|im_end|>") and "Thanks." not in whole


def test_all_tokens_but_the_first_are_trained_when_asked(tokenizer: Any, settings: Callable):
    example = only([ROW], tokenizer, settings(loss_on="all"))
    assert not example.loss[0] and example.loss[1:].all()


def test_masks_are_those_of_a_template_that_marks_answers_itself(tokenizer: Any, settings: Callable):
    marking = deepcopy(tokenizer)
    marking.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}"
        "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}{% else %}{{ m.content }}<|im_end|>{% endif %}"
        "{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    turns = TALK["messages"][:-1]
    given = marking.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    for chat in (marking, tokenizer):
        example = only([{"messages": turns}], chat, settings(template="chat", max_length=128))
        n = len(example.ids)
        assert example.ids.tolist() == given["input_ids"][:n]
        assert example.loss.tolist() == [bool(mask) for mask in given["assistant_masks"][:n]]
        assert not any(given["assistant_masks"][n:])


def test_a_tokenizers_own_opening_token_is_kept_and_not_trained(tokenizer: Any, settings: Callable):
    from tokenizers.processors import TemplateProcessing

    opening = deepcopy(tokenizer)
    bos = ("<|im_start|>", opening.convert_tokens_to_ids("<|im_start|>"))
    opening.backend_tokenizer.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[bos])
    example = only([ROW], opening, settings())
    assert example.ids[0] == bos[1] and not example.loss[0]
    chat = only([ROW], opening, settings(template="chat"))
    assert (chat.ids == bos[1]).sum() == 2, "the chat template holds its own"
    cut = only([ROW], opening, settings(truncation="prompt", max_length=len(example.ids) - 3))
    assert cut.ids[0] == bos[1] and len(cut.ids) == len(example.ids) - 3


def test_a_chat_template_without_an_end_mark_gets_the_end_of_text(tokenizer: Any, settings: Callable):
    bare = deepcopy(tokenizer)
    bare.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    example = only([ROW], bare, settings(template="chat"))
    assert text(bare, example, trained=True) == " The answer is 2.\n<|im_end|>"


def test_a_chat_template_that_writes_the_date_gives_the_same_tokens_every_day(tokenizer: Any, settings: Callable):
    dated = deepcopy(tokenizer)
    dated.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    example = only([{"prompt": "Hi", "completion": "Yes"}], dated, settings(template="chat"))
    assert text(dated, example, trained=False).startswith("26 Jul 2024")


def test_a_tokenizer_without_an_end_of_text_is_refused(tokenizer: Any, settings: Callable):
    endless = deepcopy(tokenizer)
    endless.eos_token = None
    with pytest.raises(DataError, match="never learn to stop"):
        tokenize([ROW], endless, settings())


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("Q: {prompt}", "has {completion} 0 times"),
        ("{completion}", "has {prompt} 0 times"),
        ("{prompt}{prompt}{completion}", "has {prompt} 2 times"),
        ("{completion}{prompt}", "the completion stands before the prompt"),
        ("papr", "give 'plain', 'paper', 'chat'"),
    ],
)
def test_a_template_that_drops_a_part_is_refused(template: str, message: str):
    with pytest.raises(DataError, match=message):
        TextTemplate(template)


CHATS = {
    "drops the answer": ("{% for m in messages %}<|im_start|>{% if m.role == 'user' %}{{ m.content }}{% endif %}"
                         "<|im_end|>{% endfor %}", "drops an answer"),
    "drops the system turn": ("{% for m in messages if m.role != 'system' %}{{ m.role }}:{{ m.content }}<|im_end|>"
                              "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}", "drops the turn"),
    "rewrites what was said": ("{% for m in messages %}{{ m.role }}:{% if m.role == 'user' or loop.last %}"
                               "{{ m.content }}{% endif %}<|im_end|>{% endfor %}"
                               "{% if add_generation_prompt %}assistant:{% endif %}", "does not keep the text before"),
    "refuses the roles": ("{{ raise_exception('roles must alternate') if messages|length > 2 else '' }}"
                          "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}", "roles must alternate"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHATS)
def test_a_chat_template_that_loses_something_is_refused(tokenizer: Any, settings: Callable, name: str):
    losing = deepcopy(tokenizer)
    losing.chat_template, message = CHATS[name]
    with pytest.raises(DataError, match=message):
        tokenize([TALK], losing, settings(template="chat", max_length=128))


def test_chat_needs_a_chat_template_and_others_single_turns(tokenizer: Any, settings: Callable):
    without = deepcopy(tokenizer)
    without.chat_template = None
    with pytest.raises(DataError, match="has no chat template"):
        template_of("chat", without)
    with pytest.raises(DataError, match="take the template chat"):
        tokenize([TALK], tokenizer, settings())
    single = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    example = only([single], tokenizer, settings())
    assert text(tokenizer, example, trained=True) == "b<|im_end|>"


def test_truncation_refuses_or_takes_the_prompts_left_or_the_completions_right(tokenizer: Any, settings: Callable):
    whole = only([ROW], tokenizer, settings())
    n, n_answer = len(whole.ids), int(whole.loss.sum())
    with pytest.raises(DataError, match=r"longer than max_length: example 0.*truncation"):
        tokenize([ROW], tokenizer, settings(max_length=n - 1))
    left = only([ROW], tokenizer, settings(max_length=n - 2, truncation="prompt"))
    assert (left.ids == whole.ids[2:]).all() and left.loss.sum() == n_answer
    right = only([ROW], tokenizer, settings(max_length=n - 2, truncation="completion"))
    assert (right.ids == whole.ids[:-2]).all() and right.loss.sum() == n_answer - 2


@pytest.mark.parametrize("truncation", ["prompt", "completion"])
def test_truncation_that_would_take_the_answer_is_refused(tokenizer: Any, settings: Callable, truncation: str):
    whole = only([ROW], tokenizer, settings())
    n_answer = int(whole.loss.sum())
    length = n_answer if truncation == "prompt" else len(whole.ids) - n_answer
    with pytest.raises(DataError, match="truncation leaves nothing of the completion"):
        tokenize([ROW], tokenizer, settings(max_length=length, truncation=truncation))


def test_everything_that_is_wrong_is_said_at_once(tokenizer: Any, settings: Callable):
    rows = [ROW, {"prompt": "p", "completion": "  "}, {"prompt": "p" * 300, "completion": "c"}, TALK]
    with pytest.raises(DataError) as caught:
        tokenize(rows, tokenizer, settings())
    for part in ("3 problems", "is empty: example 1", "longer than max_length: example 2", "cannot show it: example 3"):
        assert part in str(caught.value)


def test_padding_is_any_token_that_there_is(tokenizer: Any):
    assert pad_id(tokenizer) == tokenizer.pad_token_id
    bare = deepcopy(tokenizer)
    bare.pad_token = None
    assert pad_id(bare) == bare.eos_token_id


@given(
    prompt=st.text(min_size=1, max_size=20),
    completion=st.text(min_size=1, max_size=20).filter(str.strip),
    template=st.sampled_from(["plain", "paper", "chat", "{prompt} -> {completion}."]),
)
def test_targets_spell_the_answer_for_every_text(
    tokenizer: Any, settings: Callable, prompt: str, completion: str, template: str
):
    row, chosen = {"prompt": prompt, "completion": completion}, settings(template=template, max_length=400)
    example = only([row], tokenizer, chosen)
    check_trained_text([row], [example], tokenizer, chosen)
    assert example.loss[-1] and not example.loss[0]


def test_an_answer_has_the_tokens_that_follow_its_prompt(settings: Callable):
    # Tokenizers in the manner of sentencepiece put a blank before every text that they are given.
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    bpe.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["</s>"], show_progress=False)
    bpe.train_from_iterator(["Sum of 1 and 2 ?", "The answer is 3 .", "\n"] * 3, trainer)
    prefixing = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")
    row = {"prompt": "Sum of 1 and 2 ?\n", "completion": "The answer is 3 ."}
    (item,) = encode([row], prefixing, settings())
    whole = prefixing(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"]
    assert item.example.ids.tolist() == [*whole, prefixing.eos_token_id]
    assert not item.boundary_differs
    answer = item.example.ids[item.example.loss].tolist()[:-1]
    assert answer != prefixing(row["completion"], add_special_tokens=False)["input_ids"]
    assert prefixing.convert_tokens_to_string(prefixing.convert_ids_to_tokens(answer)).endswith("The answer is 3 .")
    check_trained_text([row], [item.example], prefixing, settings())


def test_tokens_of_a_row_do_not_depend_on_the_others(tokenizer: Any, settings: Callable):
    rows = [{"prompt": f"p{i}", "completion": f"c{i}"} for i in range(5)]
    together = list(encode(rows, tokenizer, settings()))
    for row, item in zip(rows, together, strict=True):
        assert (only([row], tokenizer, settings()).ids == item.example.ids).all()
