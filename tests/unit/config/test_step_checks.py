"""A model's own steps in the native form: what is refused or warned of before anything is called."""

from textwrap import indent

import pytest

from roost.config.dump import Style, effective_yaml
from roost.config.load import load
from roost.core.spec import ModelSpec
from roost.core.step_spec import StepSpec
from tests.unit.config.reading import errors_of, model_of, problems_of, read, spec_of

WEIGHTS = "{endpoint: /collective_rpc, body: {method: reload_weights}}"


def text(sleep: str, wake: str = "- endpoint: /wake_up", more: str = "") -> str:
    """A model with these steps, one a line. The first sleep step stands in line 5."""
    return (
        f"models:\n  a:\n    url: http://127.0.0.1:9000\n    sleep_steps:\n{indent(sleep.strip(), ' ' * 6)}\n"
        f"    wake_steps:\n{indent(wake.strip(), ' ' * 6)}\n{indent(more, ' ' * 4)}\n"
    )


def model(sleep: str, wake: str = "- endpoint: /wake_up", more: str = "") -> ModelSpec:
    return model_of(text(sleep, wake, more))


def fault(step: str) -> str:
    """The only error of a second step in the sleep list, which stands in line 6."""
    (said,) = errors_of(text(f"- endpoint: /first\n- {step}"))
    return said


def warnings(sleep: str, wake: str = "- endpoint: /wake_up", more: str = "") -> list[str]:
    spec_of(text(sleep, wake, more))
    said = problems_of(text(sleep, wake, more))
    assert all(": warning: " in one for one in said)
    return said


def test_c1_a_step_has_an_endpoint_a_method_a_body_and_a_timeout() -> None:
    made = model("- {endpoint: /sleep, method: PUT, body: '{\"a\": 1}', timeout: 90}").sleep_steps
    assert made == (StepSpec(endpoint="/sleep", method="PUT", body='{"a": 1}', timeout=90),)


def test_c2_one_step_and_three_steps_keep_their_order() -> None:
    three = f"- endpoint: /wake_up?tags=weights\n- {WEIGHTS}\n- endpoint: /reset_prefix_cache"
    made = model("- endpoint: /sleep?level=2", three, "sleep_level: 2")
    assert [step.endpoint for step in made.sleep_steps] == ["/sleep?level=2"]
    assert [step.endpoint for step in made.wake_steps] == [
        "/wake_up?tags=weights",
        "/collective_rpc",
        "/reset_prefix_cache",
    ]


@pytest.mark.parametrize(("has", "lacks"), [("sleep_steps", "wake_steps"), ("wake_steps", "sleep_steps")])
def test_c3_one_list_without_the_other_names_the_one_that_is_missing(has: str, lacks: str) -> None:
    (said,) = errors_of(f"models:\n  a:\n    url: http://h:1\n    {has}: [{{endpoint: /x}}]\n")
    assert said.startswith(f"f:4: models.a.{has}: {lacks} is required beside {has}, and is missing. Add {lacks}, ")


def test_c3_a_list_with_a_faulty_step_is_not_missing() -> None:
    (said,) = errors_of(text("- endpoint: /x\n  timeout: soon"))
    assert "required" not in said


def test_c3_an_empty_list_takes_that_of_the_defaults_away() -> None:
    defaults = "defaults: {url: 'http://h:1', sleep_steps: [{endpoint: /s}], wake_steps: [{endpoint: /w}]}\n"
    assert not problems_of(f"{defaults}models: {{a: {{}}, b: {{sleep_steps: [], wake_steps: []}}}}")
    (said,) = errors_of(f"{defaults}models: {{a: {{sleep_steps: []}}}}")
    assert said.startswith("f:1: defaults.wake_steps: sleep_steps is required beside wake_steps")
    assert "wake_steps: [] if it comes from defaults" in said


def test_c4_neither_list_is_fine_and_both_need_nothing_else() -> None:
    assert not problems_of("models: {a: {url: 'http://h:1'}}")
    assert not problems_of(text("- endpoint: /sleep"))


def test_c5_an_empty_endpoint_names_list_and_index() -> None:
    assert fault("endpoint: ''").startswith(
        "f:6: models.a.sleep_steps.1.endpoint: is empty: the path of the call is required. Write a path such as"
    )
    assert fault("method: POST").startswith('f:6: models.a.sleep_steps.1: "endpoint" is missing')


@pytest.mark.parametrize("method", ["post", "Post", "POST"])
def test_c6_a_method_in_any_case_is_stored_upper_case(method: str) -> None:
    assert model(f"- {{endpoint: /s, method: {method}}}").sleep_steps[0].method == "POST"


def test_c6_post_is_the_default_and_another_method_shows_the_four() -> None:
    assert model("- endpoint: /s").sleep_steps[0].method == "POST"
    said = fault("{endpoint: /s, method: delete}")
    assert said == 'f:6: models.a.sleep_steps.1.method: "delete" is not one of GET, POST, PUT, PATCH'


def test_c7_a_negative_timeout_shows_its_value_and_zero_means_the_default() -> None:
    assert fault("{endpoint: /s, timeout: -5}").startswith("f:6: models.a.sleep_steps.1.timeout: -5 is not a duration")
    assert model("- {endpoint: /s, timeout: 0}").sleep_steps[0].timeout == 0
    assert model("- endpoint: /s").sleep_steps[0].timeout == 0


def test_c8_a_text_body_is_kept_as_it_stands_and_a_mapping_with_its_kinds() -> None:
    steps = model(
        "- {endpoint: /s, body: ' {\"a\" :1}'}\n- {endpoint: /s, body: {a: [{b: true, c: 2, d: x}]}}"
    ).sleep_steps
    assert steps[0].body == ' {"a" :1}'
    assert steps[1].body == {"a": [{"b": True, "c": 2, "d": "x"}]}


def test_c9_the_index_counts_from_zero_in_each_list() -> None:
    said = errors_of(text("- endpoint: x", "- endpoint: /w\n- endpoint: y"))
    assert [one.split(": ")[1] for one in said] == ["models.a.sleep_steps.0.endpoint", "models.a.wake_steps.1.endpoint"]


def test_c10_keys_of_the_old_form_point_to_the_table() -> None:
    old = ("Endpoint", "Method", "Body", "Timeout")
    keys = [f"{kind}{key}" for kind in ("sleep", "wake") for key in old]
    said = errors_of("models:\n  a:\n    url: http://h:1\n" + "".join(f"    {key}: x\n" for key in keys))
    assert len(said) == 8
    for line, (key, one) in enumerate(zip(keys, said, strict=True), 4):
        assert one.startswith(
            f'f:{line}: models.a.{key}: unknown key "{key}". Write {key[: -len(old[(line - 4) % 4])]}_steps:'
        )
        assert one.endswith("see docs/sleep.md.")


def test_c11_macros_and_variables_stand_in_endpoint_and_body() -> None:
    made = model_of(
        "macros: {level: 2, rpc: reload}\n" + text("- endpoint: /s?level=${level}\n  body: {m: '${rpc}_${env:W}'}"),
        {"W": "w"},
    ).sleep_steps[0]
    assert (made.endpoint, made.body) == ("/s?level=2", {"m": "reload_w"})


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        ("sleep", '"sleep" is neither a path that begins with "/" nor a whole http(s) URL'),
        ("ftp://h/x", '"ftp://h/x" is neither a path'),
        ("//h/x", '"//h/x" is neither a path'),
        ("http://", '"http://" is neither a path'),
        ("http://h:port/x", "is not an address: port could not be cast"),
        ("http://[::1/x", "is not an address: "),
        ("http://u:secret@h/x", "holds a user or password. Write headers:"),
        ("/a b", "holds a space or a control character"),
        ("/a#b", 'holds a "#"'),
    ],
)
def test_e11_an_endpoint_that_cannot_be_called_is_named(endpoint: str, sentence: str) -> None:
    said = fault(f"endpoint: '{endpoint}'")
    assert said.startswith(f"f:6: models.a.sleep_steps.1.endpoint: {sentence}") and "secret" not in said
    waits = fault(f"{{endpoint: /x, wait_until: {{endpoint: '{endpoint}'}}}}")
    assert waits.startswith(f"f:6: models.a.sleep_steps.1.wait_until.endpoint: {sentence}") and "secret" not in waits


@pytest.mark.parametrize(
    "endpoint",
    ["/", "/s?a=1&a=2", "http://h", "https://h:1/x?y", "http://[::1]:2/x", "http://${HOST}:${PORT}/${MODEL}"],
)
def test_endpoints_that_can_be_called(endpoint: str) -> None:
    assert not problems_of(text(f"- endpoint: '{endpoint}'"))


@pytest.mark.parametrize(
    ("step", "place", "sentence"),
    [
        ("retries: 21", "retries", "21 further tries are more than 20"),
        ("status: [200, 99]", "status.1", "99 is no status of an answer"),
        ("status: 200", "status", "200 is not a list of whole numbers. Write it as a list: [200]"),
        ("wait_until: {endpoint: /x, status: 600}", "wait_until.status", "600 is no status of an answer"),
        ("expect: {}", "expect", "says nothing"),
        ("expect: {text: ''}", "expect", "says nothing"),
        ("expect: {at: a..b}", "expect.at", 'cannot be read: "a..b"'),
        ("expect: {equals: 1}", "expect.equals", "says no place for the value"),
        ("expect: {at: a, equals: null}", "expect.equals", "null is the same as nothing here"),
        ("wait_until: {endpoint: /x, expect: {at: 'a['}}", "wait_until.expect.at", "cannot be read"),
        ("if: {}", "if", "says nothing"),
        ("if: {at: '[x]', status: 200}", "if.at", "cannot be read"),
        ("if: {equals: 3}", "if.equals", "says no place for the value"),
        ("if: {status: 20}", "if.status", "20 is no status of an answer"),
        (
            "if: {step: 2, status: 200}",
            "if.step",
            "step 2 does not come before this one, which is step 2. Write step: 1.",
        ),
        ("if: {step: 0, status: 200}", "if.step", "0 is not a whole number of 1 or more"),
        ("headers: {Host: x}", "headers.Host", "belongs to the connection"),
        ("headers: {content-length: 3}", "headers.content-length", "belongs to the connection"),
        ("headers: {Transfer-Encoding: x}", "headers.Transfer-Encoding", "belongs to the connection"),
        ("headers: {a b: x}", "headers.a b", "cannot be the name of a header"),
        ('headers: {A: "x\\ny"}', "headers.A", "cannot be the value of a header"),
        ("path: /y", "path", 'unknown key "path"; did you mean "endpoint"?'),
        ("on_failure: stop", "on_failure", '"stop" is not one of fail, continue, restart'),
    ],
)
def test_what_a_step_cannot_say(step: str, place: str, sentence: str) -> None:
    assert fault(f"{{endpoint: /x, {step}}}").startswith(f"f:6: models.a.sleep_steps.1.{place}: {sentence}")


def test_every_problem_is_said_at_once() -> None:
    said = errors_of(text("- {endpoint: x, retries: 99, if: {status: 200}}", "- {endpoint: '', headers: {te: x}}"))
    assert [one.split(": ")[1].removeprefix("models.a.") for one in said] == [
        "sleep_steps.0.endpoint",
        "sleep_steps.0.retries",
        "sleep_steps.0.if",
        "wake_steps.0.endpoint",
        "wake_steps.0.headers.te",
    ]


def test_the_first_step_has_no_step_before_it_but_may_ask_for_the_level() -> None:
    (said,) = errors_of(text("- {endpoint: /x, if: {status: 200}}"))
    assert "sleep_steps.0.if: looks at an earlier step, and none ends before this one begins" in said
    assert not problems_of(text("- {endpoint: /x, if: {level: 2}}\n- {endpoint: /y, if: {status: 200}}"))


def test_steps_that_run_together_look_only_at_what_came_before_them() -> None:
    group = "- {endpoint: /b, parallel: true}\n- {endpoint: /c, parallel: true, if: {%s}}"
    (said,) = errors_of(text("- endpoint: /a\n" + group % "step: 2, status: 200"))
    assert "if.step: step 2 runs together with this one" in said and "Look at a step before them: step: 1." in said
    for condition in ("step: 1, status: 200", "status: 200"):
        assert not problems_of(text("- endpoint: /a\n" + group % condition))
        (said,) = errors_of(text(group % condition))
        assert "sleep_steps.1.if: looks at an earlier step, and none ends before this one begins" in said


@pytest.mark.parametrize("values", [("true", "'true'"), ("a", "b"), ("true", "false"), ("a", "A")])
def test_only_neighbours_with_the_same_value_run_together(values: tuple[str, str]) -> None:
    first, second = values
    said = warnings(f"- {{endpoint: /a, parallel: {first}}}\n- {{endpoint: /b, parallel: {second}}}")
    assert len(said) == (1 if second == "false" else 2)
    assert "stands at no neighbour, so this step runs alone" in said[0]


def test_two_groups_of_one_name_are_two_groups() -> None:
    together = "- {endpoint: /a, parallel: x}\n- {endpoint: /b, parallel: x}\n"
    assert not problems_of(
        text(f"{together}- endpoint: /c\n{together.replace('x}', 'x, if: {step: 3, status: 200}}')}")
    )


def test_a_list_is_no_longer_than_32_steps_and_a_model_no_more_stubborn_than_20_tries() -> None:
    assert not problems_of(text("- endpoint: /a\n" * 32, more="step_retries: 20"))
    assert errors_of(text("- endpoint: /a\n" * 33, more="step_retries: 21")) == [
        "f:4: models.a.sleep_steps: has 33 steps; at most 32 are performed. Let one call of the engine do more.",
        "f:40: models.a.step_retries: 21 further tries are more than 20. Each waits twice as long as the one before; "
        "wait_until is made for waiting long.",
    ]


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ("{endpoint: /x, method: GET, body: {a: 1}}", "goes with GET, and servers ignore it there"),
        ("{endpoint: /x, body: '{a'}", "is no JSON, yet is sent as application/json"),
        ("{endpoint: /x, if: {step: 1, level: 1}}", "asks nothing of that step"),
        ("{endpoint: /resume}", "lets vLLM compute with memory that is gone"),
    ],
)
def test_what_is_only_warned_of(step: str, sentence: str) -> None:
    (said,) = warnings(f"- endpoint: /first\n- {step}")
    assert sentence in said


@pytest.mark.parametrize("body", ["", "null", "3", '"x"', "[1]"])
def test_any_json_is_a_body(body: str) -> None:
    assert not problems_of(text(f"- {{endpoint: /x, body: '{body}'}}"))
    assert not problems_of(text("- {endpoint: /x, body: hello, headers: {content-type: text/plain}}"))


@pytest.mark.parametrize("body", ["{level: 2}", "'{\"level\": 2}'"])
def test_a_level_in_the_body_is_an_error_that_says_where_vllm_reads_it(body: str) -> None:
    (said,) = errors_of(text(f"- {{endpoint: /sleep, body: {body}}}", f"- {WEIGHTS}", "sleep_level: 2"))
    assert said == (
        "f:5: models.a.sleep_steps.0.body: vLLM reads level from the query and ignores it in the body, so this would "
        "be level 1. Write endpoint: /sleep?level=2"
    )
    assert (
        "Write endpoint: /sleep?mode=wait&level=2"
        in errors_of(text(f"- {{endpoint: /sleep?mode=wait, body: {body}}}"))[0]
    )


def test_tags_and_mode_are_read_in_the_query_too() -> None:
    (said,) = errors_of(text("- endpoint: /sleep", "- {endpoint: /v/wake_up, body: {tags: [weights, kv_cache]}}"))
    assert "so this would be a full wake. Write endpoint: /v/wake_up?tags=weights&tags=kv_cache" in said
    (said,) = errors_of(text("- {endpoint: /sleep, body: {mode: wait}}"))
    assert "so this would be abort. Write endpoint: /sleep?mode=wait" in said


def test_a_level_in_query_and_body_is_fine_and_sglang_reads_bodies() -> None:
    assert not problems_of(text("- {endpoint: '/sleep?level=1', body: {level: 1}}"))
    assert not problems_of(text("- {endpoint: /sleep, body: {level: 1}}", more="engine: sglang"))


@pytest.mark.parametrize(
    ("endpoint", "own", "sentence"),
    [
        ("/sleep?level=2", 1, "says level 2, and the model's sleep_level is 1. Write sleep_level: 2 in the model, or"),
        (
            "/sleep",
            2,
            "means level 1, and the model's sleep_level is 2. Write sleep_level: 1 in the model, or /sleep?level=2",
        ),
    ],
)
def test_a_step_that_sleeps_at_another_level_is_warned_of(endpoint: str, own: int, sentence: str) -> None:
    (said,) = warnings(f"- endpoint: {endpoint}", f"- {WEIGHTS}", f"sleep_level: {own}")
    assert sentence in said
    assert not problems_of(text(f"- {{endpoint: {endpoint}, if: {{level: 1}}}}", f"- {WEIGHTS}", f"sleep_level: {own}"))


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("", "says level 2, and the model's sleep_level is 1 (left out). Write sleep_level: 2 in the model"),
        ("sleep_level: 1", "says level 2, and the model's sleep_level is 1. Write sleep_level: 2 in the model"),
    ],
)
@pytest.mark.parametrize("engine", ["vllm", "simulated"])
def test_at_a_level_that_its_metrics_would_deny_every_sleep_would_fail(
    engine: str, written: str, sentence: str
) -> None:
    (said,) = errors_of(text("- endpoint: /sleep?level=2", f"- {WEIGHTS}", f"engine: {engine}\n{written}"))
    assert said.startswith("f:5: models.a.sleep_steps.0.endpoint: ")
    assert sentence in said
    assert not problems_of(text("- endpoint: /sleep?level=2", f"- {WEIGHTS}", f"engine: {engine}\nsleep_level: 2"))


def test_level_2_without_a_reload_is_warned_of() -> None:
    (said,) = warnings("- endpoint: /sleep?level=2", more="sleep_level: 2")
    assert "wake_steps: loads no weights, and sleep level 2 keeps none: the engine would answer garbage" in said
    assert "{endpoint: /collective_rpc, body: {method: reload_weights}}" in said
    (said,) = warnings(
        "- {endpoint: /release_memory_occupation, body: {}}",
        "- {endpoint: /resume_memory_occupation, body: {}}",
        "sleep_level: 2\nengine: sglang",
    )
    assert "/update_weights_from_disk" in said
    for wake in (WEIGHTS, "{endpoint: /update_weights_from_disk}", '{endpoint: /x, body: \'{"do": "load_model"}\'}'):
        assert not problems_of(text("- endpoint: /sleep?level=2", f"- {wake}", "sleep_level: 2"))
    assert not problems_of(text("- endpoint: /own/off", "- endpoint: /own/on", "sleep_level: 2"))


def test_own_steps_of_a_server_that_also_sleeps_by_itself_are_warned_of() -> None:
    steps = "sleep_steps: [{endpoint: /s}], wake_steps: [{endpoint: /w}]"
    (said,) = problems_of(f"models: {{a: {{weights: x.gguf, args: [--sleep-idle-seconds 9], {steps}}}}}")
    assert "warning: models.a.args.0: lets llama-server sleep by itself" in said
    assert not problems_of(f"models: {{a: {{weights: x.gguf, {steps}}}}}")


def test_headers_that_carry_keys_are_not_shown() -> None:
    names = {"Authorization": "s1", "X-Api-Key": "s2", "Cookie": "s3", "X-Auth-Token": "s4", "Accept": "shown"}
    headers = ", ".join(f"{name}: {value}" for name, value in names.items())
    spec = spec_of(text(f"- {{endpoint: /x, headers: {{{headers}}}}}"))
    masked, bare = effective_yaml(spec), effective_yaml(spec, Style(mask=False))
    assert "shown" in masked and not any(value in masked for value in ("s1", "s2", "s3", "s4"))
    assert all(value in bare for value in names.values())
    again = load(bare, file="f", env={}, home="/h", base_dir="/b")
    assert again.spec == spec


def test_a_truth_value_stays_one_at_any_depth() -> None:
    made = model_of("models: {a: {weights: x, set_params: {chat: {thinking: false, n: [{b: true}]}}}}")
    assert made.set_params == {"chat": {"thinking": False, "n": [{"b": True}]}}


def test_parallel_takes_truth_values_and_names() -> None:
    made = model("- {endpoint: /a, parallel: false}\n- {endpoint: /b, parallel: 1}\n- {endpoint: /c, parallel: 1}")
    assert [step.parallel for step in made.sleep_steps] == [False, "1", "1"]


def test_a_faulty_list_raises_no_further_complaint() -> None:
    assert len(read(text("- 5")).problems) == 1


def test_retries_without_own_steps_are_warned_of_once_and_where_they_stand() -> None:
    said = problems_of("models:\n  a:\n    url: http://h:1\n    step_retries: 2\n    step_retry_delay: 1s\n")
    assert [one.partition(" counts for ")[0] for one in said] == [
        "f:4: warning: models.a.step_retries:",
        "f:5: warning: models.a.step_retry_delay:",
    ]
    assert said[0].endswith(
        "are not tried again. Take it out, or write both lists; a failed wake ends in a fresh start in any case."
    )
    steps = "sleep_steps: [{endpoint: /s}], wake_steps: [{endpoint: /w}]"
    models = "a: {url: 'http://h:1'}, b: {url: 'http://h:2'}"
    (said_once,) = problems_of(f"defaults: {{step_retries: 1}}\nmodels: {{{models}}}\n")
    assert said_once.startswith("f:1: warning: defaults.step_retries: counts for sleep_steps")
    one_has = f"defaults: {{step_retries: 1}}\nmodels: {{{models}, c: {{url: 'http://h:3', {steps}}}}}\n"
    assert not problems_of(one_has)


MANY = """
- {endpoint: sleep, method: DELETE}
- {endpoint: /a, if: {level: 3}}
- {endpoint: /b, if: {step: 5, status: 200}}
- {endpoint: /c, expect: {equals: 3, txt: x}}
- {endpoint: /d, expect: {at: "a..b"}}
- {endpoint: /e, retries: 99, retrys: 1}
- /f
- {method: GET, body: x}
- {endpoint: "/${nothing}", timeout: soon}
- {endpoint: /g, headers: {Host: x}, parallel: [1]}
- {endpoint: /h, parallel: true}
- {endpoint: /i, status: [200, x]}
- {endpoint: /j, wait_until: {timeout: 1s}}
- {endpoint: /k, wait_until: {endpoint: k}}
"""


def test_one_faulty_step_hides_no_fault_of_the_others_and_adds_none() -> None:
    said = problems_of(text(MANY))
    assert sorted(one.partition("models.a.sleep_steps.")[2].partition(": ")[0] for one in said) == sorted(PLACES)


PLACES = [
    "0.endpoint",
    "0.method",
    "1.if.level",
    "2.if.step",
    "3.expect.txt",
    "4.expect.at",
    "5.retrys",
    "5.retries",
    "6",
    "7",
    "7.body",
    "7.body",
    "8.endpoint",
    "8.timeout",
    "9.parallel",
    "9.headers.Host",
    "11.status.1",
    "12.wait_until",
    "13.wait_until.endpoint",
]


def test_beside_a_path_that_counts_from_0_stands_the_number_that_conditions_and_log_use() -> None:
    problems = read(text("- endpoint: /a\n- {endpoint: /b, if: {step: 4, status: 200}}")).problems
    assert [problem.render("f") for problem in problems] == [
        "f:6: models.a.sleep_steps.1.if.step (step 2): step 4 does not come before this one, which is step 2. "
        "Write step: 1."
    ]
