"""What failures come to: counted, tried again after a growing wait, given up after too many; forgotten in the end.

Changes the replica's counters only; its state is `fact`'s. Called by `replica`, `watching` and `inside`.
"""

from typing import TYPE_CHECKING

from roost import clock
from roost.core.lifecycle import Fact

if TYPE_CHECKING:
    from roost.host.replica import Replica

STABLE_S = 60.0
"""A replica that was ready this long has recovered: earlier failures are forgotten."""


def fail(replica: "Replica", event: Fact, why: str, *, permanent: bool = False) -> None:
    """Count it, set the time of the next try, or give up. What runs elsewhere is never given up: it is awaited."""
    back_off(replica, why)
    rule = replica.spec.restart
    replica.fact(event, why)
    if replica.owned and (permanent or replica.failures >= rule.tries):
        after = rule.retry_failed_after
        replica.retry_at = None if after is None else clock.now() + after
        replica.fact(Fact.TRIES_USED_UP, why)


def back_off(replica: "Replica", why: str) -> None:
    """Count a failure, and set the time of the next try."""
    forget_if_stable(replica)
    replica.failures += 1
    replica.last_error = why
    rule = replica.spec.restart
    replica.retry_at = clock.now() + min(rule.backoff * 2 ** min(replica.failures - 1, 30), rule.backoff_max)


def forget_if_stable(replica: "Replica") -> None:
    """A replica that was ready for STABLE_S has recovered."""
    if replica.became_ready_at is not None and clock.now() - replica.became_ready_at >= STABLE_S:
        replica.failures = 0
