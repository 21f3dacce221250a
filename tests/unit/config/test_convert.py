"""`convert`: the native form of a file, with what it keeps and what it leaves out."""

from collections.abc import Mapping

from roost.config.convert import Conversion, convert
from roost.config.dump import config_hash
from roost.config.load import load
from tests.unit.config.reading import BASE, HOME, read

SECRETS = """
server: {keys: [{name: n, key: geheim1}, {name: m, key: "${env:KEY}"}]}
models:
  org/a:
    weights: ${env:DIR}/a.gguf
    venv: ~/v
    args: ["--x '1 2'", "--api-key geheim2", "--token=${env:KEY}"]
    env: {HF_TOKEN: geheim3, OTHER: "${env:HF}", MY_SECRET: geheim4, API_KEY: geheim7, X: "${env:API_KEY}"}
    api_key: geheim5
  b:
    command: run --token geheim6 --key ${env:KEY} ${PORT}
    env: {HF_TOKEN: other3}
"""
ENV = {"KEY": "geheim-key", "DIR": "./d", "HF": "hf", "API_KEY": "mine"}


def converted(text: str, env: Mapping[str, str] | None = None, *, show_secrets: bool = False) -> Conversion:
    """The conversion, after a look at whether it comes to the same."""
    loaded = read(text, env)
    assert loaded.written is not None and loaded.spec is not None, loaded.problems
    made = convert(loaded.written, show_secrets=show_secrets)
    known = {**(env or {}), **{left.variable: left.value for left in made.left_out}}
    again = load(made.text, file="f", env=known, home=HOME, base_dir=BASE)
    assert again.spec == loaded.spec, (again.problems, made.text)
    assert again.dialect == "native" and again.spec is not None
    assert config_hash(again.spec) == config_hash(loaded.spec)
    return made


def test_a_short_file_stays_short() -> None:
    text = "models:\n  a:\n    weights: ./a.gguf\n    args:\n    - --ctx-size 4096\n"
    assert converted(text).text == text
    assert converted("{models: {a: {weights: ./a.gguf, args: ['--ctx-size 4096'], pin: no, port: }}}").text == text


def test_secrets_become_variables() -> None:
    made = converted(SECRETS, ENV)
    assert "geheim" not in made.text and "other3" not in made.text
    assert {left.variable: left.value for left in made.left_out} == {
        "ROOST_KEYS_0_KEY": "geheim1",
        "ROOST_ORG_A_ARGS_3": "geheim2",
        "HF_TOKEN": "geheim3",
        "MY_SECRET": "geheim4",
        "API_KEY_2": "geheim7",
        "ROOST_ORG_A_API_KEY": "geheim5",
        "ROOST_B_COMMAND_2": "geheim6",
        "HF_TOKEN_2": "other3",
    }
    assert "geheim" not in repr(made.left_out)
    for line in (
        "weights: ${env:DIR}/a.gguf",
        "OTHER: ${env:HF}",
        "--token=${env:KEY}",
        "venv: ~/v",
        "key: ${env:KEY}",
        "HF_TOKEN: ${env:HF_TOKEN}",
        "HF_TOKEN: ${env:HF_TOKEN_2}",
    ):
        assert line in made.text, made.text


def test_secrets_are_written_where_that_is_asked_for() -> None:
    made = converted(SECRETS, ENV, show_secrets=True)
    assert made.left_out == ()
    assert all(f"geheim{number}" in made.text for number in range(1, 8))
    assert "geheim-key" not in made.text and "--api-key geheim2" in made.text


def test_macros_and_defaults_are_used_up_and_what_is_alike_becomes_a_default() -> None:
    text = """
    macros: {root: "${env:DIR}", port: 5}
    defaults: {env: {A: "${root}/x", P: "$${PORT} $$"}, queue: {size: 3}, sleep_after: never}
    models:
      a: {weights: org/a, aliases: [x]}
      b: {weights: org/b, args: ["--n ${port}"]}
    """
    made = converted(text, ENV)
    lines = made.text.splitlines()
    assert lines[:6] == [
        "defaults:",
        "  env:",
        "    A: ${env:DIR}/x",
        "    P: ${PORT} $$",
        "  sleep_after: never",
        "  queue:",
    ]
    assert "- --n 5" in made.text and "macros" not in made.text


def test_the_kvcached_dialect() -> None:
    text = """
    kvcached: {kvcached_gpu_utilization: 0.95}
    router: {enable_router: true}
    instances:
      - model: org/a
        engine: vllm
        using_venv: true
        venv_path: ../v
        kvcached_env: ["HF_TOKEN=${env:HF}", "API_KEY=geheim1", 'A=$${x} $$ ${y} "$"']
        engine_args: ["--port=${env:P}", "--api-key geheim2", "--q ${env:Q:-d}", "$${env:HF}"]
      - {model: b, engine: sgl}
      - {model: b, engine: sgl, engine_env: [CUDA_VISIBLE_DEVICES=1, "ROCR_VISIBLE_DEVICES=${env:HF}"]}
    """
    made = converted(text, {"HF": "geheim-hf", "P": "99"})
    assert "geheim" not in made.text
    assert {left.variable for left in made.left_out} == {"API_KEY", "ROOST_ORG_A_COMMAND_7"}
    for line in (
        "HF_TOKEN: ${env:HF}",
        "port: ${env:P}",
        "- ${env:Q:-d}",
        "venv: ../v",
        "session_prefix: kvcached-",
        "ROCR_VISIBLE_DEVICES: ${env:HF}",
    ):
        assert line in made.text, made.text
    assert "listen" not in made.text and "preload: true" in made.text.partition("models:")[0]


def test_a_variable_that_holds_several_words_is_written_out() -> None:
    text = 'instances: [{model: m, engine: vllm, args: ["${env:MORE}"]}]'
    made = converted(text, {"MORE": "--a --b"})
    assert "- --a\n" in made.text and "MORE" not in made.text
    made = converted(text.replace("MORE", "MY_TOKEN"), {"MY_TOKEN": "--a --b"})
    assert "- --a\n" not in made.text and len(made.left_out) == 2


def test_a_command_line_stays_as_written_around_its_secrets() -> None:
    text = """models:
      a:
        command: |
          run "a  b" ${env:MORE} \\
            --api-key 'geheim 1'  --api-key=geheim2 ${PORT}
    """
    made = converted(text, {"MORE": "--x --y"})
    first, second = (left.variable for left in made.left_out)
    assert (
        "    command: |\n"
        '      run "a  b" ${env:MORE} \\\n'
        f"        --api-key '${{env:{first}}}'  '--api-key=${{env:{second}}}' ${{PORT}}\n"
    ) in made.text
    made = converted('models: {a: {command: "run --api-key \'ge\\"heim\' ${PORT}"}}', {})
    assert "- --api-key\n" in made.text and made.left_out[0].value == 'ge"heim'


def test_steps_keep_their_variables_and_lose_their_secrets() -> None:
    made = converted(
        """
        defaults:
          wake_steps: [{endpoint: "/w?x=${env:DIR}", timeout: 2m, if: {level: 2}}]
        models:
          a:
            weights: x/y
            sleep_steps:
              - endpoint: /s/${MODEL}
                body: {a: "$$ ${MODEL}", deep: [{b: true}], token: geheim1}
                headers: {Authorization: "Bearer ${env:KEY}", X-Api-Key: geheim2}
              - {endpoint: /s, parallel: true, if: {step: 1, at: "a[k=v]", equals: {x: null}}}
              - {endpoint: /s, parallel: true}
          b: {weights: x/z, sleep_steps: [{endpoint: /s}]}
        """,
        ENV,
    )
    assert "geheim" not in made.text
    assert {left.variable: left.value for left in made.left_out} == {
        "ROOST_A_SLEEP_STEPS_0_BODY_TOKEN": "geheim1",
        "ROOST_A_SLEEP_STEPS_0_HEADERS_X_API_KEY": "geheim2",
    }
    for line in ("/s/${MODEL}", "a: $$ ${MODEL}", "endpoint: /w?x=${env:DIR}", "Authorization: Bearer ${env:KEY}"):
        assert line in made.text
    assert made.text.startswith("defaults:\n  wake_steps:\n")
