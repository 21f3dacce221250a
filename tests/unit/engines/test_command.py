"""Any program by its own command line."""

from roost.core.spec import ModelSpec, Task
from roost.engines.base import Machine
from roost.engines.command import COMMAND

MACHINE = Machine(python="python")


def test_port_and_name_are_filled_in_and_arguments_follow() -> None:
    spec = ModelSpec(command=("srv", "--port=${PORT}"), args=("--name", "${MODEL}"), served_name="x")
    assert COMMAND.launch("m", spec, 81, MACHINE).argv == ("srv", "--port=81", "--name", "x")


def test_nothing_but_the_health_path_is_assumed() -> None:
    spec = ModelSpec(command=("srv", "${PORT}"), health_path="/up", task=Task.EMBED)
    assert COMMAND.probe(spec).path == "/up"
    assert COMMAND.verify(spec, "m").name == "GET /up"
    assert COMMAND.verify(ModelSpec(), "m").name == "GET /health"
    assert COMMAND.sleep_levels(spec) == ()
    assert COMMAND.sleep_query(spec) is None


def test_program_must_be_there_and_must_learn_its_port() -> None:
    def messages(spec: ModelSpec) -> list[str]:
        return [problem.message for problem in COMMAND.validate("m", spec)]

    assert messages(ModelSpec()) == ["engine command needs `command` or `url`"]
    assert messages(ModelSpec(command=("srv",))) == ["nothing tells the program which port to listen on"]
    assert messages(ModelSpec(command=("srv",), port=81)) == []
    assert messages(ModelSpec(command=("srv",), env={"PORT": "${PORT}"})) == []
    assert messages(ModelSpec(url="http://127.0.0.1:1")) == []
