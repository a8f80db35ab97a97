"""Metric ``executed_tests``: 1 when the tests of a document pass on the code that a model wrote, else 0.

A document holds ``prompt`` (the beginning of a function), ``test`` (source that defines ``check``) and ``entry_point``
(the function's name), as HumanEval does. The program is run by ``sandbox.py``.
"""

import ast
import functools
import warnings
from collections.abc import Mapping
from typing import Any

from release_kit.core.errors import StudyError
from release_kit.sft.evaluate.sandbox import run_program

FIELDS = ("prompt", "test", "entry_point")


def document_passes(document: Mapping[str, Any], answer: Any) -> bool:
    """Return whether the tests of ``document`` pass on its prompt continued by ``answer``.

    Raises:
        StudyError: the document lacks a field.
        SandboxError: programs cannot be run safely here.
    """
    lacking = [name for name in FIELDS if not isinstance(document.get(name), str)]
    if lacking:
        raise StudyError(
            f"a document lacks {', '.join(lacking)}, which executed_tests needs",
            next_step="give every document prompt, test and entry_point",
        )
    answers = [answer] if isinstance(answer, str) else list(answer)
    check = f"\n{document['test']}\ncheck({document['entry_point']})\n"
    return any(program_passes(document["prompt"] + text + check) for text in answers)


@functools.lru_cache(maxsize=4096)
def program_passes(program: str) -> bool:
    """Return whether a program comes to its end; one that is not Python is not even started."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return run_program(program).passed
