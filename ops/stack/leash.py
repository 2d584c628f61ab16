"""Runs a program that the kernel kills when its parent dies, however the parent dies.

    python -I -S leash.py PARENT_PID PROGRAM ARGUMENT...

A separate step before exec, because code between fork and exec is unsafe in a process with threads.
Source: prctl(2), PR_SET_PDEATHSIG; Linux only, elsewhere the program runs unleashed.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, program: list[str]) -> None:
    """Become `program`; exit at once when the parent has gone before the leash was on."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
