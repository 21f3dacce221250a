"""What stands for host, port and name in a command line."""

import pytest

from roost.core.spec import ModelSpec
from roost.engines.common import fill, own_command


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("--host=${HOST}", "--host=::1"),
        ("${HOST}:${PORT}", "::1:9"),
        ("${MODEL}", "served"),
        ("${host} $PORT $${PORT}", "${host} $PORT $9"),
    ],
)
def test_variables_of_a_launch(text: str, filled: str) -> None:
    assert fill(text, "m", ModelSpec(host="::1", served_name="served"), 9) == filled


def test_command_and_args_are_filled() -> None:
    spec = ModelSpec(command=("run", "${HOST}"), args=("${PORT}", "${MODEL}"), host="h")
    assert own_command("m", spec, 9) == ("run", "h", "9", "m")
