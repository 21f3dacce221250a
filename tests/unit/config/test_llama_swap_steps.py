"""Sleep and wake lists of llama-swap's form: C1 to C11, the later spellings, and the blocks that were printed first."""

from textwrap import dedent, indent

import pytest

from roost.config.convert import convert
from roost.core.spec import EngineKind, ModelSpec
from roost.engines.registry import validate
from tests.unit.config.reading import errors_of, model_of, problems_of, read, spec_of

VLLM = "vllm serve org/m --port ${PORT} --enable-sleep-mode"
WAKE = "wakeEndpoints: [{endpoint: /wake_up}]"
SLEEP = "sleepEndpoints: [{endpoint: /sleep?level=1}]"


def framed(fragment: str, cmd: str = VLLM) -> str:
    """A file whose one model has these lines."""
    return f"models:\n  m:\n    cmd: {cmd}\n" + indent(dedent(fragment).strip("\n"), "    ") + "\n"


def one(fragment: str, cmd: str = VLLM) -> ModelSpec:
    return model_of(framed(fragment, cmd))


def errors(fragment: str) -> list[str]:
    return errors_of(framed(fragment))


def entry(line: str) -> str:
    """A wake list whose second entry is this."""
    return f"{SLEEP}\nwakeEndpoints:\n  - endpoint: /wake_up\n  - {line}\n"


LEVEL_1 = """
models:
  phi-4-quantized.w4a16:
    cmd: "vllm serve ./phi-4-quantized.w4a16/ --port ${PORT} --enable-sleep-mode"
    env:
      - VLLM_SERVER_DEV_MODE=1

    sleepEndpoints:
      - endpoint: /sleep
        method: POST
        body: '{"level": 1}'

    wakeEndpoints:
      - endpoint: /wake_up
        method: POST
"""
LEVEL_2 = """
models:
  phi-4-quantized.w4a16:
    cmd: "vllm serve ./phi-4-quantized.w4a16/ --port ${PORT} --enable-sleep-mode"
    env:
      - VLLM_SERVER_DEV_MODE=1

    sleepEndpoints:
      - endpoint: /sleep
        method: POST
        body: '{"level": 2}'

    wakeEndpoints:
      # Step 1: Wake the model
      - endpoint: /wake_up
        method: POST

      # Step 2: Reload weights from disk
      - endpoint: /collective_rpc
        method: POST
        body: '{"method": "reload_weights"}'

      # Step 3: Reset the prefix cache
      - endpoint: /reset_prefix_cache
        method: POST
"""
TIMEOUTS = """
models:
  large-model:
    cmd: vllm serve org/large --port ${PORT} --enable-sleep-mode
    sleepEndpoints:
      - endpoint: /sleep
        method: POST
        timeout: 120  # 2 minutes for large model

    wakeEndpoints:
      - endpoint: /wake_up
        method: POST
        timeout: 30  # Quick wake

      - endpoint: /collective_rpc
        method: POST
        body: '{"method": "reload_weights"}'
        timeout: 180  # 3 minutes to reload large weights

      - endpoint: /reset_prefix_cache
        method: POST
        timeout: 10  # Fast cache reset
"""
WAKE_1 = """
wakeEndpoints:
  - endpoint: /wake_up
    method: POST
"""
WAKE_2 = """
wakeEndpoints:
  - endpoint: /wake_up
    method: POST
  - endpoint: /collective_rpc
    method: POST
    body: '{"method": "reload_weights"}'
  - endpoint: /reset_prefix_cache
    method: POST
"""
MIGRATED = """
sleepEndpoints:
  - endpoint: /sleep
    method: POST
    body: '{"level": 1}'
wakeEndpoints:
  - endpoint: /wake_up
    method: POST
"""
OLD = """
sleepEndpoint: /sleep
sleepMethod: POST
sleepBody: '{"level": 1}'
wakeEndpoint: /wake_up
wakeMethod: POST
"""


@pytest.mark.parametrize(
    ("text", "sleep", "wake", "level"),
    [
        (LEVEL_1, ["/sleep?level=1"], ["/wake_up"], 1),
        (LEVEL_2, ["/sleep?level=2"], ["/wake_up", "/collective_rpc", "/reset_prefix_cache"], 2),
        (TIMEOUTS, ["/sleep"], ["/wake_up", "/collective_rpc", "/reset_prefix_cache"], 1),
        (framed(SLEEP + WAKE_1), ["/sleep?level=1"], ["/wake_up"], 1),
        (framed(SLEEP + WAKE_2), ["/sleep?level=1"], ["/wake_up", "/collective_rpc", "/reset_prefix_cache"], 1),
        (framed(MIGRATED), ["/sleep?level=1"], ["/wake_up"], 1),
    ],
)
def test_every_block_printed_in_the_new_form_loads(text: str, sleep: list[str], wake: list[str], level: int) -> None:
    loaded = read(text)
    assert loaded.spec is not None and loaded.dialect == "llama_swap", loaded.problems
    (model,) = loaded.spec.models.values()
    assert [step.endpoint for step in model.sleep_steps] == sleep
    assert [step.endpoint for step in model.wake_steps] == wake
    assert {step.method for step in (*model.sleep_steps, *model.wake_steps)} == {"POST"}
    assert (model.sleep_level, model.engine, model.can_sleep) == (level, EngineKind.VLLM, True)
    assert validate(loaded.spec) == []


def test_the_printed_blocks_say_only_what_they_must() -> None:
    (warning,) = read(LEVEL_2).problems
    assert warning.severity == "warning" and warning.line == 10 and "sent as /sleep?level=2" in warning.message


def test_c1_lists_of_endpoint_method_body_and_timeout() -> None:
    model = one("""
        sleepEndpoints: [{endpoint: /a, method: PUT, body: x, timeout: 5}]
        wakeEndpoints: [{endpoint: /b, method: PATCH, body: y, timeout: 6}, {endpoint: /c, method: GET}]
        """)
    (sleep,), (first, second) = model.sleep_steps, model.wake_steps
    assert (sleep.endpoint, sleep.method, sleep.body, sleep.timeout) == ("/a", "PUT", "x", 5)
    assert (first.endpoint, first.method, first.body, first.timeout) == ("/b", "PATCH", "y", 6)
    assert (second.endpoint, second.method, second.body, second.timeout) == ("/c", "GET", None, 0)


def test_c2_one_entry_and_three_in_order() -> None:
    assert len(model_of(LEVEL_1).wake_steps) == 1
    assert [step.endpoint for step in model_of(LEVEL_2).wake_steps] == [
        "/wake_up",
        "/collective_rpc",
        "/reset_prefix_cache",
    ]


def test_c3_one_list_without_the_other_names_the_missing_one() -> None:
    (error,) = errors(SLEEP)
    assert "models.m.sleepEndpoints: wakeEndpoints is required where sleepEndpoints is configured" in error
    (error,) = errors(WAKE)
    assert "models.m.wakeEndpoints: sleepEndpoints is required where wakeEndpoints is configured" in error


def test_c4_neither_is_valid_and_both_need_nothing_else() -> None:
    assert (one("").sleep_steps, one("").can_sleep) == ((), False)
    model = one(f"{SLEEP}\n{WAKE}")
    assert model.can_sleep and len(model.sleep_steps) == len(model.wake_steps) == 1
    assert one("sleepEndpoints: []\nwakeEndpoints: []").sleep_steps == ()


@pytest.mark.parametrize("line", ['endpoint: ""', "method: POST", "endpoint:"])
def test_c5_an_empty_path_is_an_error_with_list_and_index(line: str) -> None:
    (error,) = errors(entry(line))
    assert "models.m.wakeEndpoints.1" in error and "the endpoint's path is required" in error


@pytest.mark.parametrize(("written", "stored"), [("post", "POST"), ("Get", "GET"), ("pUt", "PUT"), ("PATCH", "PATCH")])
def test_c6_the_method_in_any_case(written: str, stored: str) -> None:
    assert one(entry(f"{{endpoint: /x, method: {written}}}")).wake_steps[1].method == stored
    assert one(entry("endpoint: /x")).wake_steps[1].method == "POST"


def test_c6_another_method_is_an_error_with_the_four() -> None:
    (error,) = errors(entry("{endpoint: /x, method: DELETE}"))
    assert '"DELETE"' in error and "GET, POST, PUT, PATCH" in error and "wakeEndpoints.1" in error


def test_c7_whole_seconds() -> None:
    assert one(entry("{endpoint: /x, timeout: 0}")).wake_steps[1].timeout == 0
    assert one(entry("{endpoint: /x}")).wake_steps[1].timeout == 0
    for value in ("-5", "1.5", "30s", "true"):
        (error,) = errors(entry(f"{{endpoint: /x, timeout: {value}}}"))
        assert value in error and "whole number of 0 or more" in error


def test_c8_the_body_is_a_text_sent_as_it_stands() -> None:
    body = '{"method":  "reload_weights" }'
    model = one(entry(f"{{endpoint: /x, body: '{body}'}}"))
    assert (model.wake_steps[1].body, model.wake_steps[0].body) == (body, None)
    assert one(entry("{endpoint: /x, body: 5}")).wake_steps[1].body == "5"


def test_c9_errors_carry_the_index() -> None:
    found = errors(f"{SLEEP}\nwakeEndpoints: [{{endpoint: /a}}, {{endpoint: '', method: X}}]")
    places = sorted(error.split(": ")[1] for error in found)
    assert places == ["models.m.wakeEndpoints.1.endpoint", "models.m.wakeEndpoints.1.method"]
    (error,) = errors(f"{SLEEP}\nwakeEndpoints: [{{endpoint: /a}}, 3]")
    assert "models.m.wakeEndpoints.1: 3 is not a mapping" in error


def test_c10_the_old_keys_fail_the_load_and_point_to_the_page() -> None:
    found = errors(OLD)
    assert len(found) == 5 and all("docs/sleep.md" in error for error in found)
    assert "sleepBody is no longer read" in found[2] and "body of an entry of sleepEndpoints" in found[2]
    for key in [f"{word}{part}" for word in ("sleep", "wake") for part in ("Endpoint", "Method", "Body", "Timeout")]:
        assert key in errors(f"{key}: 1")[0]


def test_c10_the_old_keys_fail_also_beside_the_new_ones_and_without_a_cmd() -> None:
    (error,) = (one for one in errors(MIGRATED + "sleepTimeout: 5") if "warning" not in one)
    assert "sleepTimeout is no longer read" in error
    assert any("wakeBody is no longer read" in error for error in errors_of("models:\n  m:\n    wakeBody: x\n"))


def test_c11_macros_in_endpoint_and_body() -> None:
    text = framed("""
        macros: {lvl: 2, rpc: reload_weights}
        sleepEndpoints: [{endpoint: "/sleep?level=${lvl}"}]
        wakeEndpoints:
          - endpoint: /wake_up?model=${MODEL_ID}&port=${PORT}
          - {endpoint: /collective_rpc, body: '{"method": "${rpc}", "token": "${env.T}"}'}
        """)
    model = model_of(text, {"T": "t1"})
    assert (model.sleep_steps[0].endpoint, model.sleep_level) == ("/sleep?level=2", 2)
    assert model.wake_steps[0].endpoint == "/wake_up?model=m&port=5800"
    assert model.wake_steps[1].body == '{"method": "reload_weights", "token": "t1"}'


# the later spellings


def test_the_later_spellings_each_as_printed() -> None:
    model = one("""
        sleepEndpoints: [{endpoint: /sleep?level=1}]
        wakeEndpoints:
          - endpoint: /wake_up
            retries: 3
            retryDelay: 1s
          - endpoint: /collective_rpc
            if: "prev.status == 200"
            expectedBody: '{"status": "ready"}'
            healthCheckAfter: true
          - {endpoint: /a, parallel: true}
          - {endpoint: /b, parallel: true}
          - {endpoint: /c, expectedBody: ready, retryDelay: 2}
        """)
    first, second, third, fourth, last = model.wake_steps
    assert (first.retries, first.retry_delay) == (3, 1)
    assert second.condition is not None and (second.condition.step, second.condition.status) == ("previous", 200)
    assert second.expect is not None and second.expect.json == {"status": "ready"} and second.health_check_after
    assert third.parallel is fourth.parallel is True and last.parallel is False
    assert last.expect is not None and (last.expect.text, last.expect.json) == ("ready", None)
    assert last.retry_delay == 2


@pytest.mark.parametrize(
    ("written", "step", "status", "at", "equals", "level"),
    [
        ("prev.status == 409", "previous", 409, None, None, None),
        ("prev.status==200", "previous", 200, None, None, None),
        ("steps[1].status == 200", 1, 200, None, None, None),
        ("prev.body.status == ready", "previous", None, "status", "ready", None),
        ("prev.body.results[0].ok == true", "previous", None, "results[0].ok", True, None),
        ('steps[1].body.a.b == "x y"', 1, None, "a.b", "x y", None),
        ("prev.body.data[id=llama].n == 3", "previous", None, "data[id=llama].n", 3, None),
        ("level == 2", "previous", None, None, None, 2),
    ],
)
def test_conditions_have_a_few_fixed_forms(
    written: str, step: object, status: object, at: object, equals: object, level: object
) -> None:
    condition = one(entry(f"{{endpoint: /x, if: '{written}'}}")).wake_steps[1].condition
    assert condition is not None
    assert (condition.step, condition.status, condition.at, condition.equals, condition.level) == (
        step,
        status,
        at,
        equals,
        level,
    )


@pytest.mark.parametrize("written", ["prev.status != 200", "prev.ok", "1", "level == 3", "prev.status == 200 && true"])
def test_any_other_condition_is_an_error_with_the_forms(written: str) -> None:
    (error,) = errors(entry(f"{{endpoint: /x, if: '{written}'}}"))
    assert "wakeEndpoints.1.if" in error and "prev.status == 200" in error and "level == 2" in error


def test_a_condition_on_nothing_is_an_error_at_its_place() -> None:
    (error,) = errors(f"{SLEEP}\nwakeEndpoints: [{{endpoint: /a, if: prev.status == 200}}]")
    assert "wakeEndpoints.0.if" in error and "none ends before" in error


def test_retries_for_the_whole_file_or_a_model() -> None:
    text = "retries: 2\nretryDelay: 3s\n" + framed(f"{SLEEP}\n{WAKE}\nretries: 4")
    model = model_of(text)
    assert (model.step_retries, model.step_retry_delay) == (4, 3)


def test_an_unknown_key_of_a_step_is_an_error_with_the_nearest() -> None:
    (error,) = errors(entry("{endpoint: /x, retrys: 1}"))
    assert 'unknown key "retrys"; did you mean "retries"?' in error


def test_native_words_of_a_step_stand_beside_the_others() -> None:
    step = one(entry("{endpoint: /x, on_failure: continue, status: [200, 409], headers: {A: b}}")).wake_steps[1]
    assert (step.on_failure, step.status, step.headers) == ("continue", (200, 409), {"A": "b"})


# the fork's keys


def test_sleep_mode() -> None:
    both = f"{SLEEP}\n{WAKE}\n"
    assert one(both + "sleepMode: enable").sleep_steps
    off = one(both + "sleepMode: disable")
    assert (off.sleep_steps, off.wake_steps, off.can_sleep) == ((), (), False)
    assert "sleepMode: enable needs" in errors("sleepMode: enable")[0]
    assert "enable or disable" in errors(both + "sleepMode: on")[0]


def test_the_forks_limits_are_the_default_of_each_step() -> None:
    model = model_of("sleepRequestTimeout: 20\nwakeRequestTimeout: 90\n" + framed(f"{SLEEP}\n{WAKE}"))
    assert (model.timeouts.sleep, model.timeouts.wake) == (20, 90)
    assert (one(f"{SLEEP}\n{WAKE}").timeouts.sleep, one(f"{SLEEP}\n{WAKE}").timeouts.step) == (None, 60)


# what vLLM reads where


def test_a_level_in_the_body_goes_into_the_query_with_one_warning() -> None:
    fragment = """
        sleepEndpoints:
          - {endpoint: /pause}
          - {endpoint: "/sleep?x=1", body: '{"level": 2, "mode": "abort"}'}
        wakeEndpoints:
          - {endpoint: /wake_up, body: '{"tags": ["weights", "kv_cache"]}'}
          - {endpoint: /collective_rpc, body: '{"method": "reload_weights"}'}
        """
    model = one(fragment)
    assert model.sleep_steps[1].endpoint == "/sleep?x=1&level=2&mode=abort"
    assert model.sleep_steps[1].body == '{"level": 2, "mode": "abort"}'
    assert model.wake_steps[0].endpoint == "/wake_up?tags=weights&tags=kv_cache"
    assert model.sleep_level == 2
    (warning,) = problems_of(framed(fragment))
    assert "warning: models.m.sleepEndpoints.1.body" in warning and "/sleep?x=1&level=2&mode=abort" in warning


def test_a_body_that_is_a_mapping_counts_as_well() -> None:
    model = one("""
        sleepEndpoints: [{endpoint: /sleep, body: {level: 2}}]
        wakeEndpoints:
          - {endpoint: /wake_up, body: {tags: [weights]}}
          - {endpoint: /collective_rpc, body: {method: reload_weights}}
          - {endpoint: /wake_up, body: {tags: kv_cache}}
        """)
    ends = [step.endpoint for step in (*model.sleep_steps, *model.wake_steps)]
    assert ends == ["/sleep?level=2", "/wake_up?tags=weights", "/collective_rpc", "/wake_up?tags=kv_cache"]
    assert model.wake_steps[0].body == {"tags": ["weights"]}


def test_a_level_in_the_query_stays() -> None:
    fragment = (
        "sleepEndpoints: [{endpoint: /sleep?level=2, body: '{\"level\": 1}'}]\n"
        'wakeEndpoints: [{endpoint: /collective_rpc, body: \'{"method": "reload_weights"}\'}]'
    )
    model = one(fragment)
    assert (model.sleep_steps[0].endpoint, model.sleep_level) == ("/sleep?level=2", 2)
    assert problems_of(framed(fragment)) == []


def test_other_engines_get_their_bodies_alone() -> None:
    sglang = "python -m sglang.launch_server --model-path org/m --port ${PORT} --enable-memory-saver"
    model = one(f"sleepEndpoints: [{{endpoint: /sleep, body: '{{\"level\": 2}}'}}]\n{WAKE}", sglang)
    assert (model.sleep_steps[0].endpoint, model.engine) == ("/sleep", EngineKind.SGLANG)


def test_a_vllm_that_cannot_sleep_is_said_with_the_fix() -> None:
    text = framed(f"{SLEEP}\n{WAKE}", "vllm serve org/m --port ${PORT}")
    (warning,) = problems_of(text)
    assert "f:3: warning: models.m.cmd: has no --enable-sleep-mode" in warning and "Add --enable-sleep-mode" in warning
    (warning,) = problems_of(framed(f"{SLEEP}\n{WAKE}\nenv: [VLLM_SERVER_DEV_MODE=0]"))
    assert "Write VLLM_SERVER_DEV_MODE=1" in warning
    docker = "docker run -p ${PORT}:8000 vllm/vllm-openai --model org/m --enable-sleep-mode"
    (warning,) = problems_of(framed(f"{SLEEP}\n{WAKE}", docker))
    assert "docker run -e VLLM_SERVER_DEV_MODE=1" in warning
    told = docker.replace("run", "run -e VLLM_SERVER_DEV_MODE=1")
    assert problems_of(framed(f"{SLEEP}\n{WAKE}", told)) == []
    assert problems_of(framed("", "vllm serve org/m --port ${PORT}")) == []  # nothing puts it to sleep


@pytest.mark.parametrize("text", [LEVEL_1, LEVEL_2, TIMEOUTS])
def test_the_native_form_of_a_printed_block_is_the_same(text: str) -> None:
    loaded = read(text)
    assert loaded.written is not None
    again = spec_of(convert(loaded.written).text)
    assert again == loaded.spec
