"""Children of the local stack: kept running, ended in order, never left behind."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio
import psutil
import pytest

from ops.stack import backoff, folder, leash, plan, ports, process, readiness
from ops.stack.process import Program
from ops.stack.supervisor import Group, supervised
from shared.contracts.errors import AddressTaken, FolderInUse, StackNotReady

SLEEP = "import time; time.sleep(60)"
OBEDIENT = (
    "import signal, sys, pathlib, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path(sys.argv[1]).touch(), sys.exit(0)))\n"
    "pathlib.Path(sys.argv[1] + '.up').touch()\n"
    "time.sleep(60)\n"
)
NONE: Mapping[int, str] = {}


def program(code: str, *arguments: str, label: str = "fake") -> Program:
    return Program(service=label, label=label, command=(sys.executable, "-c", code, *arguments))


async def until(holds: Callable[[], object]) -> None:
    """Wait for another process: it has no event of ours to set."""
    with anyio.fail_after(20):
        while not holds():  # noqa: ASYNC110 - polls the outside
            await anyio.sleep(0.01)


async def running_pid(group: Group, *, other_than: int = 0) -> int:
    """Wait until the program runs under another process id."""
    await until(lambda: "fake" in group.running and group.running["fake"].pid != other_than)
    return group.running["fake"].pid


async def test_killed_child_is_started_again_and_said_so() -> None:
    said: list[str] = []

    async with supervised([program(SLEEP)], say=said.append, final=NONE) as group:
        first = await running_pid(group)
        os.kill(first, signal.SIGKILL)
        second = await running_pid(group, other_than=first)

    assert f"fake (pid {first}) was killed by SIGKILL" in said[0]
    assert "starting it again in 0.25 s" in said[0]
    assert said[1] == f"fake runs again (pid {second})"


async def test_final_exit_code_is_not_tried_again() -> None:
    said: list[str] = []

    final = {69: "nothing to run on"}
    async with supervised([program("exit(69)")], say=said.append, final=final) as group:
        await until(lambda: "fake" in group.gone)

    assert said == ["fake: nothing to run on"]


async def test_program_with_wrong_settings_is_not_waited_for() -> None:
    final = {plan.BAD_SETTING: "a setting is wrong"}
    async with supervised([program("exit(2)")], say=[].append, final=final) as group:
        await until(lambda: "fake" in group.gone)

        with pytest.raises(StackNotReady, match="wrong settings, as said above, of: fake"):
            readiness._require_settings(group)


async def test_children_get_sigterm_and_their_time_at_the_end(tmp_path: Path) -> None:
    ended = tmp_path / "ended"

    async with supervised([program(OBEDIENT, str(ended))], say=[].append, final=NONE):
        await until((tmp_path / "ended.up").exists)

    assert ended.exists()


async def test_cancelled_block_leaves_no_child() -> None:
    with anyio.CancelScope() as scope:
        async with supervised([program(SLEEP)], say=[].append, final=NONE) as group:
            pid = await running_pid(group)
            scope.cancel()
            await anyio.sleep_forever()

    assert not psutil.pid_exists(pid)


async def test_error_of_the_block_arrives_as_itself() -> None:
    with pytest.raises(FolderInUse, match="mine"):
        async with supervised([program(SLEEP)], say=[].append, final=NONE):
            raise FolderInUse("mine")


async def test_grandchildren_end_with_the_child(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    code = (
        "import pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "part = pathlib.Path(sys.argv[1] + '.part')\n"
        "part.write_text(str(child.pid))\n"
        "part.rename(sys.argv[1])\n"
        "time.sleep(60)\n"
    )

    async with supervised([program(code, str(noted))], say=[].append, final=NONE):
        await until(noted.exists)
        grandchild = psutil.Process(int(noted.read_text()))

    psutil.wait_procs([grandchild], timeout=10)
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="the leash is a system call of Linux")
def test_leashed_process_dies_with_a_killed_parent() -> None:
    command = [sys.executable, "-I", "-S", leash.__file__]
    parent_code = (
        "import os, subprocess, sys\n"
        f"child = subprocess.Popen({command!r} + [str(os.getpid()), sys.executable, '-c', "
        "'print(1, flush=True); import time; time.sleep(60)'], stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))

    parent.kill()
    parent.communicate()

    gone, _ = psutil.wait_procs([child], timeout=10)
    assert gone == [child] or child.status() == psutil.STATUS_ZOMBIE


async def test_child_has_no_share_in_our_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    child = await process.start(program("print('noise')"))

    assert await child.wait() == 0

    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == "noise\n"


def test_pause_doubles_with_every_death_up_to_a_limit() -> None:
    pauses, deaths = [], 0
    for _ in range(8):
        deaths, pause = backoff.delay(deaths, lived=0.1)
        pauses.append(pause)

    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


def test_long_life_forgives_earlier_deaths() -> None:
    assert backoff.delay(7, lived=60.0) == (1, 0.25)


def test_second_stack_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        folder.locked(tmp_path / "data"),
        pytest.raises(FolderInUse, match="another stack"),
        folder.locked(tmp_path / "data"),
    ):
        pass

    with folder.locked(tmp_path / "data") as again:
        assert again.is_dir()


def test_free_ports_differ_and_a_taken_one_is_named() -> None:
    import socket

    chosen = ports.free()
    assert len({chosen.grpc, chosen.metrics, chosen.nats}) == 3

    with socket.socket() as holder:
        holder.bind((ports.HOST, 0))
        holder.listen()
        taken = holder.getsockname()[1]
        with pytest.raises(AddressTaken, match=str(taken)):
            ports.require_free(taken)
