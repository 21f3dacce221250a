"""The state directory: one holder, records that survive and that may be broken."""

import os
from pathlib import Path

import pytest

from roost.core.errors import StateDirInUse
from roost.host.store import MAX_SOCKET_PATH, Store, digest, instance_name, state_home


def test_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    first, second = Store(tmp_path / "s"), Store(tmp_path / "s")
    first.lock()
    with pytest.raises(StateDirInUse, match=rf"pid {os.getpid()}\) uses {tmp_path}"):
        second.lock()
    first.close()
    second.lock()
    second.close()


def test_directory_is_for_its_owner_only(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.lock()
    store.write("a/0", {"pid": 1})
    assert (tmp_path / "s").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "s" / "replicas").iterdir())
    store.close()


def test_records_are_read_back_replaced_and_forgotten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.lock()
    store.write("org/a/0", {"pid": 1})
    store.write("org/a/0", {"pid": 2})
    store.write("org-a-0", {"pid": 3})
    assert store.read("org/a/0") == {"pid": 2, "replica": "org/a/0"}
    assert sorted(record["pid"] for record in store.records()) == [2, 3]
    store.forget("org/a/0")
    store.forget("org/a/0")
    assert store.read("org/a/0") is None
    store.close()


@pytest.mark.parametrize("text", ["", "{", "[1]", "\x00\x01"])
def test_broken_record_counts_as_absent(tmp_path: Path, text: str) -> None:
    store = Store(tmp_path)
    store.lock()
    store.write("a/0", {"pid": 1})
    (path,) = (tmp_path / "replicas").glob("*.json")
    path.write_text(text)
    assert store.read("a/0") is None
    assert store.records() == []
    store.close()


def test_long_directory_gets_a_short_socket_in_a_private_place(tmp_path: Path) -> None:
    short = Store(Path("/tmp/s")).admin_socket()
    assert short == Path("/tmp/s/admin.sock")
    path = Store(tmp_path / ("x" * 120)).admin_socket()
    assert len(str(path)) <= MAX_SOCKET_PATH + 7
    assert path.parent.stat().st_mode & 0o077 == 0
    path.parent.rmdir()


def test_instances_of_two_configs_never_meet() -> None:
    assert instance_name("lab", "/a/roost.yaml") == "lab"
    assert instance_name(None, "/a/roost.yaml") != instance_name(None, "/b/roost.yaml")
    long = instance_name(None, "/home/user/projects/llm-serving/configuration/roost.yaml")
    assert long.startswith("llm-serving-configuration-roost-")  # whole words
    assert len(instance_name(None, "/" + "x" * 200)) <= 40
    assert state_home({"XDG_STATE_HOME": "/x"}) == Path("/x/roost")


def test_digest_does_not_depend_on_order() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"b": "2", "a": "1"})
    assert digest(("a", "b")) != digest(("a b",))
