"""Exceptions that cross rooms. Each message is a full sentence: who, what, the numbers, what to do next."""


class RoostError(Exception):
    """Base of all errors that roost raises on purpose; the text is meant for the user."""


class StartError(RoostError):
    """An engine could not be started: missing binary, port taken, weights not found, early exit."""


class StepError(RoostError):
    """A step of a sleep, wake, load or unload sequence failed; the text names step, status and body."""


class StateDirInUse(RoostError):
    """Another roost holds the state directory; the text names its pid."""
