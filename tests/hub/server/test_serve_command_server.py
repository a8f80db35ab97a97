"""``release-kit hub serve`` and ``hub fsck`` as programs."""

import http.client
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).parent / "release-kit"


def run(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run([SCRIPT, "hub", *map(str, words)], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly(start_server, ask_at, tmp_path, number):
    log = tmp_path / "access.jsonl"
    server = start_server(tmp_path / "hub", "--access-log", str(log))
    assert ask_at(server.endpoint)("GET", "/api/models?search=hf_secret").status == 200
    code, errors = server.stop(number)
    assert code == 0
    assert "HF_ENDPOINT" in errors
    assert "Traceback" not in errors
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [(row["method"], row["path"], row["status"]) for row in rows] == [("GET", "/api/models", 200)]
    assert run("fsck", "--root", tmp_path / "hub").returncode == 0


def test_serve_stops_with_an_open_connection(start_server, tmp_path):
    server = start_server(tmp_path / "hub")
    connection = http.client.HTTPConnection(server.endpoint.removeprefix("http://"))
    connection.request("GET", "/api/models")
    connection.getresponse().read()
    assert server.stop()[0] == 0
    connection.close()


def test_serve_with_a_fault_plan_and_rate_limit(start_server, ask_at, tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text('{"faults": [{"kind": "status", "path": "^/api/models$", "nth": [1], "status": 502}]}')
    server = start_server(tmp_path / "hub", "--faults", str(plan), "--rate-limit", "2", "5")
    ask = ask_at(server.endpoint)
    assert [ask("GET", "/api/models").status for _ in range(4)] == [502, 200, 200, 429]


def test_wrong_use_is_one_clear_line(tmp_path, start_server):
    refused = run("serve", "--root", tmp_path / "hub", "--host", "0.0.0.0")
    assert refused.returncode == 2
    assert "--tokens" in refused.stderr
    missing = run("serve", "--root", tmp_path / "hub", "--tokens", tmp_path / "none.json")
    assert missing.returncode == 1
    assert "none.json" in missing.stderr
    server = start_server(tmp_path / "busy")
    port = server.endpoint.rpartition(":")[2]
    taken = run("serve", "--root", tmp_path / "other", "--port", port)
    assert taken.returncode == 1
    assert "--port" in taken.stderr
    assert run("serve", "--root", tmp_path / "busy", "--port", 0).returncode == 1
    for done in (refused, missing, taken):
        assert len(done.stderr.strip().splitlines()) == 1
        assert done.stdout == ""


def test_fsck_reports_as_text_and_json(start_server, ask_at, tmp_path):
    server = start_server(tmp_path / "hub")
    ask_at(server.endpoint)("POST", "/api/repos/create", json={"name": "m", "organization": "lab"})
    busy = run("fsck", "--root", tmp_path / "hub")
    assert busy.returncode == 1
    assert "another local Hub" in busy.stderr
    server.stop()
    good = run("fsck", "--root", tmp_path / "hub", "--json")
    assert json.loads(good.stdout)["repos"] == 1
    damage(tmp_path / "hub")
    bad = run("fsck", "--root", tmp_path / "hub")
    assert bad.returncode == 1
    assert "unknown commit" in bad.stdout
    assert run("fsck", "--root", tmp_path / "nothing").returncode == 2


def damage(root: Path) -> None:
    import sqlite3

    connection = sqlite3.connect(root / "hub.sqlite3")
    connection.execute("UPDATE refs SET commit_id = ?", ("0" * 40,))
    connection.commit()
    connection.close()
