"""How many requests a second the local Hub answers, by kind, and what one costs it in processor time.

Run: ``python benchmarks/local_hub.py [--durability fast|full] [--repos 1000]``. Starts ``release-kit hub serve`` and
sends each kind of request once for each of N repositories over 8 connections. On a busy machine the processor time
is the figure to compare; the rates are what was left for both sides. Recorded figures: docs/local-hub.md.
"""

import argparse
import asyncio
import base64
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 8
ADAPTER_BYTES = 40_000


@dataclass
class Server:
    """A served Hub and the processor time that it has used."""

    process: subprocess.Popen
    host: str
    port: int

    def cpu_s(self) -> float:
        """Return user and system seconds so far (Linux)."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_server(root: str, durability: str) -> Server:
    script = Path(sys.executable).parent / "release-kit"
    command = [script, "hub", "serve", "--root", root, "--port", "0", "--durability", durability]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    host, _, port = process.stdout.readline().strip().removeprefix("http://").rpartition(":")
    return Server(process, host, int(port))


def request(method: str, path: str, body: object = None) -> bytes:
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data


async def send_all(server: Server, requests: list[bytes]) -> list[bytes]:
    """Return the bodies of the answers, in order."""
    bodies: list[bytes] = [b""] * len(requests)

    async def work(first: int) -> None:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        for index in range(first, len(requests), CONNECTIONS):
            writer.write(requests[index])
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if head[9:10] != b"2":
                raise SystemExit(f"{requests[index][:100]!r} was answered with {head[:200]!r}")
            length = int(head.partition(b"content-length: ")[2].partition(b"\r")[0])
            bodies[index] = b"" if requests[index].startswith(b"HEAD") else await reader.readexactly(length)
        writer.close()

    await asyncio.gather(*map(work, range(CONNECTIONS)))
    return bodies


def commit_body(index: int, adapter: bytes) -> bytes:
    readme = base64.b64encode(f"---\nlicense: mit\n---\n# Model {index}\n".encode() + b"text " * 500).decode()
    value = {
        "path": "adapter.safetensors",
        "algo": "sha256",
        "oid": hashlib.sha256(adapter).hexdigest(),
        "size": len(adapter),
    }
    rows = [
        {"key": "header", "value": {"summary": "Publish"}},
        {"key": "file", "value": {"path": "README.md", "content": readme, "encoding": "base64"}},
        {"key": "file", "value": {"path": "adapter_config.json", "content": "e30=", "encoding": "base64"}},
        {"key": "lfsFile", "value": value},
    ]
    return b"\n".join(json.dumps(row).encode() for row in rows)


def stages(n_repos: int) -> Iterator[tuple[str, Callable[[list[bytes]], list[bytes]]]]:
    """Yield a name and a function from the last answers to the next requests."""
    generator = random.Random(0)
    adapters = [generator.randbytes(ADAPTER_BYTES) for _ in range(n_repos)]

    def each(make: Callable[[int], bytes]) -> Callable[[list[bytes]], list[bytes]]:
        return lambda _: list(map(make, range(n_repos)))

    def batch(index: int) -> bytes:
        item = {"oid": hashlib.sha256(adapters[index]).hexdigest(), "size": ADAPTER_BYTES}
        return request("POST", f"/lab/m{index}.git/info/lfs/objects/batch", {"operation": "upload", "objects": [item]})

    def put(answers: list[bytes]) -> list[bytes]:
        hrefs = [json.loads(answer)["objects"][0]["actions"]["upload"]["href"] for answer in answers]
        paths = ["/" + href.split("/", 3)[3] for href in hrefs]
        return [request("PUT", path, adapter) for path, adapter in zip(paths, adapters, strict=True)]

    api = "/api/models/lab/m{}"
    yield "create", each(lambda i: request("POST", "/api/repos/create", {"name": f"m{i}", "organization": "lab"}))
    yield "LFS batch", each(batch)
    yield "PUT 40 kB", put
    yield "commit", each(lambda i: request("POST", api.format(i) + "/commit/main", commit_body(i, adapters[i])))
    yield "tree", each(lambda i: request("GET", api.format(i) + "/tree/main?recursive=true"))
    yield "tag", each(lambda i: request("POST", api.format(i) + "/tag/main", {"tag": "v1"}))
    yield "info", each(lambda i: request("GET", api.format(i) + "/revision/v1"))
    yield "HEAD file", each(lambda i: request("HEAD", f"/lab/m{i}/resolve/v1/README.md"))
    yield "GET 3 kB", each(lambda i: request("GET", f"/lab/m{i}/resolve/v1/README.md"))
    yield "GET 40 kB", each(lambda i: request("GET", f"/lab/m{i}/resolve/v1/adapter.safetensors"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--durability", choices=["fast", "full"], default="fast")
    parser.add_argument("--repos", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        server = start_server(root, options.durability)
        try:
            measure(server, options.repos)
        finally:
            server.process.terminate()
            server.process.wait()


def measure(server: Server, n_repos: int) -> None:
    answers: list[bytes] = []
    print(f"{'request':12} {'per second':>10} {'µs of CPU':>10}")
    for name, make in stages(n_repos):
        requests = make(answers)
        cpu_s, start_s = server.cpu_s(), time.perf_counter()
        answers = asyncio.run(send_all(server, requests))
        seconds = time.perf_counter() - start_s
        print(f"{name:12} {n_repos / seconds:10,.0f} {(server.cpu_s() - cpu_s) / n_repos * 1e6:10,.0f}")


if __name__ == "__main__":
    main()
