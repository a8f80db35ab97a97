"""A report of ``check`` as SARIF 2.1.0, which code hosts and editors show beside the files.

Specification: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. What the authors accept becomes a
suppressed result, so that nothing disappears.
"""

from typing import Any
from urllib.parse import quote

from release_kit import __version__
from release_kit.core import canonical
from release_kit.core.study import STUDY_FILE
from release_kit.core.wording import printable
from release_kit.release.check.codes import CODES
from release_kit.release.check.problem import Problem
from release_kit.release.check.run import CheckReport

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def sarif_bytes(report: CheckReport) -> bytes:
    """Return the SARIF file of a report; the same report gives the same bytes."""
    used = sorted({found.code for found in report.problems})
    run = {
        "tool": {
            "driver": {
                "name": "release-kit check",
                "semanticVersion": __version__,
                "rules": [_rule(name) for name in used],
            }
        },
        "columnKind": "utf16CodeUnits",
        "results": [_result(found, used.index(found.code)) for found in report.problems],
    }
    return canonical.document_bytes({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(name: str) -> dict[str, Any]:
    code = CODES[name]
    return {
        "id": name,
        "shortDescription": {"text": code.summary},
        "fullDescription": {"text": code.why},
        "help": {"text": f"{code.why} Next step: {code.next_step}."},
        "defaultConfiguration": {"level": code.severity},
        "properties": {"tags": [code.family]},
    }


def _result(found: Problem, rule_index: int) -> dict[str, Any]:
    uri = quote(found.path or STUDY_FILE, errors="surrogateescape")
    where, what, step = printable(found.where), printable(found.what), printable(found.next_step)
    physical: dict[str, Any] = {"artifactLocation": {"uri": uri}}
    if found.row is not None:
        physical["region"] = {"startLine": found.row + 1}
    result: dict[str, Any] = {
        "ruleId": found.code,
        "ruleIndex": rule_index,
        "level": found.severity,
        "message": {"text": f"{where}: {what}. Next step: {step}."},
        "locations": [
            {"physicalLocation": physical, "logicalLocations": [{"fullyQualifiedName": where, "kind": "member"}]}
        ],
        "partialFingerprints": {
            "releaseKitProblem/v1": canonical.digest([found.code, where, uri if found.path else "", what])
        },
    }
    if found.reason is not None:
        result["suppressions"] = [{"kind": "external", "justification": found.reason}]
    return result
