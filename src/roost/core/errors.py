"""Exceptions that cross rooms. Each message is a full sentence: who, what, the numbers, what to do next."""


class RoostError(Exception):
    """Base of all errors that roost raises on purpose; the text is meant for the user."""


class StartError(RoostError):
    """An engine could not be started: missing binary, port taken, weights not found, early exit."""


class StepError(RoostError):
    """A step of a sleep, wake, load or unload sequence failed; the text names step, status and body.

    `step` is its number from 1 on, None where no step of the list is to blame. `restart`: the engine is to be started
    afresh at once (the step's `on_failure: restart`).
    """

    def __init__(self, text: str, *, step: int | None = None, restart: bool = False) -> None:
        super().__init__(text)
        self.step = step
        self.restart = restart


class StateDirInUse(RoostError):
    """Another roost holds the state directory; the text names its pid."""
