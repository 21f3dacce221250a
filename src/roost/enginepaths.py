"""Which paths belong to the engines in use, and which control one; models come and go in it.

Knows paths only: who may use them is the data plane's to say. Made by `app`, asked by the data plane for each request
that is none of `/v1/*`.
"""

from collections.abc import Mapping

from roost.core.request import Route
from roost.core.spec import ModelSpec
from roost.engines.registry import adapter_for

KNOWN_PATHS = 4096


class EnginePaths:
    """Implements `proxy.ports.Paths` by the adapters of the models in use."""

    def __init__(self, models: Mapping[str, ModelSpec]) -> None:
        self._serves: dict[str, frozenset[str]] = {}
        self._any: frozenset[str] = frozenset()
        self._controls: dict[str, frozenset[str]] = {}
        self._below: dict[str, tuple[str, ...]] = {}
        self._known: dict[tuple[str, str], bool] = {}
        self.add(models)

    def add(self, models: Mapping[str, ModelSpec]) -> None:
        for name, model in models.items():
            adapter = adapter_for(model)
            self._serves[name] = frozenset(adapter.inference_paths)
            self._controls[name] = frozenset(adapter.control_paths)
            self._below[name] = tuple(f"{path}/" for path in adapter.control_paths)
        self._any = frozenset().union(*self._serves.values())

    def forget(self, name: str) -> None:
        for known in (self._serves, self._controls, self._below):
            known.pop(name, None)
        self._any = frozenset().union(*self._serves.values())
        self._known = {asked: found for asked, found in self._known.items() if asked[0] != name}

    def is_inference(self, path: str) -> bool:
        return path in self._any

    def serves(self, route: Route, path: str) -> bool:
        return path in self._serves[route.name]

    def controls(self, route: Route, path: str) -> bool:
        asked = (route.name, path)
        known = self._known.get(asked)
        if known is None:
            known = path in self._controls[route.name] or path.startswith(self._below[route.name])
            if len(self._known) < KNOWN_PATHS:  # paths come from clients: their number is not ours to choose
                self._known[asked] = known
        return known
