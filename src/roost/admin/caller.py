"""Who asks, as the data plane found out: scopes, key name and model allowlist out of the `X-Roost-*` headers.

The data plane strips these headers from clients, so here they are trusted. Without `X-Roost-Scopes` the request
came straight over the private socket, which only its owner can open: the local operator, who may do everything.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers

from roost.admin.errors import refuse
from roost.core.server_spec import Scope


class Need(StrEnum):
    """What a route asks of the caller."""

    NOTHING = "nothing"
    ANY = "any"
    """Any scope at all: a valid key."""
    READ = "read"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `models` is None where all models may be seen."""

    scopes: frozenset[str]
    by: str
    """For logs and reasons: `cli` for the local operator, else `api:<key name>` or `api`."""
    models: tuple[str, ...] | None = None

    @property
    def sees_all(self) -> bool:
        return self.models is None and bool(self.scopes)

    @property
    def reads(self) -> bool:
        """Whether it may read status, with the engines' addresses."""
        return Scope.ADMIN in self.scopes or Scope.READ in self.scopes

    def sees(self, name: str) -> bool:
        """Whether this caller may know of the model."""
        return self.models is None or any(fnmatchcase(name, pattern) for pattern in self.models)

    def only(self, entries: Iterable[dict[str, Any]], key: str = "name") -> list[dict[str, Any]]:
        """The entries about models this caller may know of."""
        return [entry for entry in entries if self.models is None or self.sees(str(entry.get(key) or ""))]

    def must(self, need: Need) -> None:
        """Refuses with 403 if the caller lacks what the route needs."""
        if need is Need.NOTHING or Scope.ADMIN in self.scopes or need in self.scopes:
            return
        if need is Need.ANY and self.scopes:
            return
        wanted = "a key" if need is Need.ANY else f"a key with the {need} scope"
        has = f"this one has {', '.join(sorted(self.scopes))}" if self.scopes else "none was given"
        refuse(403, "missing_scope", f"This needs {wanted}; {has}. Scopes are set under server.keys.")

    def must_see_all(self, what: str) -> None:
        """Refuses with 403 a key that may use only some models, where an answer speaks of all of them."""
        if self.models is not None:
            message = f"{what} speaks of all models and this key may use only some. Ask with a key without `models`."
            refuse(403, "limited_key", message)


def caller_of(headers: Headers) -> Caller:
    """Read the data plane's headers."""
    scopes = headers.get("x-roost-scopes")
    if scopes is None:
        return Caller(frozenset(Scope), "cli")
    name, models = headers.get("x-roost-key-name"), headers.get("x-roost-models")
    return Caller(
        scopes=frozenset(_split(scopes)),
        by=f"api:{unquote(name)}" if name else "api",
        models=None if models is None else tuple(unquote(part) for part in _split(models)),
    )


def _split(value: str) -> list[str]:
    return [part for part in (piece.strip() for piece in value.split(",")) if part]
