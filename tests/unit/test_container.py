"""The image and the compose file, read as far as that goes without building: nothing here can build images."""

import re
from pathlib import Path
from typing import Any

import yaml

from roost.config.dialects.environment import read
from roost.config.load import load
from roost.core.spec import RoostSpec
from roost.proxy.access import OPEN

ROOT = Path(__file__).parents[2]
# The service as the project's first router had it, `build` aside.
FIRST = """
container_name: vllm-router
restart: unless-stopped
networks: [backend]
depends_on: {vllm: {condition: service_healthy}}
healthcheck:
  test: ["CMD", "wget", "--spider", "-q", "http://localhost:8010/health"]
  interval: 30s
  timeout: 5s
  retries: 10
  start_period: 30s
"""


def service() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "examples" / "container" / "compose.yaml").read_text())
    found: dict[str, Any] = compose["services"]["vllm-router"]
    return found


def image() -> str:
    return (ROOT / "Dockerfile").read_text()


def environment() -> dict[str, str]:
    """What roost sees in there: the image's variables, the service's over them."""
    own = dict(re.findall(r"^\s+(ROOST_\w+)=(\S+?)(?: \\)?$", image(), re.M))
    return own | dict(line.split("=", 1) for line in service()["environment"])


def spec() -> RoostSpec:
    loaded = load(read(environment()).text, file="environment", env=environment(), home="/home/roost", base_dir="/")
    assert loaded.spec is not None, loaded.problems
    return loaded.spec


def test_the_service_is_the_first_routers_with_another_build() -> None:
    assert yaml.safe_load(FIRST).items() <= service().items()
    assert (ROOT / "examples" / "container" / service()["build"]).resolve() == ROOT
    assert {"VLLM_BASE_URL=http://vllm:8000", "PORT=8010"} <= set(service()["environment"])


def test_in_the_image_it_serves_others_on_the_port_that_the_health_check_asks() -> None:
    server = spec().server
    assert (server.host, server.port, server.health) == ("0.0.0.0", 8010, "text")
    assert service()["healthcheck"]["test"][-1] == f"http://localhost:{server.port}/health"
    assert "/health" in OPEN and server.hosts == ("*",)


def test_it_is_built_in_two_stages_and_runs_without_rights_with_wget_at_hand() -> None:
    build, run = re.split(r"^FROM .*\n", image(), flags=re.M)[1:]
    assert "pip install" in build and "pip install" not in run
    assert "wget" in run and "COPY --from=build" in run
    assert re.search(r"^USER (?!root)\w+$", run, re.M)
    assert run.rstrip().endswith('ENTRYPOINT ["roost"]\nCMD ["serve"]')


def test_what_the_build_copies_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in re.findall(r"^COPY (?!--from)(.+) \S+$", image(), re.M):
        assert all(f"!{name}" in ignored and (ROOT / name).exists() for name in line.split())


def test_litellm_asks_the_router_for_each_model() -> None:
    config = yaml.safe_load((ROOT / "examples" / "container" / "litellm.yaml").read_text())
    for model in config["model_list"]:
        assert model["litellm_params"]["api_base"] == f"http://{service()['container_name']}:{spec().server.port}/v1"
