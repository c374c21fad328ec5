"""A SLURM cluster of one node, this machine, for as long as a test needs it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
#: Where Debian keeps daemons, which need not be on a user's path.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str:
    """Why no cluster can be had here; empty where one can."""
    absent = [name for name in PROGRAMS if not shutil.which(name, path=PATH)]
    if absent:
        return f"SLURM is not installed: no {', '.join(absent)} (apt-get install slurm-wlm munge)"
    return "" if os.getuid() == 0 else "SLURM's daemons are started by root alone"


@contextmanager
def cluster() -> Iterator[dict[str, str]]:
    """Start it -> the environment in which sbatch and its like find it; stop it at the end."""
    with ExitStack() as stack:
        # A socket's path has at most 107 characters: not in the folder of a test.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-")))
        folder.chmod(0o755)
        (folder / "state").mkdir()
        (folder / "spool").mkdir()
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        config = folder / "slurm.conf"
        host = socket.gethostname().partition(".")[0]
        config.write_text(
            CONFIG.format(host=host, folder=folder, ports=_ports(), cpus=os.cpu_count() or 1)
        )
        daemons = [
            ["munged", "--foreground", "--force", f"--key-file={key}",
             f"--socket={folder}/munge.socket", f"--pid-file={folder}/munged.pid",
             f"--log-file={folder}/munged.log", f"--seed-file={folder}/munged.seed"],
            ["slurmctld", "-D", "-c", "-f", str(config)],
            ["slurmd", "-D", "-f", str(config)],
        ]  # fmt: skip
        environment = {**os.environ, "SLURM_CONF": str(config), "PATH": PATH}
        with (folder / "daemons.txt").open("wb") as log:
            for command in daemons:
                daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
                stack.callback(_stop, daemon)
                time.sleep(0.3)
        _wait_until_idle(environment, folder)
        stack.callback(_end_jobs, environment)
        yield environment


def _ports() -> list[int]:
    """Two ports that nobody listens on."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return [first.getsockname()[1], second.getsockname()[1]]


def _wait_until_idle(environment: dict[str, str], folder: Path) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    logs = "\n".join(file.read_text(errors="replace")[-2000:] for file in folder.glob("*.log"))
    raise RuntimeError(f"SLURM did not start: {done.stdout} {done.stderr}\n{logs}")


def _end_jobs(environment: dict[str, str]) -> None:
    """Leave no worker behind, whatever became of the test."""
    subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True, check=False)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        done = subprocess.run(
            ["squeue", "--noheader"], env=environment, capture_output=True, text=True, check=False
        )
        if not done.stdout.strip():
            return
        time.sleep(0.2)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(timeout=10)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
