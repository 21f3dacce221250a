"""Checks of `fallback`, and of what keys say about classes and shares."""

import pytest

from tests.unit.config.reading import errors_of, problems_of, spec_of


def models(*fallback: str, more: str = "") -> str:
    listed = ", ".join(fallback)
    return f"""models:
  a: {{engine: simulated, aliases: [nick], fallback: [{listed}]}}
  big-b: {{engine: simulated, aliases: [other]}}
  e: {{engine: simulated, task: embed}}
{more}"""


def test_fallbacks_that_can_be() -> None:
    text = models("big-b")
    assert spec_of(text).models["a"].fallback == ("big-b",)
    assert not problems_of(text)
    assert not problems_of(models("other"))


@pytest.mark.parametrize(
    ("fallback", "said"),
    [
        (("big-c",), 'f:2: models.a.fallback.0: "big-c" is not a model. Did you mean "big-b"?'),
        (("big-b", "a"), 'f:2: models.a.fallback.1: "a" is the model itself'),
        (("nick",), '"nick" is the model itself'),
        (("zzzzz",), "Models are: a, big-b, e."),
        (("e",), '"e" has task embed and never answers for a model with task generate'),
    ],
)
def test_fallbacks_that_cannot(fallback: tuple[str, ...], said: str) -> None:
    assert any(said in error for error in errors_of(models(*fallback))), errors_of(models(*fallback))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (models("big-b", "big-b"), "stands here twice"),
        (models("later", more="models_dir: {path: /weights}\n"), "until a folder or host brings it"),
        (models("later", more="hosts: {h: {url: 'http://h:1'}}\n"), "until a folder or host brings it"),
        (
            models("big-b", more="server: {keys: [{name: k, key: s, scopes: [read], weight: 2}]}\n"),
            'does nothing: the key "k" may not infer',
        ),
    ],
)
def test_what_is_only_odd(text: str, said: str) -> None:
    assert spec_of(text)
    assert any(said in str(problem) for problem in problems_of(text)), problems_of(text)
