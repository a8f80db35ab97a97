"""Downloads in processes of their own that kill themselves at an exact byte, forked from one helper.

SIGKILL is the real one; starting costs milliseconds. Kills at exact requests come from the Hub (``publish_hub``).
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path


class Downloads:
    """Runs downloads one after the other; a context manager."""

    def __enter__(self) -> "Downloads":
        command = [sys.executable, __file__]
        self._helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._helper.stdin.close()
        self._helper.stdout.close()
        self._helper.wait()

    def run(self, reference: str, folder: Path, *, at_byte: int | None = None, into_cache: bool = False) -> int:
        """Download and return the exit code, ``-9`` for a process that killed itself at that byte."""
        line = {"reference": reference, "folder": str(folder), "at_byte": at_byte, "into_cache": into_cache}
        self._helper.stdin.write(json.dumps(line) + "\n")
        self._helper.stdin.flush()
        return int(self._helper.stdout.readline())


def _download(reference: str, folder: str, at_byte: int | None, into_cache: bool) -> None:
    from release_kit.core.digest_cache import DigestCache
    from release_kit.hub.client import HubClient
    from release_kit.hub.reference import parse_reference
    from release_kit.release.download.release import Callbacks, DownloadOptions, download_release

    left = at_byte

    def count(n: int) -> None:
        nonlocal left
        if left is not None:
            left -= n
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    parsed = parse_reference(reference)
    with HubClient(parsed.endpoint) as client, DigestCache(None) as cache:
        options = DownloadOptions(into_cache=into_cache)
        download_release(client, parsed, Path(folder), options, cache=cache, callbacks=Callbacks(on_bytes=count))


def _serve() -> None:
    """Fork one child for every line on stdin and print how it ended."""
    from release_kit.hub.client import HubClient
    from release_kit.release.download import into_cache, release

    assert release and into_cache
    with HubClient("http://127.0.0.1:9"):
        pass
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                _download(**json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    _serve()
