"""Workers forked from one process that has imported everything: a start costs 0.1 s instead of 4.

For tests that look at what a worker does, not at how it starts. `Commands` stands in for
`launchers.command`: a small program that has the worker forked for it, lends it its streams,
environment and folder, hands signals on, and ends as the worker ends.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

IMPORTED = ["torch._dynamo", "harness.runs.group", "harness.runs.inference", "harness.runs.worker"]
FORWARDED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
LARGEST_REQUEST = 1 << 17


class Commands:
    """`launchers.command` with the process to fork from, which starts at the first call."""

    def __init__(self, address: Path, plain: Any) -> None:
        self.address, self.plain = address, plain
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, *task: Any) -> list[str]:
        if not self.address.exists():
            self.process = subprocess.Popen(
                [sys.executable, __file__, self.address],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
            while not self.address.exists():
                assert self.process.poll() is None
                time.sleep(0.02)
        python, _, *code = self.plain(*task)
        return [python, "-I", "-S", __file__, str(self.address), *code]

    def close(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait()


def ask(address: str, code: list[str]) -> int:
    """Have a worker forked that carries out the code -> its exit code, negative for a signal."""
    worker = 0
    heard: list[int] = []

    def forward(number: int, _: object = None) -> None:
        if not worker:
            heard.append(number)
            return
        with suppress(ProcessLookupError):
            os.kill(worker, number)

    for number in FORWARDED:
        signal.signal(number, forward)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(address)
        request = json.dumps([code, dict(os.environ), str(Path.cwd())])
        socket.send_fds(server, [request.encode()], [0, 1, 2])
        worker = int(server.recv(100))
        for number in heard:
            forward(number)
        return os.waitstatus_to_exitcode(int(server.recv(100)))


def serve(address: str) -> str:
    """Fork a worker for each request. Returns in the workers alone: the code to carry out."""
    waiting: dict[int, socket.socket] = {}

    def reap(*_: object) -> None:
        with suppress(ChildProcessError):  # this was called within itself, and that call has it
            while waiting and (ended := os.waitpid(-1, os.WNOHANG))[0]:
                with waiting.pop(ended[0]) as client, suppress(OSError):
                    client.send(b"%d" % ended[1])

    signal.signal(signal.SIGCHLD, reap)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.bind(f"{address} ")
        server.listen()
        Path(f"{address} ").rename(address)  # who sees it can connect
        while True:
            client, _ = server.accept()
            request, streams, _, _ = socket.recv_fds(client, LARGEST_REQUEST, 3)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
            worker = os.fork()
            if not worker:
                break
            client.send(b"%d" % worker)
            waiting[worker] = client
            for stream in streams:
                os.close(stream)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
    for connection in (client, *waiting.values()):
        connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, errors="backslashreplace", closefd=False)
    (code, *arguments), environment, folder = json.loads(request)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["-c", *arguments]
    return code


def prepare(address: str) -> None:
    """Import what workers need; the processes that they start are forked here, too."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    launchers = import_module("harness.runs.launchers")
    import_module("harness.processes").end_with_parent(os.getppid(), signal.SIGTERM)
    for name in IMPORTED:
        import_module(name)
    gc.freeze()
    launchers.command = Commands(Path(address), launchers.command)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        end = ask(sys.argv[1], sys.argv[2:])
        if end < 0:
            with suppress(OSError):  # nothing is heard of SIGKILL
                signal.signal(-end, signal.SIG_DFL)
            os.kill(os.getpid(), -end)
        sys.exit(end)
    prepare(sys.argv[1])
    exec(serve(sys.argv[1]))
