"""A real Slurm of several nodes on this machine: munged, slurmctld and a slurmd for each node, in one folder.

Nothing outside that folder is written, nothing of the system's own Slurm is used, and every daemon is stopped by its
process id. Also a script: ``python tests/slurm/cluster.py FOLDER`` starts one and waits for Ctrl-C.
"""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

BINARIES = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "sinfo")
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

CONFIG = """
ClusterName=releasekit
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={munge}
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
InactiveLimit=0
KillWait=2
MinJobAge=300
JobRequeue=1
SlurmdParameters=config_overrides
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
NodeName=n[1-{n}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=1 RealMemory=2000 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing_binaries() -> list[str]:
    """Return the programs of Slurm and munge that are not installed here."""
    return [name for name in BINARIES if shutil.which(name, path=SEARCH) is None]


@dataclass
class Cluster:
    """A running cluster; ``environment`` makes the clients talk to it."""

    folder: Path
    n_nodes: int
    environment: dict[str, str]
    daemons: dict[str, subprocess.Popen] = field(default_factory=dict)

    def run(self, *command: str) -> str:
        """Run a client of Slurm and return what it printed; AssertionError with its own words when it refuses."""
        ran = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        assert ran.returncode == 0, f"{' '.join(command)}: {ran.stderr}"
        return ran.stdout.strip()

    def node_states(self) -> dict[str, str]:
        """Return node → state."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def kill_node(self, name: str) -> int:
        """Kill everything of a node at once, as a power cut does, and return how many processes that were.

        A job's step daemon is no child of the node's daemon; it is found by the environment of what it runs.
        """
        doomed = [self.daemons[name].pid, *_step_daemons(name), *self.processes_of(name)]
        for pid in dict.fromkeys(doomed):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.daemons[name].wait()
        return len(set(doomed))

    def processes_of(self, name: str) -> list[int]:
        """Return the processes of the jobs on a node."""
        return [child for pid in _step_daemons(name) for child in _descendants(pid)]

    def start_node(self, name: str) -> None:
        """Start a node's daemon (again)."""
        self._start(name, "slurmd", "-D", "-N", name, "-f", str(self.folder / "slurm.conf"))

    def _start(self, name: str, program: str, *arguments: str) -> None:
        with open(self.folder / f"{name}.out", "ab") as log:
            command = [shutil.which(program, path=SEARCH), *arguments]
            self.daemons[name] = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)

    def stop(self) -> None:
        """Cancel the jobs, stop every daemon and what its jobs left, by process id."""
        with contextlib.suppress(AssertionError, OSError):
            self.run("scancel", f"--user={getpass.getuser()}")
            wait_until(lambda: not self.run("squeue", "--noheader"), 20, "jobs to end")
        steps = [pid for n in range(1, self.n_nodes + 1) for pid in _step_daemons(f"n{n}")]
        for process in reversed(self.daemons.values()):
            process.terminate()
        for process in self.daemons.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        for pid in steps:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def cluster(folder: Path, n_nodes: int = 3) -> Iterator[Cluster]:
    """Yield a cluster whose nodes are all idle; everything of it is gone when the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chmod(folder, 0o755)
    first, last, port = _free_ports(n_nodes)
    names = {"host": socket.gethostname(), "user": getpass.getuser(), "munge": folder / "munge.socket"}
    text = CONFIG.format(folder=folder, n=n_nodes, first=first, last=last, port=port, **names)
    (folder / "slurm.conf").write_text(text, encoding="utf-8")
    (folder / "state").mkdir(exist_ok=True)
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": SEARCH}
    it = Cluster(folder=folder, n_nodes=n_nodes, environment=environment)
    try:
        _start_munge(it)
        it._start("slurmctld", "slurmctld", "-D", "-f", str(folder / "slurm.conf"))
        for n in range(1, n_nodes + 1):
            it.start_node(f"n{n}")
        wait_until(lambda: _all_idle(it), 60, f"nodes to be idle; see {folder}/*.log")
        yield it
    finally:
        it.stop()


def wait_until(is_so: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for another process's doing; AssertionError when it takes longer."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.2)


def _start_munge(it: Cluster) -> None:
    key = it.folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munged.pid", "log-file": "munged.log"}
    files["seed-file"] = "munged.seed"
    arguments = [f"--{option}={it.folder / name}" for option, name in files.items()]
    it._start("munged", "munged", "--foreground", "--force", *arguments)
    wait_until((it.folder / "munge.socket").exists, 20, "munged")


def _all_idle(it: Cluster) -> bool:
    try:
        states = it.node_states()
    except AssertionError:
        return False
    return len(states) == it.n_nodes and set(states.values()) == {"idle"}


def _free_ports(n_nodes: int) -> tuple[int, int, int]:
    """Return the first and last of as many free neighbouring ports, and one more for the controller."""
    for first in range(17001, 40000, n_nodes + 1):
        ports = range(first, first + n_nodes + 1)
        if all(_is_free(port) for port in ports):
            return first, first + n_nodes - 1, ports[-1]
    raise AssertionError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _step_daemons(node: str) -> list[int]:
    """Return the slurmstepd processes of a node, which know it from their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            title = (folder / "cmdline").read_bytes()
            if title.startswith(b"slurmstepd") and f"SLURMD_NODENAME={node}\0".encode() in _step_environment(folder):
                found.append(int(folder.name))
    return found


def _step_environment(folder: Path) -> bytes:
    """Return the environments of a step daemon's children: its own says nothing of the node."""
    children = (folder / "task" / folder.name / "children").read_text().split()
    return b"".join((Path("/proc") / child / "environ").read_bytes() for child in children)


def _descendants(pid: int) -> list[int]:
    try:
        children = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return [found for child in children for found in (child, *_descendants(child))]


if __name__ == "__main__":
    with cluster(Path(sys.argv[1]).resolve()) as running:
        print(f"export SLURM_CONF={running.folder / 'slurm.conf'}", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()
