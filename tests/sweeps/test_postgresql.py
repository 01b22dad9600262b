"""Two workers share a study in PostgreSQL."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweep_helpers import SWEEP, record

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The URL of a server started for these tests."""
    folders = (
        [Path(found).resolve().parent]
        if (found := shutil.which("initdb"))
        else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    )
    if not folders:
        pytest.skip("no PostgreSQL server on this machine")
    home = Path(tempfile.mkdtemp(prefix="postgresql-"))  # other users can't read pytest's temporary directories
    user = None
    if os.geteuid() == 0:  # the server refuses to run as root
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("root may not run PostgreSQL, and there is no user postgres")
        os.chown(home, user.pw_uid, user.pw_gid)
    options: dict[str, Any] = {"cwd": home, "stdout": subprocess.DEVNULL} | ({} if user is None else {"user": user.pw_name})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    programs, data = folders[-1], home / "data"
    subprocess.run([programs / "initdb", "-D", data, "-A", "trust", "-U", "lab"], check=True, **options)
    server_options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1"
    start = [programs / "pg_ctl", "-D", data, "-w", "-l", home / "log", "-o", server_options, "start"]
    subprocess.run(start, check=True, **options)
    try:
        yield f"postgresql://lab@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], check=False, **options)
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
def test_a_killed_workers_trial_is_repeated_by_the_other_worker(postgresql: str, tmp_path: Path) -> None:
    options = [f"study.storage={postgresql}", "study.heartbeat=1", "study.trials=8", "epochs=60", "pruner=none"]
    workers = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        command = [sys.executable, "-m", "gan_lab.train", "-m", *SWEEP, *options]
        with (tmp_path / name / "out").open("w") as out:
            workers.append(subprocess.Popen(command, cwd=tmp_path / name, stdout=out, stderr=subprocess.STDOUT))
    folder = tmp_path / "b" / "multirun" / "quality"
    for _ in range(1200):
        if len(list(folder.glob("*/summary.json"))) >= 2:
            break
        time.sleep(0.1)
    time.sleep(1)
    workers[1].kill()
    assert workers[0].wait(timeout=400) == 0, (tmp_path / "a" / "out").read_text()[-2000:]
    workers[1].wait()
    trials = record(tmp_path / "a")["trials"]
    states = [trial["state"] for trial in trials]
    assert states.count("complete") == 8 and states.count("lost") == 1 and len(states) == 9
    assert [trial["number"] for trial in trials] == list(range(9))
    complete = [json.dumps(trial["params"], sort_keys=True) for trial in trials if trial["state"] == "complete"]
    assert len(set(complete)) == 8, "all parameters are distinct"
    lost = next(trial for trial in trials if trial["state"] == "lost")
    assert json.dumps(lost["params"], sort_keys=True) in complete, "the lost trial is repeated"
    runs = [
        sum(path.parent.parent.name == "quality" for path in (tmp_path / name).rglob("summary.json")) for name in ("a", "b")
    ]
    assert min(runs) >= 2, "both workers have made trials"
    table = (tmp_path / "a" / "multirun" / "quality" / "study.md").read_text()
    assert table.count("| trial ") == 8, "including those of the other worker"
