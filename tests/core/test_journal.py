"""A journal keeps what was proved, whatever interrupts it."""

import json
import os
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release_kit.core.errors import ReleaseKitError
from release_kit.core.journal import Journal

HEADER = {"job": "test", "schema_version": 1}


def test_facts_survive_closing(tmp_path):
    with Journal(tmp_path / "a/j.jsonl", HEADER) as journal:
        journal.append({"n": 1})
        journal.append({"n": 2}, durable=True)
    with Journal(tmp_path / "a/j.jsonl", HEADER) as journal:
        assert journal.facts == [{"n": 1}, {"n": 2}]


@given(cut=st.integers(min_value=0))
def test_a_torn_end_costs_at_most_the_torn_fact(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("torn") / "j.jsonl"
    facts = [{"fact": "ready", "n": n} for n in range(5)]
    with Journal(path, HEADER) as journal:
        for fact in facts:
            journal.append(fact)
    data = path.read_bytes()
    keep = cut % (len(data) + 1)
    path.write_bytes(data[:keep])
    n_whole = data[:keep].count(b"\n") - 1
    with Journal(path, HEADER) as journal:
        assert journal.facts == facts[: max(0, n_whole)]
        journal.append({"after": True})
    with Journal(path, HEADER) as journal:
        assert journal.facts == [*facts[: max(0, n_whole)], {"after": True}]


def test_a_damaged_line_is_left_out_and_the_others_are_kept(tmp_path):
    path = tmp_path / "j.jsonl"
    path.write_bytes(json.dumps(HEADER).encode() + b'\n{"n": 1}\n{"n": \xff\n[]\n{"n": 3}\n')
    with Journal(path, HEADER) as journal:
        assert journal.facts == [{"n": 1}, {"n": 3}]


def test_a_journal_of_something_else_is_set_aside_not_lost(tmp_path):
    path = tmp_path / "j.jsonl"
    with Journal(path, {"job": "other"}) as journal:
        journal.append({"n": 1})
    with Journal(path, HEADER) as journal:
        assert journal.facts == []
    assert b'{"n":1}' in (tmp_path / "j.jsonl.old").read_bytes()


def test_one_process_at_a_time_and_a_killed_one_lets_go(tmp_path):
    path = tmp_path / "j.jsonl"
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        journal = Journal(path, HEADER)
        journal.append({"n": 1})
        os.write(writer, b"x")
        signal.pause()
    os.read(reader, 1)
    with pytest.raises(ReleaseKitError, match="another process is at the same job"):
        Journal(path, HEADER)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with Journal(path, HEADER) as journal:
        assert journal.facts == [{"n": 1}]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReleaseKitError, match="cannot be written"):
        Journal(tmp_path / "file" / "j.jsonl", HEADER)
