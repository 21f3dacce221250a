"""What an adapter does not have, for those that have none of it: orders to sleep, signs of standing still, notices.

Pure; bases of the adapters beside it.
"""

from collections.abc import Sequence

from roost.core.spec import ModelSpec
from roost.core.step import Step
from roost.engines.base import Machine, Notice, Signs


class Sleepless:
    """It cannot be put to sleep, tells nothing of its work, and nothing in its answers is to be pointed out. One that
    goes to sleep by itself says whether it does; the verifying request wakes it."""

    __slots__ = ()

    def sleep_levels(self, spec: ModelSpec) -> tuple[int, ...]:
        return ()

    def sleep(self, spec: ModelSpec, level: int) -> tuple[Step, ...]:
        return ()

    def wake(self, spec: ModelSpec, level: int | None) -> tuple[Step, ...]:
        return ()

    def sleep_query(self, spec: ModelSpec) -> Step | None:
        return None

    def is_asleep(self, status: int, body: object) -> bool | None:
        return None

    def signs(self, spec: ModelSpec) -> Signs:
        return Signs()

    def notices(
        self, spec: ModelSpec, machine: Machine, answers: Sequence[tuple[int, object] | None]
    ) -> Sequence[Notice]:
        return ()
