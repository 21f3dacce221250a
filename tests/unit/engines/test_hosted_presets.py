"""The presets of `hosts`: what their lists mean, what is called, and which fits a server."""

import json
from typing import Any

import pytest

from roost.core.hosted_spec import HostSpec, Preset
from roost.core.spec import ModelSpec, Task
from roost.core.step_spec import StepSpec
from roost.engines.hosted import HOSTED, Wanted, loads_itself, own_steps
from roost.engines.hosted_presets import WAYS, Generic
from roost.engines.hosted_probe import QUESTIONS, Answers, recognise, said
from roost.engines.registry import adapter_for

LLAMA, OLLAMA, LORA, FIXED = (
    WAYS[preset] for preset in (Preset.LLAMA_SERVER, Preset.OLLAMA, Preset.VLLM_LORA, Preset.FIXED)
)


def listed(*entries: dict[str, Any]) -> list[object]:
    return [{"object": "list", "data": list(entries)}]


def status(name: str, value: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "aliases": more.pop("aliases", []), "status": {"value": value, **more}}


def test_a_sleeping_model_of_the_router_counts_as_loaded_and_a_loading_one_does_not() -> None:
    listing = LLAMA.read(
        listed(
            status("a", "loaded", aliases=["first"]),
            status("b", "sleeping"),
            status("c", "loading"),
            status("d", "unloaded"),
            status("e", "unloaded", failed=True, exit_code=1),
        )
    )
    assert listing is not None
    assert listing.names == ("a", "b", "c", "d", "e")
    assert listing.loaded == {"a", "first", "b"}
    assert listing.busy == {"c"}
    assert listing.failed == {"e"}
    assert listing.holds("c")
    assert not listing.holds("d")


def test_ollama_names_with_and_without_latest_are_one_model() -> None:
    listing = OLLAMA.read([{"models": [{"name": "a:latest"}, {"name": "b:7b"}]}, {"models": [{"name": "a:latest"}]}])
    assert listing is not None
    assert listing.loaded == {OLLAMA.key("a")}
    assert OLLAMA.key("hub.io:80/org/a") == "hub.io:80/org/a:latest"
    assert OLLAMA.key("b:7b") == "b:7b"


def test_adapters_of_vllm_come_and_go_and_the_base_stays() -> None:
    listing = LORA.read(listed({"id": "base", "parent": None}, {"id": "tuned", "parent": "base"}))
    assert listing is not None
    assert listing.loaded == {"base", "tuned"}
    assert listing.permanent == {"base"}
    (step,) = LORA.load(Wanted(name="tuned", source="/adapters/tuned", timeout_s=9))
    assert (step.path, step.json) == ("/v1/load_lora_adapter", {"lora_name": "tuned", "lora_path": "/adapters/tuned"})
    assert step.timeout_s == 9


@pytest.mark.parametrize(
    ("entry", "loaded", "busy"),
    [
        ({"id": "a"}, True, False),
        ({"id": "a", "loaded": False}, False, False),
        ({"id": "a", "state": "Ready"}, True, False),
        ({"id": "a", "status": {"value": "loading"}}, False, True),
        ({"id": "a", "status": "unloaded"}, False, False),
    ],
)
def test_a_generic_list_says_its_states_in_several_ways(entry: dict[str, Any], loaded: bool, busy: bool) -> None:
    listing = Generic().read(listed(entry))
    assert listing is not None
    assert ("a" in listing.loaded, "a" in listing.busy) == (loaded, busy)


def test_a_fixed_server_has_what_it_lists_for_ever() -> None:
    listing = FIXED.read(listed({"id": "a"}))
    assert listing is not None
    assert listing.permanent == listing.loaded == {"a"}
    assert not FIXED.can_load
    assert FIXED.load(Wanted(name="a")) == () == FIXED.unload("a", 1)


@pytest.mark.parametrize("preset", list(WAYS))
@pytest.mark.parametrize("body", [None, [], {}, {"data": "x"}, {"models": 3}])
def test_what_is_no_list_is_not_read(preset: Preset, body: object) -> None:
    way = WAYS[preset]
    assert way.read([body] * len(way.paths)) is None


def test_ollama_keeps_a_model_until_it_is_unloaded() -> None:
    (load,) = OLLAMA.load(Wanted(name="a"))
    (embed,) = OLLAMA.load(Wanted(name="a", task=Task.EMBED))
    (unload,) = OLLAMA.unload("a", 30)
    assert (load.path, load.json["keep_alive"]) == ("/api/generate", -1)
    assert "prompt" not in load.json
    assert (embed.path, embed.json["keep_alive"]) == ("/api/embed", -1)
    assert (unload.path, unload.json["keep_alive"]) == ("/api/generate", 0)


@pytest.mark.parametrize(
    ("preset", "code", "body", "gone"),
    [
        (Preset.LLAMA_SERVER, 400, {"error": {"code": 400, "message": "model is not loaded"}}, True),
        (Preset.LLAMA_SERVER, 400, {"error": {"code": 400, "message": "model 'x' not found"}}, True),
        (Preset.LLAMA_SERVER, 400, {"error": {"code": 400, "message": "the prompt is too long"}}, False),
        (Preset.LLAMA_SERVER, 404, {"error": {"message": "File Not Found", "code": 404}}, False),
        (Preset.LLAMA_SERVER, 500, {"error": {"message": "proxy error: Could not establish connection"}}, True),
        (Preset.LLAMA_SERVER, 500, {"error": {"message": "out of memory"}}, False),
        (Preset.OLLAMA, 404, {"error": "model 'x' not found"}, True),
        (Preset.OLLAMA, 400, {"error": "model 'x' not found"}, False),
        (Preset.VLLM_LORA, 404, {"error": {"message": "The model `x` does not exist.", "code": 404}}, True),
        (Preset.VLLM_LORA, 404, {"detail": "Not Found"}, False),
        (Preset.GENERIC, 404, {"error": {"code": "model_not_found", "message": "no"}}, True),
        (Preset.FIXED, 404, {"object": "error", "message": "The model `x` does not exist.", "code": 404}, True),
    ],
)
def test_which_answers_say_that_a_model_is_not_there(preset: Preset, code: int, body: object, gone: bool) -> None:
    assert WAYS[preset].lacks(code, json.dumps(body).encode()) is gone
    assert not WAYS[preset].lacks(code, b"model not found, in bare text")


def answers(**known: tuple[int, object] | None) -> Answers:
    """By path with `_` for `/`; all else is 404."""
    named = {f"/{path.replace('__', '/')}": answer for path, answer in known.items()}
    return {path: named.get(path, (404, None)) for path in QUESTIONS}


MODELS = (200, {"object": "list", "data": []})


@pytest.mark.parametrize(
    ("seen", "preset"),
    [
        (answers(props=(200, {"role": "router"}), v1__models=MODELS), Preset.LLAMA_SERVER),
        (answers(props=(200, {"total_slots": 4}), v1__models=MODELS), Preset.FIXED),
        (answers(api__tags=(200, {"models": []}), v1__models=MODELS), Preset.OLLAMA),
        (answers(v1__load_lora_adapter=(405, None), v1__models=MODELS), Preset.VLLM_LORA),
        (answers(models__load=(405, None), v1__models=MODELS), Preset.GENERIC),
        (answers(v1__models=MODELS), Preset.FIXED),
    ],
)
def test_the_preset_that_fits_is_found_by_looking(seen: Answers, preset: Preset) -> None:
    found = recognise(seen)
    assert found is not None
    assert found.way.preset is preset


def test_the_calls_of_a_generic_server_are_those_that_it_has() -> None:
    found = recognise(answers(v1__load_model=(405, None), v1__models=MODELS))
    assert found is not None
    assert found.way.load(Wanted(name="a"))[0].path == "/v1/load_model"
    assert found.way.unload("a", 1)[0].path == "/v1/unload_model"


def test_a_server_like_none_of_them_is_not_guessed() -> None:
    seen = answers(v1__models=(401, None))
    assert recognise(seen) is None
    assert "/v1/models 401" in said(seen)


def test_a_hosts_own_calls_name_the_model_and_are_given_its_time() -> None:
    load = StepSpec(endpoint="/up?m=${MODEL}", body={"name": "${MODEL}"})
    spec = HostSpec(url="http://x", load_steps=(load,), unload_steps=(StepSpec(endpoint="/down", timeout=3),))
    assert loads_itself(spec)
    (step,) = own_steps(spec.load_steps, "org-a", ModelSpec(), 77)
    assert (step.path, step.json, step.timeout_s) == ("/up?m=org-a", {"name": "org-a"}, 77)
    assert own_steps(spec.unload_steps, "a", ModelSpec(), 77)[0].timeout_s == 3


def test_the_adapter_of_such_a_model_never_sleeps_and_asks_for_its_own_name() -> None:
    spec = ModelSpec(inside="box", url="http://x", sleep_steps=(StepSpec(endpoint="/s"),))
    assert adapter_for(spec) is HOSTED
    assert HOSTED.sleep_levels(spec) == ()
    assert HOSTED.verify(spec, "there").json["model"] == "there"
    assert HOSTED.verify(ModelSpec(task=Task.OTHER), "there").path == "/v1/models"
    assert "/models/load" in HOSTED.control_paths


def test_further_spellings_are_told() -> None:
    router = LLAMA.read(listed(status("a", "loaded", aliases=["first", 7]), status("b", "unloaded")))
    assert router is not None and router.aliases == {"a": ("first",)}
    ollama = OLLAMA.read([{"models": [{"name": "a:latest"}, {"name": "b:7b"}]}, {"models": []}])
    assert ollama is not None and ollama.aliases == {"a:latest": ("a",)}


def test_ollamas_embedding_models_are_told_by_family_or_name() -> None:
    there = [
        {"name": "nomic", "details": {"families": ["nomic-bert"]}},
        {"name": "qwen3-embedding:0.6b", "details": {"families": ["qwen3"]}},
        {"name": "phi4", "details": {"families": None}},
        {"name": "odd", "details": 3},
    ]
    listing = OLLAMA.read([{"models": there}, {"models": []}])
    assert listing is not None and listing.embeds == {"nomic", "qwen3-embedding:0.6b"}


def test_a_list_without_states_names_only_what_is_loaded() -> None:
    generic = Generic()
    bare, told, empty = (generic.read(listed(*e)) for e in ([{"id": "a"}], [{"id": "a", "status": "loaded"}], []))
    assert bare is not None and bare.partial
    assert told is not None and not told.partial
    assert empty is not None and empty.partial
    for way, partial in ((LORA, True), (FIXED, False), (LLAMA, False)):
        listing = way.read(listed(status("a", "loaded")))
        assert listing is not None and listing.partial is partial
