"""From kvcached's controller to roost by replacing the commands: the same YAML, the same curls, tmux sessions.

Its vLLM and SGLang are stood in for by real llama.cpp engines behind their control endpoints (see
`tests/support/migration.py`); llama.cpp as itself, under tmux, follows below.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.migration import Answer, Home, curl, own_home, started, write_environment
from tests.support.models import free_port

LLAMA, MINI = "meta-llama/Llama-3.2-1B", "org/mini"
ENCODED = LLAMA.replace("/", "%2F")
YAML = """
kvcached:
  kvcached_gpu_utilization: 0.95
  kvcached_page_prealloc_enabled: true
  kvcached_max_reserved_pages: 10

router:
  enable_router: true
  router_port: {port}

sleep_manager:
  idle_threshold_seconds: 300
  check_interval_seconds: 60
  auto_sleep_enabled: false
  wakeup_on_request: true
  min_sleep_duration: 80

launch_delay_seconds: 1

instances:
  - name: llama
    model: {llama}
    engine: vllm
    using_venv: true
    venv_path: venvs/vllm
    kvcached_env:
      - ENABLE_KVCACHED=true
      - KVCACHED_MAX_RESERVED_PAGES=5
    engine_env:
      - "VLLM_SERVER_DEV_MODE=1"
      - "KVCACHED_MAX_RESERVED_PAGES=7"
    engine_args:
      - "--disable-log-requests"
      - "--no-enable-prefix-caching"
      - "--host localhost"
      - "--port {vllm_port}"
      - "--enable-sleep-mode"

  - model: {mini}
    engine: sgl
    using_venv: true
    venv_path: venvs/sglang
    kvcached_env: []
    engine_args:
      - "--disable-radix-cache"
      - "--trust-remote-code"
      - "--port {sgl_port}"
      - "--enable-memory-saver"
"""


@dataclass(frozen=True)
class Stack:
    """The YAML's engines and router, up."""

    home: Home
    config: Path
    url: str
    up_said: str

    def curl(self, command: str) -> Answer:
        return curl(command.replace("http://localhost:8080", self.url), self.home)


def write_yaml(folder: Path, models: Mapping[str, Path] | None = None) -> tuple[Path, str]:
    """The config with its environments beside it, and the router's address. `models`: files for real engines."""
    for name, file in (("vllm", "tiny-a"), ("sglang", "tiny-b")):
        write_environment(folder / "venvs" / name, models[file] if models is not None else None)
    port, vllm_port, sgl_port = free_port(), free_port(), free_port()
    path = folder / "example-config.yaml"
    path.write_text(YAML.format(port=port, vllm_port=vllm_port, sgl_port=sgl_port, llama=LLAMA, mini=MINI))
    return path, f"http://localhost:{port}"


@pytest.fixture(scope="module")
def stack(tiny_models: Mapping[str, Path]) -> Iterator[Stack]:
    """`roost up --config FILE --wait` in place of `python launch.py --config FILE`."""
    with own_home() as home:
        folder = home.folder / "project"
        folder.mkdir()
        config, url = write_yaml(folder, tiny_models)
        said = home.roost("up", "--config", str(config), "--wait").ok().out
        yield Stack(home, config, url, said)


def test_up_makes_the_sessions_and_says_how_to_look(stack: Stack) -> None:
    assert stack.home.sessions() == {"kvcached-llama", "kvcached-mini", "kvcached-frontend"}
    for session in ("kvcached-llama", "kvcached-mini", "kvcached-frontend"):
        assert f"tmux attach -t {session}" in stack.up_said
    lines = [" ".join(psutil.Process(pid).cmdline()) for pid in stack.home.pids()]
    assert sum("embedded_llamacpp" in line for line in lines) == 2  # real inference behind both faces
    seen = stack.home.run("tmux", "capture-pane", "-p", "-t", "=kvcached-llama:").ok().out
    assert f"started vllm.entrypoints.openai.api_server for {LLAMA}" in " ".join(seen.split())


def test_engines_get_the_command_line_and_the_environment_of_the_yaml(stack: Stack) -> None:
    vllm = started(stack.config.parent / "venvs" / "vllm")
    assert vllm["module"] == "vllm.entrypoints.openai.api_server"
    assert vllm["words"][:2] == ["--model", LLAMA]
    assert {"--enable-sleep-mode", "--no-enable-prefix-caching", "--disable-log-requests"} <= set(vllm["words"])
    wanted = {
        "KVCACHED_GPU_UTILIZATION": "0.95",
        "KVCACHED_PAGE_PREALLOC_ENABLED": "True",
        "KVCACHED_MAX_RESERVED_PAGES": "5",
        "ENABLE_KVCACHED": "true",
        "VLLM_SERVER_DEV_MODE": "1",
    }
    assert wanted.items() <= vllm["env"].items()
    sglang = started(stack.config.parent / "venvs" / "sglang")
    assert sglang["module"] == "sglang.launch_server"
    assert sglang["words"][:2] == ["--model-path", MINI]
    assert sglang["env"]["KVCACHED_MAX_RESERVED_PAGES"] == "10"
    assert "ENABLE_KVCACHED" not in sglang["env"]


def test_status_lists_sessions_and_processes(stack: Stack) -> None:
    said = stack.home.roost("status").ok().out
    for part in (LLAMA, MINI, "ready", "kvcached-llama", "kvcached-mini"):
        assert part in said


def test_what_an_engine_printed_is_in_its_log_too(stack: Stack) -> None:
    said = stack.home.roost("logs", LLAMA).ok().out
    assert f"started vllm.entrypoints.openai.api_server for {LLAMA}" in said


def test_the_native_form_says_the_same(stack: Stack) -> None:
    native = stack.home.roost("config", "convert", str(stack.config)).ok().out
    path = stack.config.with_name("native.yaml")
    path.write_text(native)
    shown = [stack.home.roost("config", "show", str(one)).ok().out for one in (stack.config, path)]
    assert shown[0] == shown[1]


Check = Callable[[Any], None]


def _field(name: str, value: Any) -> Check:
    def check(body: Any) -> None:
        assert body[name] == value

    return check


def _has(*path: str) -> Check:
    def check(body: Any) -> None:
        inner = body
        for name in path:
            assert name in inner
            inner = inner[name] if isinstance(inner, dict) else None

    return check


def _completed(body: Any) -> None:
    assert body["choices"][0]["text"]


def _all_healthy(body: Any) -> None:
    assert set(body["health"]) == {LLAMA, MINI}
    assert all(all(engines.values()) for engines in body["health"].values())


def _ordered(body: Any) -> None:
    assert body["model_name"] == LLAMA
    assert body["success"] is True


CURLS: list[tuple[str, Check]] = [
    (
        'curl http://localhost:8080/v1/completions \\\n -H "Content-Type: application/json" \\\n'
        f' -d \'{{"model": "{LLAMA}", "prompt": "Hello"}}\'',
        _completed,
    ),
    ("curl http://localhost:8080/health", _field("status", "healthy")),
    (f'curl "http://localhost:8080/health/{ENCODED}"', _field("model", LLAMA)),
    ("curl http://localhost:8080/health/all", _all_healthy),
    ("curl http://localhost:8080/models", _has("models", LLAMA, "endpoint")),
    ("curl http://localhost:8080/get_server_info", _has("version")),
]
FAMILIES: list[tuple[str, str, Check]] = [
    (
        "curl http://localhost:8080/traffic/stats",
        "curl http://localhost:8080/model/traffic/stats",
        _has("traffic_stats", MINI, "total_requests"),
    ),
    (
        f'curl "http://localhost:8080/traffic/stats/{ENCODED}?window=120"',
        f'curl "http://localhost:8080/model/traffic/stats/{ENCODED}?window=120"',
        _field("window_seconds", 120),
    ),
    (
        'curl "http://localhost:8080/models/idle?threshold=300"',
        'curl "http://localhost:8080/model/traffic/idle?threshold=300"',
        _field("idle_threshold_seconds", 300),
    ),
    (
        'curl "http://localhost:8080/models/active?threshold=300&window=60"',
        'curl "http://localhost:8080/model/traffic/active?threshold=300&window=60"',
        _has("active_model_details"),
    ),
    (
        "curl http://localhost:8080/sleep/status",
        "curl http://localhost:8080/model/sleep/status",
        _field("wakeup_on_request", True),
    ),
    (
        f'curl "http://localhost:8080/action/sleep/{ENCODED}" -X POST',
        f'curl "http://localhost:8080/model/sleep/{ENCODED}" -X POST',
        _ordered,
    ),
    (
        f'curl "http://localhost:8080/action/wakeup/{ENCODED}" -X POST',
        f'curl "http://localhost:8080/model/wake/{ENCODED}" -X POST',
        _ordered,
    ),
    (
        "curl http://localhost:8080/sleep/candidates",
        "curl http://localhost:8080/model/sleep/candidates",
        _has("candidate_details"),
    ),
]


@pytest.mark.parametrize(("command", "check"), CURLS)
def test_each_curl_of_the_readme_answers(stack: Stack, command: str, check: Check) -> None:
    answer = stack.curl(command)
    assert answer.status == 200, answer.text
    check(answer.body)


@pytest.mark.parametrize("spelling", [0, 1], ids=["curl examples", "reference list"])
def test_each_curl_in_both_spellings_in_the_order_of_the_readme(stack: Stack, spelling: int) -> None:
    for row in FAMILIES:
        answer = stack.curl(str(row[spelling]))
        assert answer.status == 200, (row[spelling], answer.text)
        row[2](answer.body)


def test_sleep_and_wake_reach_both_engines_and_a_request_wakes(stack: Stack) -> None:
    for model in (LLAMA, MINI):
        name = model.replace("/", "%2F")
        slept = stack.curl(f'curl "http://localhost:8080/action/sleep/{name}" -X POST').body
        assert (slept["success"], slept["changed"]) == (True, True)
        asleep = stack.curl("curl http://localhost:8080/sleep/status").body["sleeping_models"]
        assert asleep[model]["manual_sleep"] is True
        # min_sleep_duration is 80 s: it holds back the next sleep, never a request
        command = f'curl http://localhost:8080/v1/completions -d \'{{"model": "{model}", "prompt": "Hello"}}\''
        assert stack.curl(f'{command} -H "Content-Type: application/json"').status == 200
        assert model not in stack.curl("curl http://localhost:8080/sleep/status").body["sleeping_models"]


def test_selftest_passes(stack: Stack) -> None:
    said = stack.home.roost("selftest", stack.url)
    assert said.code == 0, said.out + said.err
    assert f"✓ {LLAMA}: sleep" in said.out
    assert f"✓ {MINI}: sleep" in said.out


def test_bench_loads_every_model_of_the_yaml_through_the_router(stack: Stack) -> None:
    before = totals(stack)
    report = stack.config.parent / "bench.json"
    stack.home.roost(
        *("bench", "--config", str(stack.config), "--requests", "6", "--max-tokens", "4", "--json", str(report))
    ).ok()
    assert report.exists()
    after = totals(stack)
    assert all(after[model] > before[model] for model in (LLAMA, MINI))


def totals(stack: Stack) -> Mapping[str, int]:
    stats = stack.curl("curl http://localhost:8080/traffic/stats").body["traffic_stats"]
    return {model: stats[model]["total_requests"] for model in (LLAMA, MINI)}


def test_a_second_up_asks_nothing_and_changes_nothing(stack: Stack) -> None:
    pids = engine_pids(stack.home)
    again = stack.home.roost("up", "--config", str(stack.config))
    assert again.code == 2
    assert "is up already" in again.err
    assert engine_pids(stack.home) == pids


def engine_pids(home: Home) -> set[int]:
    return {serving["pid"] for model in home.status()["models"] for serving in model["endpoints"]}


def test_down_leaves_no_session_and_no_process() -> None:
    with own_home() as home:
        config, url = write_yaml(home.folder)
        home.roost("up", "--config", str(config)).ok()
        assert home.sessions() == {"kvcached-llama", "kvcached-mini", "kvcached-frontend"}
        assert curl(f"curl {url}/health", home).status == 200
        assert len(home.pids()) >= 3
        home.roost("down").ok()
        assert home.sessions() == set()
        # the tmux server itself ends with its last session
        assert home.pids() == set()


def test_down_ends_what_a_killed_roost_left_and_its_session() -> None:
    with own_home() as home:
        config, _ = write_yaml(home.folder)
        home.roost("up", "--config", str(config), "--wait").ok()
        roost = psutil.Process(json.loads(home.roost("status", "--json").ok().out)["pid"])
        roost.kill()
        psutil.wait_procs([roost], 10)
        left = home.roost("status")
        assert (left.code, "`roost down --instance" in left.err, "stops them" in left.err) == (2, True, True)
        said = home.roost("down").ok().out
        assert said.count("is stopped.") == 2
        assert home.sessions() == set()
        assert home.pids() == set()


def test_without_the_router_engines_run_and_serve_takes_them_over() -> None:
    """`enable_router: false`, then `roost serve` in place of `python frontend.py --config F --port N`."""
    with own_home() as home:
        config, _ = write_yaml(home.folder)
        config.write_text(config.read_text().replace("enable_router: true", "enable_router: false"))
        home.roost("up", "--config", str(config), "--wait").ok()
        assert home.sessions() == {"kvcached-llama", "kvcached-mini"}
        pids, port = engine_pids(home), free_port()
        url = f"http://127.0.0.1:{port}"
        with home.running("serve", "--config", str(config), "--port", str(port), url=url):
            assert engine_pids(home) == pids
            said = home.roost("selftest", url, "--model", LLAMA)
            assert said.code == 0, said.out + said.err
        assert home.pids() > pids
        home.roost("down").ok()
        assert home.sessions() == set()
        assert home.pids() == set()


def native(models: Mapping[str, Path], port: int) -> str:
    """llama.cpp engines in tmux, in roost's own form."""
    lines = [
        f"server: {{port: {port}}}",
        "defaults: {launcher: tmux, preload: true, sleep_after: never, args: ['--threads 1', '--ctx-size 512']}",
        "models:",
    ]
    return "\n".join([*lines, *(f"  {name}: {{weights: {path}}}" for name, path in models.items())])


def test_real_engines_in_tmux_do_the_same(tiny_models: Mapping[str, Path]) -> None:
    with own_home() as home:
        port = free_port()
        url = f"http://localhost:{port}"
        models = {name: tiny_models[name] for name in ("tiny-a", "tiny-b")}
        config = home.folder / "roost.yaml"
        config.write_text(native(models, port))
        home.roost("up", str(config), "--detach").ok()
        assert home.sessions() == {"roost-tiny-a", "roost-tiny-b", "roost-frontend"}
        answers = {
            name: curl(
                f"curl {url}/v1/completions -H 'Content-Type: application/json' "
                f'-d \'{{"model": "{name}", "prompt": "Hello", "max_tokens": 8, "temperature": 0}}\'',
                home,
            ).body["choices"][0]["text"]
            for name in models
        }
        assert len(set(answers.values())) == 2
        assert all(all(engines.values()) for engines in curl(f"curl {url}/health/all", home).body["health"].values())
        refused = curl(f"curl -X POST {url}/action/sleep/tiny-a", home)
        assert (refused.status, refused.body["success"]) == (409, False)
        said = home.roost("selftest", url)
        assert said.code == 0, said.out + said.err
        assert "- tiny-a: sleep: skipped: HTTP 409" in said.out
        home.roost("down").ok()
        assert (home.sessions(), home.pids()) == (set(), set())
