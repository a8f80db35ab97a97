"""Which columns of a data file are the prompt and the answer, and every row brought into one of two forms.

A row becomes ``{"prompt", "completion"}`` or ``{"messages": [{"role", "content"}, …]}``; other keys are left out. Pure:
reading files is ``examples.py``. Nothing is guessed: columns of an unknown name need a ``columns`` mapping.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from release_kit.core.records import nearest
from release_kit.sft.data.errors import DataError

Row = dict[str, Any]

ROLES = ("system", "user", "assistant")
_FORMS = (("prompt", "completion"), ("instruction", "response"), ("instruction", "output"), ("messages",))
"""Sets of columns that are known by their names."""
_OPTIONAL = {"instruction": ("input",)}
_MEANINGS = ("prompt", "completion", "instruction", "input", "response", "output", "messages")
_EXPECTED = "prompt + completion, instruction + response (+ input), or messages"


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Meaning → column of a data file; the keys are those of one known form, ``input`` where it is there."""

    of: Mapping[str, str]

    def normal_row(self, row: Mapping[str, Any], where: str) -> Row:
        """Return a row in its normal form.

        Raises:
            DataError: a column is missing or does not hold text (or, for ``messages``, turns of known roles).
        """
        wrong = [what for meaning, column in self.of.items() if (what := _wrong(meaning, column, row))]
        if wrong:
            raise DataError("; ".join(wrong), where=where)
        values = {meaning: row.get(column) for meaning, column in self.of.items()}
        if "messages" in values:
            return {"messages": _turns(values["messages"])}
        prompt = values.get("prompt", values.get("instruction"))
        if values.get("input"):
            prompt = f"{prompt}\n{values['input']}"
        answer = next(values[name] for name in ("completion", "response", "output") if name in values)
        return {"prompt": prompt, "completion": answer}


def find_columns(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any] | None, where: str) -> Columns:
    """Return the columns of a file: those of ``wanted``, or those of the only known form that the first row has.

    Args:
        rows: the file's rows; at least one.
        wanted: ``columns`` of study.yaml, meaning → column; None looks for known names.
        where: the file.

    Raises:
        DataError: no known form, more than one, or a mapping that names what is not there; with the nearest column.
    """
    present = list(rows[0])
    if wanted is not None:
        return _declared_columns(wanted, present, where)
    found = [form for form in _FORMS if all(name in present for name in form)]
    if len(found) == 1:
        extra = [name for name in _OPTIONAL.get(found[0][0], ()) if any(name in row for row in rows)]
        return Columns(of={name: name for name in (*found[0], *extra)})
    step = "say which is which in study.yaml, at the dataset: columns: {prompt: …, completion: …}"
    if found:
        what = f"its columns can be read in {len(found)} ways: " + " or ".join(" + ".join(form) for form in found)
    else:
        what = f"expected the columns {_EXPECTED}; got {', '.join(map(repr, present)) or 'none'}{_hint(present)}"
    raise DataError(what, where=where, next_step=step)


def _declared_columns(wanted: Mapping[str, Any], present: Sequence[str], where: str) -> Columns:
    place = f"{where}: `columns` of study.yaml"
    wrong = [f"{name!r} is no part of an example{nearest(str(name), _MEANINGS)}" for name in wanted
             if name not in _MEANINGS]  # fmt: skip
    wrong += [f"the file has no column {column!r}{nearest(str(column), list(present))}"
              for name, column in wanted.items() if column not in present and name != "input"]  # fmt: skip
    required = {name for name in wanted if name != "input"}
    if not wrong and not any(required == set(form) for form in _FORMS):
        wrong.append(f"names {', '.join(sorted(map(str, wanted))) or 'nothing'}; expected {_EXPECTED}")
    if wrong:
        raise DataError("; ".join(wrong), where=place)
    return Columns(of=dict(wanted))


def _hint(present: Sequence[str]) -> str:
    """Return which column of an unknown name is nearly a known one."""
    pairs = [(name, nearest(name, _MEANINGS)) for name in present if name not in _MEANINGS]
    close = [f"{name!r}{hint}" for name, hint in pairs if "did you mean" in hint]
    return f" ({'; '.join(close)})" if close else ""


def _wrong(meaning: str, column: str, row: Mapping[str, Any]) -> str | None:
    if meaning == "input" and row.get(column) is None:
        return None
    if column not in row:
        return f"has no column {column!r}{nearest(column, list(row))}"
    check: Callable[[str, Any], str | None] = _wrong_turns if meaning == "messages" else _wrong_text
    return check(column, row[column])


def _wrong_text(column: str, value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{column!r} expected text, got {_kind(value)} {str(value)[:40]!r}"
    return None if _is_unicode(value) else f"{column!r} holds half of a surrogate pair, which no tokenizer reads"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong_turns(column: str, turns: Any) -> str | None:
    if not isinstance(turns, list) or not turns:
        return f"{column!r} expected a list of turns, got {_kind(turns) if turns != [] else 'an empty one'}"
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            return f"{column}[{number}] expected {{role, content}} with a text, got {str(turn)[:40]!r}"
        if turn.get("role") not in ROLES:
            return f"{column}[{number}].role is {turn.get('role')!r}{nearest(str(turn.get('role')), ROLES)}"
        if wrong := _wrong_text(f"{column}[{number}].content", turn["content"]):
            return wrong
    if not any(turn["role"] == "assistant" for turn in turns):
        return f"{column!r} has no turn of the assistant: there is nothing to learn from"
    return None


def _turns(turns: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _kind(value: Any) -> str:
    return "null" if value is None else type(value).__name__
