"""Checks of meaning: names, sources, ports, times, access, budgets."""

import pytest

from roost.config.addresses import address_of, is_loopback, may_clash
from roost.config.checks import ports_written
from roost.config.load import check_further
from roost.core.request import Address
from tests.unit.config.reading import errors_of, problems_of, read, spec_of

ONE = "models: {a: {engine: simulated}}\n"


def fault(text: str) -> str:
    (said,) = errors_of(text)
    return said


def warning(text: str) -> str:
    spec_of(text)
    (said,) = problems_of(text)
    assert ": warning: " in said
    return said


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("all", '"all" is reserved'),
        ("a?b", "holds '?', which cannot stand in a URL path"),
        ("a#b", "holds '#'"),
        ("50%", "holds '%'"),
        ("a\\tb", "holds '\\t'"),
        ("", "has 0 characters; a name has 1 to 200"),
        ("x" * 201, "has 201 characters"),
        (" a", "begins or ends with a space"),
    ],
)
def test_names_that_cannot_be(name: str, sentence: str) -> None:
    assert sentence in fault(f'models: {{"{name}": {{engine: simulated}}}}')
    assert sentence in fault(f'models: {{ok: {{engine: simulated, aliases: ["{name}"]}}}}')


@pytest.mark.parametrize("name", ["x" * 200, "meta-llama/Llama-3.2-1B", "größe 7b:q4", "All", "a.b/c@d"])
def test_names_that_can_be(name: str) -> None:
    assert not problems_of(f'models: {{"{name}": {{engine: simulated}}}}')


def test_a_name_belongs_to_one_model() -> None:
    text = """
    models:
      a: {engine: simulated, aliases: [b, x, a]}
      b:
        engine: simulated
        also_serves: [x]
    """
    assert errors_of(text) == [
        'f:2: models.a.aliases.0: "b" already names the model "b" itself. Choose another name.',
        'f:2: models.a.aliases.2: "a" already names the model "a" itself. Choose another name.',
        'f:5: models.b.also_serves.0: "x" already names something else: aliases of model "a". Choose another name.',
    ]


def test_something_to_serve() -> None:
    assert "has nothing to serve: no weights, command or url" in fault("models: {a: {engine: vllm}}")
    assert "has nothing to serve" in fault("models: {a: }")
    assert "engine command needs a command" in fault("models: {a: {engine: command, weights: x}}")
    assert "is empty" in fault("models: {a: {command: ''}}")
    assert not problems_of("models: {a: {engine: vllm, command: docker run x}, b: {url: 'http://h:1'}}")


def test_a_url_excludes_what_would_start_it() -> None:
    text = """
    models:
      a:
        url: http://127.0.0.1:9000
        weights: x
        port: 9000
        command: run
        stop_command: stop
    """
    said = errors_of(text)
    assert [line[:3] for line in said] == ["f:4", "f:5", "f:6", "f:7"]
    assert said[0] == (
        "f:4: models.a.weights: url and weights exclude each other: roost never starts a url. "
        "Remove url or weights; write weights: null in the model if it comes from defaults."
    )


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("127.0.0.1:8000", "is not an address of an engine. Write it like http://127.0.0.1:8000."),
        ("ftp://h:1", "is not an address of an engine"),
        ("http://h:1/v1", "ends in /v1. Leave that away, roost adds /v1/... itself."),
        ("http://h:1/api?x=1", "has a query. Write only scheme, host, port and path."),
        ("http://h:1/a b", "has a sign in its path that no address has. Write it percent-encoded."),
        ("http://u:geheim@h:1", "holds a user or password. Write the engine's key as api_key."),
        ("http://h:99999", "is not an address: port out of range"),
        ("http://", "is not an address of an engine"),
        ("http://[::1", "is not an address"),
    ],
)
def test_urls(url: str, sentence: str) -> None:
    said = fault(f"models: {{a: {{url: '{url}'}}}}")
    assert sentence in said and "geheim" not in said


def test_address_of() -> None:
    assert address_of("http://h") == Address("h", 80)
    assert address_of("http://[::1]:9/") == Address("::1", 9)
    assert address_of("https://h/api/") == Address("h", 443, tls=True, base="/api")
    assert [address_of(url).url for url in ("https://h", "https://h:8443/a", "http://h")] == [
        "https://h",
        "https://h:8443/a",
        "http://h:80",
    ]


def test_ports_are_not_shared() -> None:
    text = """
    server: {port: 9000}
    models:
      a: {engine: simulated, port: 9000}
      b: {engine: simulated, port: 9001}
      c: {engine: simulated, port: 9001, host: localhost}
      d: {engine: simulated, port: 9001, host: 10.0.0.7}
      e: {url: "http://127.0.0.1:9001"}
      f: {url: "http://localhost:9000"}
    """
    assert errors_of(text) == [
        "f:3: models.a.port: port 9000 is already that of roost itself (server.port). "
        "Choose another port, or leave it out to have a free one picked.",
        'f:5: models.c.port: port 9001 is already that of model "b". '
        "Choose another port, or leave it out to have a free one picked.",
        "f:8: models.f.url: leads back to roost's own port 9000. Write the engine's own address.",
    ]


def test_addresses() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "example.com", ""))
    assert may_clash("0.0.0.0", "127.0.0.1") and may_clash("localhost", "127.0.0.1")
    assert not may_clash("127.0.0.1", "127.0.0.2")


def test_idle_times() -> None:
    text = "models: {a: {engine: simulated, sleep_after: 5m, unload_after: 5m}}"
    assert "never sleeps: sleep_after (5m) is not below unload_after (5m)" in warning(text)
    assert not problems_of("models: {a: {engine: simulated, unload_after: 1m}}")
    assert not problems_of("models: {a: {engine: simulated, sleep_after: never, unload_after: 1m}}")


def test_other_values_of_a_model() -> None:
    assert "backoff (90s) is longer than backoff_max (1m)" in fault(
        "models: {a: {engine: simulated, restart: {backoff: 90s}}}"
    )
    assert 'Begin it with "/"' in fault("models: {a: {engine: simulated, health_path: health}}")
    assert "cannot be an environment variable" in fault("models: {a: {engine: simulated, env: {'A=B': x}}}")
    assert "holds a NUL character" in fault('models: {a: {engine: simulated, args: ["a\\0b"]}}')


@pytest.mark.parametrize("keys", ["", "keys: []"])
def test_an_open_door_must_be_meant(keys: str) -> None:
    text = f"{ONE}server:\n  host: 0.0.0.0\n  {keys}\n"
    assert fault(text) == (
        'f:3: server.host: "0.0.0.0" can be reached from other machines, and no key protects it. '
        "Add server.keys, or write server.open: true if the network itself is trusted."
    )
    assert errors_of(text, {"ROOST_ALLOW_OPEN": "0"})
    assert not problems_of(text, {"ROOST_ALLOW_OPEN": "1"})
    assert not problems_of(f"{text}  open: true\n")
    assert not problems_of(ONE + "server: {host: 0.0.0.0, keys: [{name: n, key: k}]}")


def test_keys() -> None:
    text = """
    models: {a/b: {engine: simulated, aliases: [c]}}
    server:
      keys:
        - {name: x, key: geheim, models: [a/*, c]}
        - {name: x, key: other}
        - {name: y, key: geheim}
        - {name: z, key: ""}
        - {name: w, key: " k"}
    """
    said = errors_of(text)
    assert [line.split(". ")[0] for line in said] == [
        'f:4: server.keys.0.name: "x" names 2 keys',
        'f:4: server.keys.0.key: the key of "x" is also that of another name',
        'f:5: server.keys.1.name: "x" names 2 keys',
        'f:6: server.keys.2.key: the key of "y" is also that of another name',
        "f:7: server.keys.3.key: the key is empty",
        "f:8: server.keys.4.key: the key begins or ends with a space",
    ]
    assert "geheim" not in "".join(said)


def test_a_key_for_no_model_is_a_warning() -> None:
    text = ONE + "server:\n  keys:\n    - {name: x, key: k, models: [team-*]}\n"
    assert warning(text) == 'f:4: warning: server.keys.0.models.0: "team-*" matches no model. Models are: a.'


@pytest.mark.parametrize("origin", ["chat.example.com", "https://chat.example.com/", "*"])
def test_web_origins(origin: str) -> None:
    assert f'"{origin}" is not a web origin' in fault(f"{ONE}server: {{cors_origins: ['{origin}']}}")


def test_devices_must_exist() -> None:
    text = "memory: {devices: {gpu0: 8GiB}}\nmodels:\n  a:\n    engine: simulated\n    devices: [gpu1]\n"
    assert fault(text) == ('f:5: models.a.devices.0: "gpu1" is not a device of memory.devices. Did you mean "gpu0"?')
    assert "Add memory.devices." in fault("models: {a: {engine: simulated, devices: [gpu0]}}")


def test_footprints_must_fit() -> None:
    memory = "memory: {devices: {gpu0: 48GiB, gpu1: 80GiB}, reserve: 4GiB}\n"
    assert "needs 61.2 GiB on gpu0, which has 44.0 GiB (48.0 GiB less the reserve). Write devices: [gpu1]." in fault(
        memory + "models: {a: {engine: simulated, footprint: 61.2GiB, devices: [gpu0]}}"
    )
    assert not problems_of(memory + "models: {a: {engine: simulated, footprint: 61.2GiB}}")
    assert fault(memory + "models: {a: {engine: simulated, footprint: 90GiB}}").endswith(
        "needs 90.0 GiB on one device; the largest has 76.0 GiB (80.0 GiB less the reserve). "
        "Lower its footprint or allow 2 devices."
    )
    assert "Lower gpu_memory_utilization or allow 3 devices." in fault(
        memory + "models: {a: {engine: vllm, weights: o/m, footprint: 190GiB}}"
    )
    assert "on each of 2 devices; too few have that, the largest 76.0 GiB" in fault(
        memory + "models: {a: {engine: simulated, footprint: 50GiB, device_count: 2}}"
    )
    assert not problems_of(memory + "models: {a: {engine: simulated, footprint: 44GiB}}")
    assert "leaves nothing beside the reserve" in fault(ONE + "memory: {devices: {g: 1GiB}, reserve: 1GiB}")
    assert "takes more asleep (2.0 GiB) than awake (1.0 GiB)" in warning(
        "models: {a: {engine: simulated, footprint: 1GiB, footprint_asleep: 2GiB}}"
    )


def test_pins_must_leave_room() -> None:
    models = "defaults: {engine: simulated, pin: true, footprint: 5GiB}\nmodels: {a: {}, b: {}}\n"
    assert "memory.max_resident: is 1, but 2 models are pinned (a, b). Write 2 or more, or pin fewer." in fault(
        models + "memory: {max_resident: 1}"
    )
    assert "the pinned models (a, b) need 10.0 GiB together; there are 8.0 GiB" in fault(
        models + "memory: {devices: {g: 8GiB}}"
    )
    assert not problems_of(models + "memory: {devices: {g: 10GiB}, max_resident: 2}")
    assert not problems_of(models + "memory: {devices: {g: 5GiB, h: 5GiB}}")
    assert "no way to share out the devices fits them all" in fault(models + "memory: {devices: {g: 9GiB, h: 4GiB}}")
    assert not problems_of(models + "memory: {devices: {g: 9GiB, h: 4GiB}, discover: true}")


def test_a_model_takes_no_more_devices_than_there_are() -> None:
    memory = "memory: {devices: {gpu0: 48GiB, gpu1: 48GiB}}\n"
    assert fault(memory + "models: {a: {engine: simulated, device_count: 3}}").endswith(
        "models.a.device_count: takes 3 devices at once, and may use 2: gpu0, gpu1. Lower it, or allow it more devices."
    )
    by_args = "models: {a: {engine: vllm, weights: o/m, args: [-tp 2], devices: [gpu1]}}"
    assert "takes 2 devices at once, and may use 1: gpu1 (its arguments say so)" in fault(memory + by_args)
    discovered = "memory: {devices: {gpu0: 48GiB}, discover: true}\n"
    assert not problems_of(discovered + by_args)


def test_host_memory_that_cannot_be_had() -> None:
    memory = "memory: {host: 64GiB, host_reserve: 4GiB}\n"
    assert "needs 61.0 GiB of host memory; there are 60.0 GiB (64.0 GiB less the host_reserve of 4.0 GiB)." in fault(
        memory + "models: {a: {engine: simulated, footprints: {awake: {host: 61GiB}}}}"
    )
    assert "It never sleeps at level 1" in warning(
        "models: {a: {engine: simulated, footprints: {level1: {host: 61GiB}}}}\n" + memory
    )
    assert "is the name of host memory. Write memory.host." in fault(ONE + "memory: {devices: {host: 1GiB}}")


def test_more_preloads_than_places_is_a_warning() -> None:
    text = "defaults: {engine: simulated, preload: true}\nmodels: {a: {}, b: {}}\nmemory: {max_resident: 1}\n"
    assert "is 1, but 2 models are preloaded or pinned (a, b)" in warning(text)


def test_serve_needs_a_written_port() -> None:
    text = "models:\n  a: {engine: simulated}\n  b: {engine: simulated, port: 9000}\n  c: {url: 'http://h:1'}\n"
    loaded = check_further(read(text), [ports_written])
    assert loaded.spec is None
    assert [problem.render("f") for problem in loaded.problems] == [
        "f:2: models.a: has no port, and serve starts nothing that could be given one. "
        "Write the port that the engine listens on, or its url."
    ]
    assert check_further(loaded, [ports_written]) is loaded
