"""What a replica is made of: its spec, its adapter, and the hands that reach its engine.

Values only; decides and does nothing. Made by `host/fleet.py` and `roost/tending.py`, read by all that works on a
replica.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import httpx

from roost.core.request import Address
from roost.core.spec import ModelSpec
from roost.engines.base import Adapter, Machine
from roost.host.footprints import Memory, NoMemory
from roost.host.hosted import HostedServer
from roost.host.keepers.base import Keeper
from roost.host.measure import Gauge, MachineGauge
from roost.host.output import Output
from roost.host.store import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a replica is made of."""

    id: str
    model: str
    spec: ModelSpec
    adapter: Adapter
    keeper: Keeper
    address: Address
    machine: Machine
    store: Records
    output: Output
    cwd: str
    last_byte_at: Callable[[], float | None] = field(default=lambda: None)
    """When an answer's byte last came from this engine: a busy engine may be slow to answer probes."""
    answering: Callable[[], Mapping[str, int]] = field(default=dict)
    """Its running answers of which something has come -> a figure that grows with each further piece."""
    transport: httpx.AsyncBaseTransport | None = None
    """How its address is reached; None: by TCP."""
    rng: Random = field(default_factory=Random)
    """What spreads the pauses between tries."""
    server: HostedServer | None = None
    """The server of someone else that it lives in."""
    gauge: Gauge = field(default_factory=MachineGauge)
    """What reads its memory."""
    memory: Memory = field(default_factory=NoMemory)
    """Who keeps account of what it holds."""
