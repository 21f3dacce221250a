"""Macros of the llama_swap dialect: scope, order, types, variables, and what is wrong with one."""

import pytest

from roost.config.convert import convert
from tests.unit.config.reading import errors_of, model_of, problems_of, read

END = "models:\n  a:\n    cmd: p ${PORT}\n"


def metadata(macros: str, value: str, own: str = "{}") -> object:
    text = f"macros: {macros}\n{END}    macros: {own}\n    metadata: {{x: {value}}}\n"
    return model_of(text, {"HOME": "/home/me"}).metadata["x"]


@pytest.mark.parametrize(
    ("macros", "value", "result"),
    [
        ("{t: 0.7}", '"${t}"', 0.7),
        ("{t: 0.7}", '"t=${t}"', "t=0.7"),
        ("{n: 4096}", '"${n}"', 4096),
        ("{f: true}", '"${f}"', True),
        ('{s: "5"}', '"${s}"', "5"),
        ('{a: "${env.HOME}/models", b: "${a}/x"}', '"${b}"', "/home/me/models/x"),
        ('{a: 3, b: "${a}"}', '"${b}"', 3),
        ("{}", '"${MODEL_ID}"', "a"),
        ("{}", '"${PORT}"', 5800),
        ("{}", '"${env.HOME}"', "/home/me"),
        ("{}", '"${X:-y} $${ ${} $HOME ${"', "${X:-y} $${ ${} $HOME ${"),
    ],
)
def test_values_and_types(macros: str, value: str, result: object) -> None:
    found = metadata(macros, value)
    assert found == result and type(found) is type(result)


def test_a_models_own_win_and_may_use_the_files() -> None:
    assert metadata("{d: /m, f: '${d}/x'}", '"${f}"', "{d: /own}") == "/own/x"
    assert metadata("{d: /m}", '"${g}"', "{g: '${d}/y'}") == "/m/y"


def test_a_macro_may_hold_the_port_and_the_models_name() -> None:
    model = model_of("macros: {start: 'serve --port ${PORT} --name ${MODEL_ID}'}\nmodels: {a: {cmd: '${start} -x'}}\n")
    assert model.command == ("serve", "--port", "${PORT}", "--name", "a", "-x")
    assert model.port == 5800


@pytest.mark.parametrize(
    ("macros", "said"),
    [
        ("{a: '${b}', b: 1}", "a macro may use only those before it"),
        ("{a: '${a}'}", "a macro may use only those before it"),
        ("{b: '${env.NONE}', a: '${b}'}", "environment variable NONE is not set"),
        ("{b: 1}", "unknown macro ${a}"),
        ("{aa: 1}", "Did you mean ${aa}?"),
        ("{b: '${env:X}', a: '${b}'}", "Write ${env.X}"),
    ],
)
def test_faults_name_model_and_field(macros: str, said: str) -> None:
    found = errors_of(f"macros: {macros}\n{END}    description: x ${{a}}\n")
    assert any(said in error for error in found), found
    plain = errors_of(f"{END}    description: x ${{nobody}}\n")
    assert plain == [
        "f:4: models.a.description: unknown macro ${nobody}. "
        "Define it under macros; write ${env.NAME} for an environment variable."
    ]


@pytest.mark.parametrize(
    ("macros", "said"),
    [
        ("{PORT: 1}", '"PORT" cannot be a macro'),
        ("{MODEL_ID: 1}", '"MODEL_ID" cannot be a macro'),
        ("{a.b: 1}", "cannot be a macro's name"),
        (f"{{{'x' * 64}: 1}}", "cannot be a macro's name"),
        ("{a: [1]}", "a list cannot be a macro"),
    ],
)
def test_names_and_kinds_of_macros(macros: str, said: str) -> None:
    assert any(said in error and "f:1: macros." in error for error in errors_of(f"macros: {macros}\n{END}"))


def test_what_is_known_only_elsewhere() -> None:
    (error,) = errors_of(f"{END}    description: ${{PID}}\n")
    assert "${PID} means nothing here. It is known in cmdStop." in error
    (error,) = errors_of(f"apiKeys: ['${{MODEL_ID}}']\n{END}")
    assert "apiKeys.0: ${MODEL_ID} means nothing here" in error


def test_a_fault_of_a_macro_nobody_uses_is_none() -> None:
    assert problems_of(f"macros: {{a: '${{env.NONE}}'}}\n{END}") == []


def test_macros_cannot_grow_without_end() -> None:
    doubled = ", ".join(f"m{n}: '${{m{n - 1}}}${{m{n - 1}}}'" for n in range(1, 60))
    (error,) = errors_of(f"macros: {{m0: x, {doubled}}}\n{END}    description: ${{m25}}\n")
    assert "macros grow too large" in error
    assert any(
        "more than 32 deep" in error for error in errors_of(f"macros: {{m0: '', {doubled}}}\n{END}    name: ${{m59}}\n")
    )
    assert model_of(f"macros: {{m0: '', {doubled}}}\n{END}    description: ${{m25}}\n").description == ""


def test_variables_stay_variables_in_the_native_form() -> None:
    text = f"macros: {{d: '${{env.DIR}}/$x'}}\n{END}    description: '${{d}} ${{env.NOTE}} $$'\n"
    text += "    env: ['A=${env.NOTE}']\n"
    env = {"DIR": "/d", "NOTE": "n"}
    loaded = read(text, env)
    assert loaded.written is not None and loaded.spec is not None
    made = convert(loaded.written).text
    assert "${env:DIR}" in made and "${env:NOTE}" in made
    assert read(made, env).spec == loaded.spec


def test_a_secret_variable_is_shown_nowhere() -> None:
    loaded = read(f"macros: {{k: '${{env.MY_TOKEN}}'}}\n{END}    ttl: ${{k}}\n", {"MY_TOKEN": "geheim"})
    (problem,) = loaded.problems
    assert "geheim" not in problem.render("f")
