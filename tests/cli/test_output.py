"""Errors at the edge: one sentence, an honest exit code, a traceback only for what is our own fault."""

import json

import click
import pytest

from release_kit.cli.output import run
from release_kit.core.errors import ReleaseKitError, UsageError


def _raising(error: BaseException) -> click.Command:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    def command(as_json: bool) -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code"),
    [(ReleaseKitError("it is wrong", where="here", next_step="mend it"), 1), (UsageError("called wrongly"), 2)],
)
def test_an_error_is_one_line_on_stderr_and_an_object_for_programs(capsys, error, code):
    assert run(_raising(error), ["--json"]) == code
    out, err = capsys.readouterr()
    assert json.loads(out)["what"] == error.what and json.loads(out)["ok"] is False
    assert err == f"error: {error}\n"


def test_a_file_that_vanished_is_a_sentence(capsys):
    assert run(_raising(FileNotFoundError(2, "No such file or directory", "/somewhere/gone")), []) == 1
    assert "/somewhere/gone: No such file or directory" in capsys.readouterr().err


def test_a_defect_keeps_its_traceback():
    with pytest.raises(KeyError):
        run(_raising(KeyError("ours")), [])


def test_an_interruption_says_how_to_go_on(capsys):
    assert run(_raising(click.exceptions.Abort()), []) == 130
    assert "run the same command again" in capsys.readouterr().err
