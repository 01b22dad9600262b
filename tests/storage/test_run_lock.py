"""Two processes never write to one run: who has it, and when an owner has died."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gan_lab.storage import run_lock
from gan_lab.storage.run_lock import OWNER, STALE_SECONDS, Owner, hold_run

HOLD = "import sys, time; from pathlib import Path; from gan_lab.storage.run_lock import hold_run\n" + (
    "with hold_run(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def test_the_second_process_is_told_who_trains_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    who = rf"is being trained by process {holder.pid} on {socket.gethostname()} since 20\d\d-"
    with pytest.raises(ValueError, match=who), hold_run(tmp_path):
        raise AssertionError("two processes hold the lock")
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    with hold_run(tmp_path):
        assert json.loads((tmp_path / OWNER).read_text())["pid"] == os.getpid()
    assert f"was left by process {holder.pid} on" in caplog.text and not list(tmp_path.iterdir())


def write_owner(folder: Path, host: str, age: float) -> None:
    (folder / OWNER).write_text(json.dumps({"host": host, "pid": 7, "since": "2026-01-01 12:00:00"}))
    os.utime(folder / OWNER, (time.time() - age,) * 2)


def test_a_process_of_another_machine_counts_as_long_as_it_gives_signs_of_life(tmp_path: Path) -> None:
    write_owner(tmp_path, "elsewhere", STALE_SECONDS - 60)
    with (
        pytest.raises(ValueError, match=rf"by process 7 on elsewhere since .*try again in .*, or remove .*{OWNER}"),
        hold_run(tmp_path),
    ):
        raise AssertionError("two machines write to one run")
    assert Owner.read(tmp_path / OWNER) == Owner("elsewhere", 7, "2026-01-01 12:00:00"), "its file is left alone"
    write_owner(tmp_path, "elsewhere", STALE_SECONDS + 60)
    with hold_run(tmp_path):
        owner = Owner.read(tmp_path / OWNER)
        assert owner is not None and owner.pid == os.getpid()
    assert not (tmp_path / OWNER).exists()


def test_the_owner_renews_its_sign_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "RENEWAL_SECONDS", 0.01)
    with hold_run(tmp_path):
        os.utime(tmp_path / OWNER, (0, 0))
        while (tmp_path / OWNER).stat().st_mtime == 0:
            time.sleep(0.01)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 7}', '{"host": 1, "pid": 2, "since": 3, "more": 4}'])
def test_a_damaged_owner_file_stops_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / OWNER).write_text(content)
    with hold_run(tmp_path):
        assert Owner.read(tmp_path / OWNER) is not None
