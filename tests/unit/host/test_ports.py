"""Free ports, each handed out once, out of the way of outgoing connections."""

import socket
from pathlib import Path

import pytest

from roost.host.ports import PortPicker, is_free


def test_no_port_twice_and_none_that_the_config_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ports = tmp_path / "range"
    ports.write_text("4100\t60999\n")
    monkeypatch.setattr("roost.host.ports._RANGE", ports)
    monkeypatch.setattr("roost.host.ports._LOWEST", 3000)
    monkeypatch.setattr("roost.host.ports.is_free", lambda host, port: True)
    reserved = set(range(3000, 4090))
    picker = PortPicker(reserved)
    assert {picker.pick("127.0.0.1") for _ in range(10)} == set(range(4090, 4100))
    with pytest.raises(OSError, match="no free port"):
        picker.pick("127.0.0.1")


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    begin = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    picker = PortPicker()
    assert all(picker.pick("127.0.0.1") < max(begin, 2048) for _ in range(20)) or begin <= 2048


def test_taken_port_is_not_free_whatever_the_family() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not is_free("127.0.0.1", taken.getsockname()[1])
        assert not is_free("localhost", taken.getsockname()[1])


def test_address_of_another_machine_is_not_called_taken() -> None:
    with pytest.raises(OSError, match=r"[Cc]annot assign"):
        is_free("192.0.2.1", 8000)
