"""Names that clients send, and the model each leads to. A lookup makes nothing; names come and go with their models.

Used by `control/gate.py` alone.
"""

from collections.abc import Mapping

from roost.core.request import Route
from roost.core.spec import ModelSpec, further_names


class Routes:
    """Model names, aliases and adapter names. Config has made sure that those of one file are unique."""

    def __init__(self, models: Mapping[str, ModelSpec]) -> None:
        self._by_name: dict[str, Route] = {}
        self._longest = 0
        for name, spec in models.items():
            self.add(name, spec)

    def add(self, name: str, spec: ModelSpec) -> None:
        """All names of a model lead to it from now on."""
        served = spec.served_name or name
        self._add(name, name, spec, served)
        for further in further_names(name, spec):
            self._add(further, name, spec, further if further in spec.also_serves else served)

    def remove(self, name: str) -> None:
        """None of the model's names leads anywhere any more."""
        self._by_name = {asked: route for asked, route in self._by_name.items() if route.name != name}
        self._longest = max(map(len, self._by_name), default=0)

    @property
    def routes(self) -> Mapping[str, Route]:
        """All of them by the names that lead there, to read."""
        return self._by_name

    def owner(self, asked: str) -> str | None:
        """The model that a name leads to."""
        route = self._by_name.get(asked)
        return None if route is None else route.name

    def _add(self, asked: str, name: str, spec: ModelSpec, served: str) -> None:
        rewrite = served if served != asked else None
        params = {**spec.set_params, **spec.set_params_by_name.get(asked, {})}
        self._by_name[asked] = Route(name=name, asked=asked, spec=spec, rewrite=rewrite, set_params=params)
        self._longest = max(self._longest, len(asked))

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
