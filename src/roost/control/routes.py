"""Names that clients send, and the model each leads to. Built once from the spec; a lookup makes nothing.

Used by `control/gate.py` alone.
"""

from collections.abc import Mapping

from roost.core.request import Route
from roost.core.spec import ModelSpec


class Routes:
    """Model names, aliases and adapter names. Config has made sure that they are unique."""

    def __init__(self, models: Mapping[str, ModelSpec]) -> None:
        self._by_name: dict[str, Route] = {}
        for name, spec in models.items():
            served = spec.served_name or name
            self._add(name, name, spec, served)
            for alias in spec.aliases:
                self._add(alias, name, spec, served)
            for adapter in spec.also_serves:
                self._add(adapter, name, spec, adapter)
        self._longest = max(map(len, self._by_name), default=0)

    def _add(self, asked: str, name: str, spec: ModelSpec, served: str) -> None:
        rewrite = served if served != asked else None
        self._by_name[asked] = Route(name=name, asked=asked, spec=spec, rewrite=rewrite)

    def resolve(self, name: str) -> Route | None:
        """The route of a name, None if nobody has it."""
        return self._by_name.get(name)

    def match_prefix(self, path: str) -> tuple[Route, str] | None:
        """The longest known name that ends at a slash or at the end of `path`, and what follows it."""
        end = len(path) if len(path) <= self._longest else path.rfind("/", 0, self._longest + 1)
        while end > 0:
            route = self._by_name.get(path[:end])
            if route is not None:
                return route, path[end:]
            end = path.rfind("/", 0, end)
        return None
