"""Worker processes: results as they end, errors with their class, a worker that dies is named."""

import json
import os
from pathlib import Path

import pytest

from release_kit.bids.convert.pool import run_pieces
from release_kit.core.canonical import read_json
from release_kit.core.errors import ArtifactError, RecordError, ReleaseKitError


def test_every_piece_is_answered_once_by_one_process_or_several():
    pieces = [(str(n), {"s": str(n)}) for n in range(7)]
    expected = {str(n): n for n in range(7)}
    assert dict(run_pieces(json.loads, iter(pieces), 1)) == expected
    assert dict(run_pieces(json.loads, iter(pieces), 2)) == expected


def test_error_of_a_piece_is_its_result_and_keeps_what_it_says():
    pieces = [("absent", {"path": Path("/nowhere/x.json")}), ("here", {"path": Path("/proc/sys/kernel/pid_max")})]
    for workers in (1, 2):
        found = dict(run_pieces(read_json, iter(pieces), workers))
        assert isinstance(found["absent"], RecordError) and found["absent"].where == "/nowhere/x.json"
        assert isinstance(found["here"], int)


def test_file_that_the_system_refuses_is_named():
    (found,) = dict(run_pieces(os.rmdir, iter([("gone", {"path": "/nowhere/x"})]), 1)).values()
    assert isinstance(found, ArtifactError) and found.where == "/nowhere/x"


def test_defect_of_the_program_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="JSONDecodeError"):
        list(run_pieces(json.loads, iter([("bad", {"s": "{"})]), 2))


def test_worker_that_dies_is_named_with_its_piece():
    with pytest.raises(ReleaseKitError, match=r"sub-01: its worker process ended with code 3"):
        list(run_pieces(os._exit, iter([("sub-01", {"status": 3})]), 2))
