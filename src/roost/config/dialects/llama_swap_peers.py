"""Peers of llama-swap's form: servers elsewhere, each of whose models becomes a model with a `url`.

`PEER/MODEL` is its name; the bare name is another one where only one peer has it and no model of the file. Pure;
called by `llama_swap`.
"""

from collections import Counter
from collections.abc import Collection

from roost.config.dialects import llama_swap_requests as requests
from roost.config.dialects.fields import Faults, made, written
from roost.config.tree import Node

_KEYS = ("proxy", "apiKey", "models", "filters", "timeouts", "name", "description")
_FIRST_BYTE_S = 60
_CONNECT_S = 30


def peers(faults: Faults, root: Node, taken: Collection[str]) -> dict[str, Node]:
    """The models of all peers by their full names; `taken` are the names of the file's own models."""
    section = faults.section(root, "peers")
    found = {peer: _names(faults, node) for peer, node in section.mapping.items()}
    owners = Counter(name.text for names in found.values() for name in names)
    models: dict[str, Node] = {}
    for peer, names in found.items():
        for name in names:
            full = f"{peer}/{name.text}"
            free = owners[name.text] == 1 and name.text not in taken
            if full in taken or full in models:
                faults.add(name, f'"{full}" is already the name of a model', "Rename the peer or the model.")
            else:
                models[full] = _model(faults, section.mapping[peer], name, is_unique=free)
    return models


def _names(faults: Faults, peer: Node) -> tuple[Node, ...]:
    """The models that a peer has; also reports what else is wrong with it, once."""
    faults.keys(peer, _KEYS, {"tailcatkey": "Reach the peer by its address: proxy: http://HOST:PORT."})
    proxy = faults.text(peer, "proxy")
    if proxy is None and written(peer, "proxy") is None:
        faults.add(peer, '"proxy" is missing', "Add proxy: http://HOST:PORT.")
    elif proxy is not None and proxy.text.startswith("tailcat:"):
        faults.add(proxy, "tailcat is not supported", "Write the peer's address: http://HOST:PORT.")
        return ()
    names = dict.fromkeys(item.text for item in faults.listed(peer, "models"))
    by_text = {item.text: item for item in reversed(faults.listed(peer, "models"))}
    if not names:
        faults.add(peer, "has no models, so nothing leads to it", "Add models: [NAME, ...].", severity="warning")
    return tuple(by_text[text] for text in names if text)


def _model(faults: Faults, peer: Node, name: Node, *, is_unique: bool) -> Node:
    waits = {"connect": made(_CONNECT_S, peer), "first_byte": made(_FIRST_BYTE_S, peer)}
    model = {
        "engine": made("command", peer),
        "url": written(peer, "proxy") or made("", peer, "proxy"),
        "task": made("other", peer),
        "health_path": made("none", peer),
        "served_name": made(name.text, name),
        "sleep_after": made("never", peer),
        "timeouts": made({**waits, **requests.timeouts(faults, peer)}, peer),
        **requests.filters(faults, peer),
    }
    if (key := written(peer, "apiKey")) is not None:
        model["api_key"] = key
    if (description := written(peer, "description")) is not None:
        model["description"] = description
    if is_unique:
        model["aliases"] = made((made(name.text, name),), name)
    return made(model, name)
