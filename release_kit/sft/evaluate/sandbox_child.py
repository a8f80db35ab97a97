"""The inside of the sandbox: started by ``sandbox.py`` as a script of its own, it shuts itself in and runs a program.

Standard library only, and nothing of release_kit: the interpreter is started with ``-I -S``. Namespaces take away
network, other processes and all files but the interpreter's; limits take away time, memory, processes and disk.
What happened is told on the status pipe, first the process to kill, last whether the program came to its end.
"""

import ctypes
import json
import os
import resource
import sys

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
SYS_MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, MOUNT_ATTR_RDONLY = 442, -100, 0x8000, 1
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
CAPABILITY_VERSION_3 = 0x20080522
SYSTEM_FOLDERS = ("/usr", "/lib", "/lib64", "/bin")
DEVICES = ("null", "zero", "urandom")
FIRST_UID = 2_000_000_000
"""Users that nobody is: each sandbox gets its own, so that processes are counted for it alone."""

_libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Read the program from stdin and run it as the settings in the first argument say."""
    settings = json.loads(sys.argv[1])
    program = sys.stdin.buffer.read().decode()
    status = settings["status_fd"]
    if settings["isolate"]:
        try:
            _leave_namespaces()
        except OSError as error:
            _say(status, f"refused {error.strerror}")
            os._exit(2)
    child = os.fork()
    if child:
        _say(status, f"pid {child}")
        os.waitpid(child, 0)
        os._exit(0)
    _libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    os.read(settings["go_fd"], 1)
    try:
        if settings["isolate"]:
            _enclose(settings["folder"], settings["prefix"])
        else:
            os.chdir(settings["folder"])
        _limit(settings)
    except OSError as error:
        _say(status, f"refused {error.strerror} ({error.filename})")
        os._exit(2)
    _run(program, status, settings["token"])


def _leave_namespaces() -> None:
    """Leave the namespaces of the machine; who is not root first becomes one in a namespace of users."""
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    _check(_libc.unshare(flags | (0 if uid == 0 else CLONE_NEWUSER)), "unshare")
    if uid != 0:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"0 {uid} 1")
        _write("/proc/self/gid_map", f"0 {gid} 1")


def _enclose(folder: str, prefix: str) -> None:
    """Make ``folder`` the root, with nothing in it but the interpreter and the system's libraries, read-only."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "size=64m,mode=755")
    for source in (*SYSTEM_FOLDERS, prefix):
        target = folder + source
        if os.path.islink(source):
            os.symlink(os.readlink(source), target)
        elif os.path.isdir(source) and not os.path.exists(target):
            os.makedirs(target, 0o755)
            _mount(source, target, None, MS_BIND | MS_REC)
            _read_only(target)
    os.makedirs(folder + "/dev", 0o755)
    for name in DEVICES:
        _write(f"{folder}/dev/{name}", "")
        _mount(f"/dev/{name}", f"{folder}/dev/{name}", None, MS_BIND)
    os.mkdir(folder + "/tmp")
    os.chmod(folder + "/tmp", 0o1777)
    os.chroot(folder)
    os.chdir("/tmp")
    _drop_power()


def _drop_power() -> None:
    """Keep no capability and no way to get one back."""
    for capability in range(64):
        _libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "no_new_privs")
    with open("/dev/urandom", "rb") as stream:
        user = FIRST_UID + int.from_bytes(stream.read(3), "little")
    try:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    except (PermissionError, OSError):
        # In a namespace of users only the caller's own user exists; its capabilities go below.
        pass
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _limit(settings: dict) -> None:
    limits = {
        resource.RLIMIT_CPU: settings["cpu_s"],
        resource.RLIMIT_AS: settings["memory_bytes"],
        resource.RLIMIT_FSIZE: settings["file_bytes"],
        resource.RLIMIT_NPROC: settings["n_processes"],
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 0,
    }
    for limit, value in limits.items():
        if limit == resource.RLIMIT_NPROC and not settings["isolate"]:
            continue  # Counted for the whole user, who runs other things here.
        resource.setrlimit(limit, (value, value))


def _run(program: str, status: int, token: str) -> None:
    """Run the program; only coming to its end without an exception counts."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    try:
        exec(compile(program, "<answer>", "exec"), {"__name__": "__main__"})
    except BaseException as error:
        _say(status, f"raised {type(error).__name__}: {error}"[:300].replace("\n", " "))
        os._exit(1)
    _say(status, f"passed {token}")
    os._exit(0)


def _read_only(target: str) -> None:
    attributes = (ctypes.c_uint64 * 4)(MOUNT_ATTR_RDONLY, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    _check(_libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, size), target)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _check(_libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), target)


def _check(code: int, what: str) -> None:
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


def _write(path: str, text: str) -> None:
    with open(path, "w") as stream:
        stream.write(text)


def _say(status: int, text: str) -> None:
    os.write(status, text.encode(errors="replace") + b"\n")


if __name__ == "__main__":
    main()
