"""A file of llama-swap's form that has every key at once: only the errors that are meant keep it from loading."""

import pytest

from roost.core.spec import RoostSpec
from roost.engines.registry import validate
from tests.unit.config.reading import read, said

ENV = {"HOME": "/home/u", "HUB_KEY": "hub-key", "KEY": "first-key"}
WHOLE = """
healthCheckTimeout: 500
logLevel: info
logTimeFormat: rfc3339
logToStdout: both
logRequests: true
store:
  path: /var/lib/swap/activity.db
metricsMaxInMemory: 200
captureBuffer: 10
ui:
  activity:
    session_id: [X-Session-Id, session_id]
performance:
  disabled: false
  every: 15s
startPort: 10001
sendLoadingState: true
includeAliasesInList: true
globalTTL: 900
unloadTimeout: 20
macros:
  threads_of-all: 8
  bin: /opt/llama/llama-server
  models: ${env.HOME}/weights
  "server-line": |
    ${bin} --port ${PORT}
    # a macro may have comments too
    --threads ${threads_of-all}
apiKeys:
  - ${env.KEY}
  - second-key
models:
  qwen:
    macros:
      temp: 0.7
      ctx: 16384
    cmd: |
      # as it stands in a shell
      ${bin} --port ${PORT} -c ${ctx}
        --model "${models}/Qwen 3/${MODEL_ID}.gguf" --temp ${temp}
    cmdStop: kill -TERM ${PID}
    name: Qwen, the quick one
    description: for everything
    env:
      - "CUDA_VISIBLE_DEVICES=0,1"
      - HF_HOME=${models}
    proxy: http://127.0.0.1:${PORT}
    checkEndpoint: /health
    ttl: 60
    unloadTimeout: 5
    compat:
      ignoreWebsockets: true
    useModelName: qwen-as-built
    filters:
      stripParams: "temperature, top_p"
      setParams:
        provider: {data: [no, 1]}
      setParamsByID:
        "${MODEL_ID}:high": {reasoning_effort: high}
        "${MODEL_ID}:low": {reasoning_effort: low}
    aliases:
      - quick
      - id: quick-too
        name: The quick one
        unlisted: true
    metadata:
      port: ${PORT}
      sampling: {temperature: "${temp}", note: "at ${temp}"}
      tags: [small, 1, true]
    concurrencyLimit: 4
    sendLoadingState: false
    timeouts: {connect: 30, keepalive: 30, responseHeader: 60, tlsHandshake: 10, expectContinue: 1, idleConn: 90}
    capabilities: {in: [text, image], out: [text], tools: true, context: 16384}
    unlisted: true
  ranker:
    cmd: ${server-line} --reranking
    capabilities: {in: [text], reranker: true}
    ttl: -1
  container:
    cmd: >
      docker run --rm --init --name ${MODEL_ID} -p ${PORT}:8080 -v ${models}:/models
      ghcr.io/ggml-org/llama.cpp:server --model /models/x.gguf
    cmdStop: docker stop ${MODEL_ID}
  "org/painter":
    cmd: /opt/paint/server --listen 9210
    proxy: http://localhost:9210
    checkEndpoint: none
    ttl: 0
hooks:
  on_startup:
    preload: [qwen, quick]
routing:
  router:
    use: matrix
    settings:
      matrix:
        vars: {q: qwen, r: ranker}
        evict_costs: {q: 10, container: 5}
        sets:
          small: "q & r"
          all: "(container | org/painter) & +small"
  scheduler:
    use: fifo
peers:
  hub:
    proxy: https://hub.example.org/api
    apiKey: ${env.HUB_KEY}
    models: [big/one, big/two]
    timeouts: {connect: 5, responseHeader: 600}
    filters:
      stripParams: seed
      setParams: {provider: {zdr: true}}
  cellar:
    proxy: http://10.0.0.8:8080
    models: [big/two]
"""
GROUPS = """
groups:
  light: {swap: false, exclusive: false, persistent: true, members: [ranker]}
  heavy: {swap: true, exclusive: true, members: [qwen, container]}
"""


def loaded(text: str) -> tuple[RoostSpec, list[str]]:
    """The spec and its warnings."""
    found = read(text, ENV)
    assert found.spec is not None, said(found.problems)
    assert validate(found.spec) == []
    return found.spec, said(found.problems)


def test_every_key_at_once_has_only_warnings() -> None:
    spec, warnings = loaded(WHOLE)
    assert list(spec.models) == [
        *("qwen", "ranker", "container", "org/painter"),
        *("hub/big/one", "hub/big/two", "cellar/big/two"),
    ]
    assert [warning.split(": ")[2] for warning in warnings] == [
        *("logLevel", "logTimeFormat", "logToStdout", "logRequests", "store", "metricsMaxInMemory", "captureBuffer"),
        *("ui", "performance", "includeAliasesInList"),
        *("models.qwen.compat", "models.qwen.aliases.1", "models.qwen.timeouts.keepalive"),
    ]
    qwen, ranker = spec.models["qwen"], spec.models["ranker"]
    assert qwen.command is not None and qwen.command[-4:] == (
        *("--model", "/home/u/weights/Qwen 3/qwen.gguf"),
        *("--temp", "0.7"),
    )
    assert qwen.metadata == {
        "port": 10002,
        "sampling": {"temperature": 0.7, "note": "at 0.7"},
        "tags": ["small", 1, True],
    }
    assert (qwen.unload_after, ranker.unload_after, spec.models["org/painter"].unload_after) == (60, 900, None)
    assert ranker.command is not None and ranker.command[-3:] == ("--threads", "8", "--reranking")
    assert spec.models["hub/big/one"].api_key == "hub-key"
    assert [name for name, model in spec.models.items() if model.preload] == ["qwen"]


def test_the_same_with_groups_at_the_top_as_in_older_files() -> None:
    start, end = WHOLE.index("  router:"), WHOLE.index("  scheduler:")
    spec, warnings = loaded(WHOLE[:start] + WHOLE[end:] + GROUPS)
    assert list(spec.memory.groups) == ["light", "heavy"] and spec.memory.matrix is None
    assert len(warnings) == 13


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ("profiles: {night: {description: d, pins: {qwen: ranker, ranker: null}}}", "profiles"),
        ("selectors: {best: {strategy: spillover, targets: [qwen, ranker], settings: {spillover: 1}}}", "selectors"),
        ("tailcat: {allow: true, models: true, admin: false, debug: false}", "tailcat"),
        ("upstream: {ignorePaths: ['[.]css$']}", "upstream.ignorePaths"),
    ],
)
def test_what_would_change_what_clients_get_is_an_error_at_its_place(block: str, place: str) -> None:
    found = read(f"{WHOLE}{block}\n", ENV)
    (error,) = (problem for problem in found.problems if problem.severity == "error")
    assert ".".join(map(str, error.path)) == place and error.line == WHOLE.lstrip("\n").count("\n") + 1
    assert error.hint


@pytest.mark.parametrize(
    ("written", "instead", "said"),
    [
        (
            "    use: fifo\n",
            "    use: fifo\n    settings: {fifo: {priority: {qwen: 5}}}\n",
            "models have no priorities",
        ),
        ("    preload:", "    profile: night\n    preload:", 'unknown key "profile"'),
        ("    models: [big/two]\n", "    models: [big/two]\n    tailcatKey: x\n", 'unknown key "tailcatKey"'),
        ("http://10.0.0.8:8080", "tailcat://cellar", "tailcat is not supported"),
        ("    ttl: 60\n", "    ttl: 60\n    sleepEndpoint: /sleep\n", "sleepEndpoint is no longer read"),
    ],
)
def test_so_is_what_stands_deeper(written: str, instead: str, said: str) -> None:
    assert WHOLE.count(written) == 1
    found = read(WHOLE.replace(written, instead), ENV)
    (error,) = (problem for problem in found.problems if problem.severity == "error")
    assert said in error.message and error.hint and error.line is not None
