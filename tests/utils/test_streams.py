"""Output that can't be encoded or written does not end a command."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from gan_lab.utils.streams import Output

PRINT = """
import sys
from gan_lab.utils.streams import encode_anything
from gan_lab.utils.terminal import STDOUT, print_table
from rich.text import Text
encode_anything()
STDOUT.print(Text("5.3 ± 0.1 ↑ müller 日"))
print_table(["a", "b"], [["é", "↓"]])
print("± done", file=sys.stderr)
"""


def run(code: str, redirection: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", "-c", f'"{sys.executable}" -c "$CODE" {redirection}']
    env = os.environ | {"CODE": code, **environment}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_console_that_encodes_only_ascii_shows_replacements() -> None:
    done = run(PRINT, PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and done.stderr == "+- done\n", done.stderr
    assert done.stdout.splitlines()[0] == r"5.3 +- 0.1 ^ m\xfcller \u65e5" and "v" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    ("redirection", "reason"), [(">&-", ""), ("> /dev/full", "No space left on device"), ("2>&-", ""), (">&- 2>&-", "")]
)
def test_output_that_can_not_be_written_ends_nothing(redirection: str, reason: str) -> None:
    done = run(PRINT, redirection)
    assert done.returncode == 0 and done.stderr.count("can't be written") == bool(reason) and reason in done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_terminal_discards_the_rest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdout", Closed())
    output = Output()
    assert [output.write("a"), output.write("b")] == [1, 1]
    output.flush()
    assert capsys.readouterr().err.count("Input/output error") == 1 and not output.isatty()


def test_a_notebook_is_no_terminal_although_kernels_ask_for_colors() -> None:
    """Bars that move the cursor would be shown as escape sequences, line below line."""
    code = (
        "import sys, types\n"
        "kernel = types.SimpleNamespace(kernel=None)\n"
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: kernel if len(sys.argv) > 1 else None)\n"
        "from gan_lab.utils.terminal import STDOUT\n"
        "print(STDOUT.is_terminal)"
    )
    for arguments, expected in ((["notebook"], "False"), ([], "True")):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=os.environ | {"FORCE_COLOR": "1"}, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected
