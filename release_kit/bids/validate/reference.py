"""The one place that runs the reference validator (bids-validator-deno) and understands what it answers.

Each dataset gets its own call, with every row of every table. The validator runs without permission to use the network
or to write: nothing about a dataset leaves the machine, and no missing content is fetched behind our back. Exit code 0
means no errors, 16 errors; everything else is no verdict, and that is said.
"""

import functools
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from release_kit.bids.validate.finding import ERROR, NOTE, REFERENCE, WARNING, Finding
from release_kit.core.errors import MissingExtraError

PACKAGE = "bids-validator-deno"
TIMEOUT_S = 1800
_SEVERITIES = {"error": ERROR, "warning": WARNING, "ignore": NOTE}
_FINDING = threading.Lock()
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the reference validator said of one dataset."""

    dataset: str
    """``.`` or the path of the derivative dataset."""
    exit_code: int
    headers_read: bool
    """False: called with ``--ignoreNiftiHeaders``."""
    findings: tuple[Finding, ...] = ()
    n_files: int = 0
    schema_version: str | None = None
    crash: str | None = None
    """Why there is no verdict; None when there is one."""

    @property
    def said(self) -> str:
        """``no errors``, ``errors``, or ``no verdict``; errors that only follow from absent content do not count."""
        if self.crash:
            return "no verdict"
        return "errors" if any(one.severity == ERROR for one in self.findings) else "no errors"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without the findings, which stand with all others."""
        return {
            "dataset": self.dataset,
            "verdict": self.said,
            "exit_code": self.exit_code,
            "n_files": self.n_files,
            "schema_version": self.schema_version,
            "nifti_headers_read": self.headers_read,
            "crash": self.crash,
        }


def reference_version() -> str:
    """Return the version of the reference validator.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingExtraError(PACKAGE, "bids") from error


def run_reference(folder: Path, dataset: str, *, headers: bool, options: Mapping[str, Any] | None = None) -> Verdict:
    """Validate ``folder`` by itself; a crash, a missing answer or a timeout is a ``Verdict`` with ``crash``.

    Args:
        folder: the dataset to validate.
        dataset: how it is named in the report.
        headers: whether to read NIfTI headers; False for a clone without content.
        options: the validator's own configuration (``ignore``, ``warning``, ``error`` → lists of ``{"code": …}``).

    Raises:
        MissingExtraError: the validator is not installed.
    """
    command = [*_program(), str(folder), "--format", "json", "--max-rows", "-1"]
    command += [] if headers else ["--ignoreNiftiHeaders"]
    base = {"dataset": dataset, "headers_read": headers}
    try:
        ran = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Verdict(**base, exit_code=1, crash=f"it did not answer within {TIMEOUT_S} s")
    except OSError as error:
        return Verdict(**base, exit_code=1, crash=f"it could not be started ({error.strerror or error})")
    if ran.returncode not in (0, 16):
        return Verdict(**base, exit_code=ran.returncode, crash=_last_words(ran))
    try:
        return parse_answer(ran.stdout, ran.returncode, dataset=dataset, headers=headers)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Verdict(**base, exit_code=ran.returncode, crash=f"its answer is not understood ({error})")


def _program() -> list[str]:
    # Python 3.11 fills what `find_deno_bin` asks for without a lock: of two first callers one may see half of it.
    with _FINDING:
        return _found_program()


@functools.cache
def _found_program() -> list[str]:
    spec = importlib.util.find_spec("bids_validator_deno")
    if spec is None or spec.origin is None:
        raise MissingExtraError(PACKAGE, "bids")
    from deno import find_deno_bin

    script = Path(spec.origin).parent / "bids-validator.js"
    allowed = ["--allow-read", "--allow-env", "--allow-run=git"]
    return [str(find_deno_bin()), "run", "--no-prompt", "--cached-only", *allowed, str(script)]


def parse_answer(answer: bytes, exit_code: int, *, dataset: str, headers: bool) -> Verdict:
    """Return the verdict in the JSON that the validator printed.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: the answer is cut off or of another form, or its issues and the
            exit code contradict each other.
    """
    value = json.loads(answer)
    messages = value["issues"]["codeMessages"]
    found = tuple(_finding(issue, messages, dataset) for issue in value["issues"]["issues"])
    if any(one.severity == ERROR for one in found) != (exit_code == 16):
        raise ValueError(f"exit code {exit_code} contradicts the list of issues")
    return Verdict(
        dataset=dataset,
        exit_code=exit_code,
        headers_read=headers,
        findings=found,
        n_files=value["summary"]["totalFiles"],
        schema_version=value["summary"].get("schemaVersion"),
    )


def _finding(issue: Mapping[str, Any], messages: Mapping[str, str], dataset: str) -> Finding:
    location = (issue.get("location") or "").strip("/")
    place = location or "."
    if dataset != ".":
        place = f"{dataset}/{location}" if location else dataset
    code, sub_code = issue["code"], issue.get("subCode")
    meaning = " ".join(str(messages.get(code, code)).split())
    detail = " ".join(str(issue.get("issueMessage") or "").split())
    what = f"{meaning} ({sub_code})" if sub_code else meaning
    if detail and not detail.startswith("Field description:"):
        what += f" {detail}"
    return Finding(
        code=code,
        sub_code=sub_code,
        severity=_SEVERITIES[issue["severity"]],
        path=place,
        what=what,
        next_step=str(issue.get("suggestion") or "see the specification for this code"),
        family=REFERENCE,
        source=REFERENCE,
        dataset=dataset,
        row=_row(location, issue.get("line")),
    )


def _row(location: str, line: Any) -> int | None:
    """Return the data row of a table: the validator counts lines, with the header as the first."""
    return line - 1 if isinstance(line, int) and line > 1 and location.endswith((".tsv", ".tsv.gz")) else None


def _last_words(ran: subprocess.CompletedProcess) -> str:
    text = _COLOUR.sub("", (ran.stderr or ran.stdout or b"").decode(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"exit code {ran.returncode}: {lines[0][:300] if lines else 'no word'}"
