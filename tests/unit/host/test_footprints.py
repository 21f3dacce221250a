"""The book of footprints: claimed, estimated, measured; the larger counts."""

import json
from dataclasses import dataclass, replace

from roost.core.footprint import Footprint, Held, Source
from roost.core.memory_spec import FootprintsSpec, HeldSpec
from roost.core.spec import EngineKind, ModelSpec
from roost.host.footprints import Figure, Footprints, Rung

GIB = 1 << 30
PLAIN = ModelSpec(engine=EngineKind.COMMAND, command=("engine",))
VLLM = ModelSpec(engine=EngineKind.VLLM, weights="org/model")


@dataclass
class Whose:
    id: str = "a/0"
    model: str = "a"
    spec: ModelSpec = PLAIN


def book(device_size: int | None = 80 * GIB) -> Footprints:
    return Footprints(lambda spec: device_size, has_gpu=True)


def test_nothing_is_known_of_an_engine_that_says_nothing() -> None:
    assert book().footprint(Whose()) == Footprint()


def test_what_is_written_wins_over_what_is_guessed_state_by_state() -> None:
    spec = replace(VLLM, footprint=20 * GIB, footprint_asleep=2 * GIB)
    found = book().footprint(Whose(spec=spec))
    assert (found.awake.device, found.awake.source) == (20 * GIB, Source.DECLARED)
    assert (found.level1.device, found.level2.device) == (2 * GIB, 2 * GIB)
    by_state = FootprintsSpec(level1=HeldSpec(device=3 * GIB, host=40 * GIB), level2=HeldSpec(host=5 * GIB))
    found = book().footprint(Whose(spec=replace(spec, footprints=by_state)))
    assert (found.level1, found.level2.device) == (Held(3 * GIB, 40 * GIB, Source.DECLARED), 2 * GIB)
    assert found.level2.host == 5 * GIB
    guessed = book().footprint(Whose(spec=VLLM))
    assert (guessed.awake.device, guessed.awake.source) == (72 * GIB, Source.ESTIMATED)


def test_a_footprint_without_one_for_sleep_keeps_nothing_asleep_as_ever() -> None:
    found = book().footprint(Whose(spec=replace(VLLM, footprint=20 * GIB)))
    assert (found.level1.device, found.level1.source) == (0, Source.DECLARED)


def test_the_larger_of_claimed_and_measured_counts() -> None:
    one, whose = book(), Whose(spec=replace(PLAIN, footprint=20 * GIB))
    one.learn(whose, Rung.AWAKE, Figure(18 * GIB, 3 * GIB))
    assert one.footprint(whose).awake == Held(20 * GIB, 3 * GIB, Source.LEARNED)
    one.learn(whose, Rung.AWAKE, Figure(24 * GIB, None))
    assert one.footprint(whose).awake == Held(24 * GIB, 3 * GIB, Source.LEARNED)
    one.learn(whose, Rung.LEVEL1, Figure(GIB, 9 * GIB))
    assert one.footprint(whose).level1 == Held(GIB, 9 * GIB, Source.LEARNED)


def test_more_is_believed_at_once_and_less_by_and_by() -> None:
    one, whose = book(), Whose()
    one.learn(whose, Rung.AWAKE, Figure(8 * GIB))
    one.learn(whose, Rung.AWAKE, Figure(4 * GIB), only_more=True)
    assert one.footprint(whose).awake.device == 8 * GIB
    one.learn(whose, Rung.AWAKE, Figure(4 * GIB))
    assert one.footprint(whose).awake.device == 7 * GIB
    one.learn(whose, Rung.AWAKE, Figure(10 * GIB), only_more=True)
    assert one.footprint(whose).awake.device == 10 * GIB


def test_awake_it_holds_no_less_than_asleep() -> None:
    one, whose = book(), Whose()
    one.learn(whose, Rung.LEVEL2, Figure(2 * GIB))
    assert one.footprint(whose).awake.device == 2 * GIB


def test_replicas_of_a_model_teach_each_other() -> None:
    one, other = book(), Whose(id="a/1")
    one.learn(Whose(), Rung.AWAKE, Figure(5 * GIB))
    assert one.footprint(other).awake.device == 5 * GIB
    assert one.footprint(Whose(id="b/0", model="b")).awake.device == 0


def test_it_lasts_over_a_restart_and_a_changed_config_forgets() -> None:
    one, whose = book(), Whose()
    one.learn(whose, Rung.AWAKE, Figure(5 * GIB, GIB))
    one.learn(whose, Rung.LEVEL1, Figure(None, 4 * GIB))
    kept = json.loads(json.dumps(one.state()))
    later = book()
    later.restore(kept)
    assert later.footprint(whose) == one.footprint(whose)
    changed = Whose(spec=replace(PLAIN, args=("--max-model-len", "8192")))
    assert later.footprint(changed) == Footprint()
    elsewhere = Whose(spec=replace(PLAIN, port=4711))
    assert later.footprint(elsewhere) == one.footprint(whose)


def test_what_cannot_be_read_is_left_out() -> None:
    one = book()
    kept = {"a": 3, "b": {"f": {"awake": {"device_bytes": -1, "host_bytes": "x"}, "level1": 7}}, "c": {"f": None}}
    one.restore(kept)
    assert one.footprint(Whose()) == Footprint()
    assert one.state() == {}


def test_facts_show_both() -> None:
    one, whose = book(), Whose(spec=replace(PLAIN, footprint=20 * GIB))
    one.learn(whose, Rung.AWAKE, Figure(18 * GIB))
    facts = one.facts(whose)["awake"]
    assert facts["claimed"] == {
        "device_bytes": 20 * GIB,
        "host_bytes": 0,
        "source": "declared",
        "host_source": "unknown",
    }
    assert facts["measured"] == {"device_bytes": 18 * GIB, "host_bytes": None}
    assert facts["counts"]["device_bytes"] == 20 * GIB
    assert one.facts(whose)["level2"]["measured"] == {"device_bytes": None, "host_bytes": None}
