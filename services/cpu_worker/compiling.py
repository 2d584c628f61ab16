"""python -m services.cpu_worker.compiling FOLDER THREADS FAMILY: compile a family of kernels into a
folder, and compare them with scipy. Started by `kernel_cache`, in a process that may fail."""

import sys

from services.cpu_worker import engine


def main(folder: str, threads: str, family: str) -> None:
    """Compile and verify; an exception is the answer that there are no kernels."""
    engine.load(folder, int(threads), (family,))


if __name__ == "__main__":
    main(*sys.argv[1:])
