"""`X-Roost-Next`: a hint reaches the fleet where the key may use the model, and never the engine."""

import asyncio

import pytest

from roost.core.server_spec import KeySpec, Scope, ServerSpec
from tests.component.proxy.test_relay import OK, Reader, Writer, post, read_answer
from tests.support.plane import FixedFleet, engine, read_request, running_plane

KEYS = (
    KeySpec(name="all", key="k-all"),
    KeySpec(name="few", key="k-few", models=("a", "b")),
    KeySpec(name="probe", key="k-probe", may_wake=False),
    KeySpec(name="reader", key="k-reader", scopes=(Scope.READ,)),
)


def hints_of(key: str, header: bytes) -> tuple[list[str], bytes]:
    """What the fleet hears of one request with that header, and the head that the engine got."""
    seen: list[bytes] = []

    async def play(reader: Reader, writer: Writer) -> None:
        seen.append((await read_request(reader))[0])
        writer.write(OK)

    async def main() -> list[str]:
        async with engine(play) as one:
            fleet = FixedFleet({name: [one.address] for name in ("a", "b", "c")}, aliases={"bee": "b"})
            async with running_plane(fleet, ServerSpec(keys=KEYS)) as plane:
                reader, writer = await plane.open()
                extra = b"Authorization: Bearer %b\r\nX-Roost-Next: %b\r\n" % (key.encode(), header)
                writer.write(post(extra=extra))
                await read_answer(reader)
                writer.close()
                return fleet.hints

    return asyncio.run(main()), seen[0] if seen else b""


@pytest.mark.parametrize(
    ("key", "header", "heard"),
    [
        ("k-all", b"b", ["b"]),
        ("k-all", b" b ,, c,b", ["b", "c"]),
        ("k-all", b"bee, nobody", ["b"]),
        ("k-few", b"b, c", ["b"]),
        ("k-probe", b"b", []),
        ("k-all", b"b\r\nX-Roost-Next: c", ["b", "c"]),
        ("k-all", b",".join(b"x%d" % n for n in range(8)) + b",b", []),
        ("k-all", b"\xff", []),
    ],
)
def test_who_is_heard(key: str, header: bytes, heard: list[str]) -> None:
    hints, sent = hints_of(key, header)
    assert hints == heard
    assert sent and b"x-roost" not in sent.lower()


def test_whoever_may_not_infer_is_not_heard() -> None:
    hints, sent = hints_of("k-reader", b"b")
    assert (hints, sent) == ([], b"")
