"""roost: many LLMs behind one OpenAI-compatible port, on fewer GPUs than they need together.

The names below are for use without a server; each is loaded at its first use, for the command line needs none of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from roost.sleep_manager import SleepConfig, SleepManager
    from roost.traffic_monitor import ModelActivityStats, RequestStats, TrafficMonitor

__version__ = "0.1.0"
__all__ = ["ModelActivityStats", "RequestStats", "SleepConfig", "SleepManager", "TrafficMonitor", "__version__"]
_HOMES = {
    "ModelActivityStats": "roost.traffic_monitor",
    "RequestStats": "roost.traffic_monitor",
    "SleepConfig": "roost.sleep_manager",
    "SleepManager": "roost.sleep_manager",
    "TrafficMonitor": "roost.traffic_monitor",
}


if not TYPE_CHECKING:  # a checker that saw it would take any misspelt name

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
