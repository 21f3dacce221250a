"""Checks of `policy.schedules`: each with its line and the way out."""

import pytest

from roost.core.spec import RoostSpec
from tests.unit.config.reading import errors_of, problems_of, spec_of


def schedule(lines: str, more: str = "", model: str = "") -> str:
    return f"""models:
  chat: {{engine: simulated, aliases: [talk]{model}}}
  coder: {{engine: simulated}}
memory: {{max_resident: 2, devices: {{gpu0: 80GiB}}, reserve: 2GiB}}
policy:
  schedules:
  - {lines}
{more}"""


def test_a_schedule_that_can_be() -> None:
    text = schedule("{when: mon-fri 08:00-18:00, timezone: UTC, pin: [chat], sleep: [coder], devices: {gpu0: 40GiB}}")
    spec: RoostSpec = spec_of(text)
    assert spec.policy.schedules[0].pin == ("chat",)
    assert not problems_of(text)
    assert not problems_of(schedule("{when: sat, devices: {gpu0: 0, host: 5GiB}}"))
    assert not problems_of(
        schedule("{when: sat, devices: {gpu7: 9GiB}}").replace("reserve:", "discover: true, reserve:")
    )


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "{when: mon-fry 08:00-18:00, pin: [chat]}",
            'f:7: policy.schedules.0.when: "fry" is not a day. Did you mean friday?',
        ),
        ("{when: sat 8-18, pin: [chat]}", '"8-18" is not a span of hours. Write it as 08:00-18:00.'),
        ("{when: mon tue, pin: [chat]}", '"mon tue" is not a time window. Write days, hours or both'),
        ("{when: sat, pin: [coder, chatt]}", 'policy.schedules.0.pin.1: "chatt" is not a model. Did you mean "chat"?'),
        ("{when: sat, sleep: [zzz]}", '"zzz" is not a model. Models are: chat, coder.'),
        ("{when: sat, pin: [talk]}", '"talk" is another name of "chat". Write chat.'),
        ("{when: sat, pin: [chat], sleep: [chat]}", 'schedules.0.sleep.0: "chat" is pinned by the same schedule'),
        ("{when: sat, devices: {gpu1: 5GiB}}", '"gpu1" is not a device of memory.devices. Did you mean "gpu0"?'),
        ("{when: sat, devices: {left: 5GiB}}", "Add memory.devices.left: its budget at other hours."),
        (
            "{when: sat, pin: [chat, coder], max_resident: 1}",
            "schedules.0.max_resident: 2 models are pinned at these hours (chat, coder), but max_resident is 1",
        ),
    ],
)
def test_a_schedule_that_cannot(lines: str, said: str) -> None:
    assert any(said in error for error in errors_of(schedule(lines))), errors_of(schedule(lines))


def test_pins_of_the_config_count_as_well() -> None:
    text = schedule("{when: sat, max_resident: 1, pin: [coder]}", model=", pin: true")
    assert any("2 models are pinned at these hours (chat, coder)" in error for error in errors_of(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (schedule("{when: sat}"), "policy.schedules.0: does nothing"),
        (schedule("{when: sat, sleep: [chat]}", model=", pin: true"), '"chat" is pinned, so it never goes down'),
        (schedule("{when: sat, devices: {gpu0: 1GiB}}"), "leaves nothing beside the reserve of 2.0 GiB"),
        (schedule("{when: sat, pin: [later]}", "models_dir: {path: /weights}\n"), "until a folder or host brings it"),
    ],
)
def test_what_is_only_odd(text: str, said: str) -> None:
    assert spec_of(text)
    assert any(said in problem for problem in problems_of(text)), problems_of(text)


def test_one_faulty_schedule_hides_no_fault_of_the_others_and_adds_none() -> None:
    faulty = (
        "{when: mon, max_resident: 0}",
        "{when: sat, pin: [zzz]}",
        "{pin: [chat]}",
        "daily",
        "{when: [sat], pin: [chat]}",
        "{when: sat, colour: 1}",
        "{when: fry, sleep: [coder]}",
    )
    found = errors_of(schedule(faulty[0], "".join(f"  - {one}\n" for one in faulty[1:])))
    assert [line.split(" ")[:2] for line in found] == [
        ["f:7:", "policy.schedules.0.max_resident:"],
        ["f:8:", "policy.schedules.1.pin.0:"],
        ["f:9:", "policy.schedules.2:"],
        ["f:10:", "policy.schedules.3:"],
        ["f:11:", "policy.schedules.4.when:"],
        ["f:12:", "policy.schedules.5.colour:"],
        ["f:13:", "policy.schedules.6.when:"],
    ]
