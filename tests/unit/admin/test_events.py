import asyncio

from roost.admin.events import Hub, Reader
from tests.support import virtual


async def all_of(reader: Reader) -> list[int]:
    return [event["n"] async for event in reader]


def test_every_reader_hears_everything_from_its_start() -> None:
    async def main() -> None:
        hub = Hub()
        first = hub.subscribe()
        hub.publish({"n": 1})
        second = hub.subscribe()
        hub.publish({"n": 2})
        hub.close()
        assert await all_of(first) == [1, 2]
        assert await all_of(second) == [2]

    virtual.run(main())


def test_a_reader_that_waits_is_woken_by_news_and_by_the_end() -> None:
    async def main() -> None:
        hub = Hub()
        reader = hub.subscribe()
        loop = asyncio.get_running_loop()
        loop.call_later(1.0, hub.publish, {"n": 1})
        assert (await anext(reader))["n"] == 1
        loop.call_later(1.0, hub.close)
        assert await all_of(reader) == []

    virtual.run(main())


def test_a_slow_reader_is_dropped_with_what_it_has_and_the_others_go_on() -> None:
    async def main() -> None:
        hub = Hub(queue=2)
        slow, quick = hub.subscribe(), hub.subscribe()
        heard = []
        for n in range(4):
            hub.publish({"n": n})
            heard.append((await anext(quick))["n"])
        assert heard == [0, 1, 2, 3]
        assert await all_of(slow) == [0, 1]
        assert hub.readers == 1

    virtual.run(main())


def test_readers_are_bounded_and_closing_one_frees_its_place() -> None:
    async def main() -> None:
        hub = Hub(readers=2)
        first, second = hub.subscribe(), hub.subscribe()
        await second.aclose()
        hub.subscribe()
        assert hub.readers == 2
        hub.subscribe()
        assert hub.readers == 2
        assert await all_of(first) == []
        assert await all_of(second) == []

    virtual.run(main())


def test_who_comes_after_the_end_hears_the_end() -> None:
    async def main() -> None:
        hub = Hub()
        hub.close()
        assert await all_of(hub.subscribe()) == []

    virtual.run(main())
