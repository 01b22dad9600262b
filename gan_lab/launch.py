"""``torchrun`` without its report about failed processes: ``python -m gan_lab.launch --nproc-per-node=2 -m gan_lab.train ...``.

``torchrun`` ends with a traceback of its own and a list of the processes whenever one of them fails. The processes have printed
an error message or a traceback by then.
"""

from __future__ import annotations

import logging
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> None:
    """Start processes on this machine; takes the arguments of ``torchrun --standalone``.

    Exits with the exit code of the first process that fails. A process that is ended by a signal, such as SIGKILL when memory
    runs out, prints nothing itself, and is reported in one line. Exits with 130 after Ctrl-C.
    """
    logging.disable(logging.ERROR)  # of this process, not of those that it starts
    try:
        run.run(run.parse_args(["--standalone", *sys.argv[1:]]))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            sys.exit(f"process {rank}: error: {failure.message}")
        sys.exit(failure.exitcode)
    except SignalException as signal:
        sys.exit(128 + signal.sigval)


if __name__ == "__main__":
    main()
