"""The compose file: valid for the compose tool, and hardened as promised."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
SERVICES = {"gateway", "scheduler", "profiler", "compressor", "cpu-worker", "gpu-worker"}


def test_compose_tool_accepts_the_file() -> None:
    tool = shutil.which("docker-compose")
    if tool is None:
        pytest.skip("docker-compose is not installed (Debian: docker-compose)")

    done = subprocess.run(
        [tool, "--profile", "gpu", "-f", ROOT / "docker-compose.yml", "config", "--services"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == SERVICES | {"nats"}


@pytest.mark.parametrize("service", sorted(COMPOSE))
def test_every_container_is_read_only_unprivileged_and_checked(service: str) -> None:
    definition = COMPOSE[service]

    assert definition["read_only"] is True
    assert definition["cap_drop"] == ["ALL"]
    assert "privileged" not in definition
    assert definition["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("service", sorted(COMPOSE))
def test_ports_are_published_on_loopback_alone(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in COMPOSE[service].get("ports", []))


def test_gpu_worker_gets_the_render_node_and_numeric_groups_and_nothing_else() -> None:
    gpu = COMPOSE["gpu-worker"]

    assert gpu["profiles"] == ["gpu"]
    assert gpu["devices"] == ["/dev/dri/renderD128:/dev/dri/renderD128"]
    assert gpu["group_add"] == ["${RENDER_GID:-109}", "${VIDEO_GID:-44}"]
    assert gpu["environment"]["RUSTICL_ENABLE"] == "radeonsi"
    assert "/dev/kfd" not in str(gpu)


def test_broker_of_the_compose_stack_keeps_what_the_local_one_promises() -> None:
    promises = (
        "max_payload", "max_pending", "max_connections", "write_deadline", "ping_interval",
        "feature_flags", "sync_interval", "max_buffered_msgs", "max_buffered_size",
    )  # fmt: skip

    local, compose = (
        _settings(ROOT / f"ops/{file}") for file in ("nats/server.conf", "images/nats.conf")
    )

    assert {name: compose[name] for name in promises} == {name: local[name] for name in promises}


def _settings(file: Path) -> dict[str, str]:
    """Lines of a nats-server file as name and value; comments and braces of blocks are left out."""
    lines = (line.split("#")[0].strip() for line in file.read_text().splitlines())
    return {
        name: value.strip(": ")
        for name, _, value in (line.partition(" ") for line in lines)
        for name in [name.rstrip(":")]
        if value
    }


@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_service_has_its_packages_named_for_the_image(service: str) -> None:
    folder = service.replace("-", "_")
    constraints = (ROOT / "ops/constraints.txt").read_text().lower().replace("_", "-")
    pinned = {line.split("==")[0] for line in constraints.splitlines()}

    wanted = (ROOT / f"ops/images/requirements/{folder}.txt").read_text().split()

    assert wanted
    assert [name for name in wanted if name not in pinned] == []
    assert (ROOT / f"ops/images/packages/{folder}.txt").exists()
    recipe = (ROOT / "ops/images/Dockerfile").read_text()
    assert f"COPY services/{folder}/ /app/services/{folder}/" in recipe
