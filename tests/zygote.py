"""A process that has imported everything once, and becomes a command whenever one is asked for: most of a tiny run is imports.

Each line of standard input asks for one, as JSON: ``module arguments cwd env stdout stderr pages``. Two lines of standard
output answer: its process when it has begun, its exit code when it has ended. The command runs in a fork, with its own memory,
working directory, environment and output files, as ``python -m module arguments`` would; without ``pages``, trainings write no
``report.html``.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import sys
import threading
import traceback
import warnings

import torch

import gan_lab.benchmark
import gan_lab.building.trainer
import gan_lab.evaluate
import gan_lab.export
import gan_lab.prepare
import gan_lab.report
import gan_lab.reporting.run_page
import gan_lab.runs.run
import gan_lab.sample
import gan_lab.train

for name in [name for name in sys.modules if name.startswith("gan_lab.") and hasattr(sys.modules[name], "main")]:
    del sys.modules[name]  # or running one of them as a program would warn that it was imported before


def become(module: str, arguments: list[str]) -> int:
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def serve() -> None:
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # brings what it imports when first used
    torch.nn.init.normal_(torch.empty(1, device="meta"))  # likewise
    for line in sys.stdin:
        asked = json.loads(line)
        if "-m" in asked["arguments"]:
            importlib.import_module("gan_lab.sweeps.optuna_study")  # takes seconds, and only multiruns need it
        child = os.fork()
        if child == 0:
            os.setsid()
            os.chdir(asked["cwd"])
            os.environ.clear()
            os.environ.update(asked["env"])
            for number, path in ((1, asked["stdout"]), (2, asked["stderr"])):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            if not asked["pages"]:
                gan_lab.building.trainer.write_run_page = lambda *_, **__: None
            code = become(asked["module"], asked["arguments"])
            threading._shutdown()
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        print(json.dumps({"pid": child}), flush=True)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("error", category=DeprecationWarning, module="gan_lab")
    serve()
