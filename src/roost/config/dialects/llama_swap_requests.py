"""What models and peers of llama-swap's form say alike of their requests: filters and time limits, as native keys.

Pure; called by `llama_swap_model` and `llama_swap_peers`.
"""

from collections.abc import Mapping

from roost.config.dialects.fields import Faults, made, written
from roost.config.masking import shown
from roost.config.tree import Node

_FILTERS = ("stripParams", "setParams", "setParamsByID")
_WAITS = {"connect": "connect", "responseHeader": "first_byte", "idleConn": "upstream_idle"}
_NO_LIMIT: Mapping[str, int | str] = {"connect": 130, "first_byte": "never", "upstream_idle": 3600}
"""What 0 comes to. Linux itself gives a connection up after some 130 s; an engine closes an idle one long before."""
_UNUSED_WAITS = ("keepalive", "tlsHandshake", "expectContinue")
_PROTECTED = "model"


def timeouts(faults: Faults, section: Node) -> dict[str, Node]:
    """Time limits towards the engine, in seconds; 0 is no limit."""
    waits = faults.section(section, "timeouts")
    faults.keys(waits, (*_WAITS, *_UNUSED_WAITS), {})
    unused = [waits.mapping[key] for key in _UNUSED_WAITS if written(waits, key) is not None]
    if unused:
        names = ", ".join(str(node.path[-1]) for node in unused)
        hint = "connect bounds the whole of a connection's beginning."
        faults.add(unused[0], f"roost has no use for {names} under timeouts", hint, severity="warning")
    found: dict[str, Node] = {}
    for key, name in _WAITS.items():
        if (seconds := faults.whole(waits, key)) is not None:
            found[name] = made(seconds or _NO_LIMIT[name], waits.mapping[key])
    return found


def filters(faults: Faults, section: Node) -> dict[str, Node]:
    """What is taken out of requests and put into them, in this order; the model's name is left alone."""
    node = faults.section(section, "filters")
    faults.keys(node, _FILTERS, {"strip_params": "Write it as stripParams."})
    found: dict[str, Node] = {}
    if names := _stripped(faults, node):
        found["strip_params"] = made(names, node.mapping["stripParams"])
    if (params := faults.section(node, "setParams")).mapping:
        found["set_params"] = _unprotected(faults, params)
    if (by_name := faults.section(node, "setParamsByID")).mapping:
        named = {name: _unprotected(faults, params) for name, params in by_name.mapping.items()}
        found["set_params_by_name"] = made(named, by_name)
    return found


def _stripped(faults: Faults, node: Node) -> tuple[Node, ...]:
    """`a, b`, or a list of such."""
    told = written(node, "stripParams")
    if told is None:
        return ()
    if isinstance(told.value, Mapping):
        faults.add(told, f"{shown(told, told.path)} is not a text", "Write the names with commas between them: a, b.")
    entries = told.items or (() if isinstance(told.value, tuple | Mapping) else (told,))
    names = [(name.strip(), entry) for entry in entries for name in entry.text.split(",")]
    protected = [entry for name, entry in names if name == _PROTECTED]
    if protected:
        _warn(faults, protected[0])
    return tuple(made(name, entry) for name, entry in names if name not in ("", _PROTECTED))


def _unprotected(faults: Faults, params: Node) -> Node:
    if _PROTECTED not in params.mapping:
        return params
    _warn(faults, params.mapping[_PROTECTED])
    return made({key: value for key, value in params.mapping.items() if key != _PROTECTED}, params)


def _warn(faults: Faults, node: Node) -> None:
    message = "model is left as it is: requests are led by it"
    faults.add(node, message, "Write useModelName for the name that the engine gets.", severity="warning")
