"""Variables: what they become, where they may stand, and every way they can be wrong."""

import pytest

from roost.config.interpolate import escape
from tests.unit.config.reading import errors_of, model_of, problems_of, read, spec_of


def described(value: str, macros: str = "{}", env: dict[str, str] | None = None) -> str:
    return model_of(f"macros: {macros}\nmodels:\n  a: {{engine: simulated, description: '{value}'}}", env).description


def test_environment_variables_and_fallbacks() -> None:
    env = {"A": "one", "EMPTY": ""}
    assert described("${env:A}-${env:B:-two}-${env:EMPTY}-${env:EMPTY:-three}", env=env) == "one-two--three"


def test_a_value_from_the_environment_takes_the_type_of_its_place() -> None:
    text = "models: {a: {engine: simulated, port: '${env:P}', sleep_after: '${env:S}', pin: '${env:B}'}}"
    model = model_of(text, {"P": "9000", "S": "never", "B": "true"})
    assert (model.port, model.sleep_after, model.pin) == (9000, None, True)


def test_a_variable_is_not_expanded_twice() -> None:
    assert described("${env:A}", env={"A": "${env:B} $$ ${x}"}) == "${env:B} $$ ${x}"


def test_dollars() -> None:
    assert described("$$ $HOME $${env:A} $5 $") == "$ $HOME ${env:A} $5 $"


def test_macros_splice_and_use_each_other() -> None:
    assert described("${b}!", "{a: 1.50, b: 'x${a}'}") == "x1.50!"


def test_a_whole_value_takes_the_macros_own_kind() -> None:
    text = """
    macros:
      words: [--a 1, "--b '2 3'"]
      queue: {size: 7}
      idle: never
    models:
      m:
        engine: simulated
        args:
          - --first
          - ${words}
          - --last=${idle}
        queue: ${queue}
        sleep_after: ${idle}
    """
    model = model_of(text)
    assert model.args == ("--first", "--a", "1", "--b", "2 3", "--last=never")
    assert (model.queue.size, model.sleep_after) == (7, None)


def test_launch_variables_stay_in_place() -> None:
    text = """
    macros: {listen: "--port ${PORT}"}
    models:
      m:
        command: run ${listen} --name ${MODEL}
        env: {PORT: "${PORT}"}
        stop_command: kill ${PID}
    """
    model = model_of(text)
    assert model.command == ("run", "--port", "${PORT}", "--name", "${MODEL}")
    assert (model.env, model.stop_command) == ({"PORT": "${PORT}"}, ("kill", "${PID}"))


def test_a_launch_variable_elsewhere_is_a_problem_where_it_is_used() -> None:
    text = """
    macros: {p: "x${PORT}"}
    models:
      m:
        engine: simulated
        description: ${p}
        args: ["${PID}"]
    """
    assert errors_of(text) == [
        "f:5: models.m.description: ${PORT} is only known when an engine starts. "
        "It may stand in a model's command, args, env, health_path, stop_command, sleep_steps and wake_steps.",
        "f:6: models.m.args.0: ${PID} is only known when an engine starts. It may stand in a model's stop_command.",
    ]


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("${env:NOPE}", "environment variable NOPE is not set. Set it, or write ${env:NOPE:-fallback}."),
        ("${comon}", "unknown macro ${comon}. Did you mean ${common}?"),
        ("${HOME}", "unknown macro ${HOME}. Write ${env:HOME} for the environment variable"),
        ("${zzz}", "unknown macro ${zzz}. Define it under macros"),
        ("${PROT}", "unknown macro ${PROT}. Did you mean ${PORT}?"),
        ("${common", '"${" is not closed'),
        ("${}", "unknown macro ${}"),
        ("x${list}", "macro list is a list and cannot be part of a text. Write ${list} alone."),
    ],
)
def test_what_cannot_be_filled_in(value: str, sentence: str) -> None:
    text = f"macros: {{common: x, list: [1]}}\nmodels:\n  a:\n    engine: simulated\n    description: '{value}'"
    (said,) = errors_of(text, {"HOME": "/root"})
    assert said.startswith("f:5: models.a.description: ") and sentence in said


def test_a_broken_variable_is_said_once_and_not_again_as_a_wrong_value() -> None:
    text = "models: {a: {engine: simulated, port: '${env:NOPE}'}}\nserver: {keys: [{name: x, key: '${env:K}'}]}"
    assert [said.split(": ")[1] for said in errors_of(text)] == ["models.a.port", "server.keys.0.key"]


def test_a_fault_inside_a_macro_is_said_once_at_the_macro() -> None:
    text = "macros:\n  m: ${env:NOPE}\nmodels:\n  a: {engine: simulated, description: '${m}'}\n  b: {weights: '${m}'}"
    (said,) = errors_of(text)
    assert said.startswith("f:2: macros.m: environment variable NOPE is not set")


def test_circles_are_said_once() -> None:
    text = "macros: {a: '${b}', b: 'x${c}', c: '${a}'}\nmodels: {m: {weights: '${a}'}}"
    (said,) = errors_of(text)
    assert "macros refer to each other in a circle: a -> b -> c -> a" in said


def test_reserved_and_odd_macro_names() -> None:
    text = "macros: {PORT: 1, 'a b': 2}\nmodels: {m: {engine: simulated}}"
    first, second = errors_of(text)
    assert '"PORT" cannot be a macro' in first and '"a b" cannot be a macro\'s name' in second


def test_runaway_macros_are_refused() -> None:
    doubling = "\n".join(f"  m{n}: ['${{m{n - 1}}}', '${{m{n - 1}}}']" for n in range(1, 15))
    text = f"macros:\n  m0: {list(range(100))}\n{doubling}\nmodels: {{a: {{engine: simulated}}}}"
    assert any("macros grow too large" in said for said in errors_of(text))
    texts = "\n".join(f"  m{n}: '{f'${{m{n - 1}}}' * 30}'" for n in range(1, 9))
    assert any("macros grow too large" in said for said in errors_of(f"macros:\n  m0: x\n{texts}\nmodels: {{}}"))


def test_a_long_chain_of_macros_ends_in_a_sentence() -> None:
    chain = "\n".join(f"  m{n}: ${{m{n - 1}}}" for n in range(1, 1000))
    text = f"macros:\n  m0: x\n{chain}\nmodels: {{a: {{weights: '${{m999}}'}}}}"
    assert any("more than 16 deep" in said for said in errors_of(text))


def test_keys_are_not_interpolated() -> None:
    assert spec_of("models: {'${x}': {engine: simulated}}").models.keys() == {"${x}"}


def test_a_secret_from_the_environment_is_never_shown() -> None:
    env = {"HF_TOKEN": "hf_geheim"}
    text = "macros: {m: '${env:HF_TOKEN}'}\nmodels: {a: {engine: simulated, port: '${env:HF_TOKEN}', pin: '${m}'}}"
    loaded = read(text, env)
    assert len(loaded.problems) == 2 and "geheim" not in repr(loaded)
    assert "geheim" not in "".join(problems_of(text, env))
    (problem,) = read("models: {a: {engine: simulated, api_key: 'geheim${x}'}}").problems
    assert problem.value is None


@pytest.mark.parametrize(
    ("text", "path", "escaped"),
    [
        ("$HOME", ("models", "a", "description"), "$HOME"),
        ("a$$b", ("models", "a", "description"), "a$$$$b"),
        ("${PORT}", ("models", "a", "description"), "$${PORT}"),
        ("${PORT} ${x} $", ("models", "a", "args", 0), "${PORT} $${x} $$"),
        ("${PID}", ("models", "a", "args", 0), "$${PID}"),
        ("${PID}", ("models", "a", "stop_command", 0), "${PID}"),
    ],
)
def test_escape(text: str, path: tuple[str | int, ...], escaped: str) -> None:
    assert escape(text, path) == escaped
