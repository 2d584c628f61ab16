"""The examples of the README, run as a reader would run them."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.processes import Running

README = (Path(__file__).parents[2] / "README.md").read_text()

pytestmark = pytest.mark.system


def example(word: str) -> str:
    """The one Python block of the README that holds a word."""
    (found,) = [
        block for block in re.findall(r"```python\n(.*?)```", README, re.S) if word in block
    ]
    return found


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_nats_example_prints_the_product(stack: Running) -> None:
    program = example("nats.connect").replace("nats://127.0.0.1:4222", stack.nats)

    done = run(program)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count("[") == 65  # 64 rows within one array


def test_the_inference_example_prints_scores(stack: Running, model: str) -> None:
    program = example("tritonclient").replace("127.0.0.1:8001", stack.grpc)
    program = program.replace('"digits"', f'"{model}"').replace("csr90", "dense")
    names = {'("pixels"': '("x"', "[1, 64]": "[1, 32]", "(1, 64)": "(1, 32)"}
    for told, held in names.items():
        program = program.replace(told, held)

    done = run(program)

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("[[")
