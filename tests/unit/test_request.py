"""Addresses as they are written into Host fields and messages."""

from roost.core.request import Address


def test_address_is_written_as_a_host_field_takes_it() -> None:
    assert str(Address("127.0.0.1", 80)) == "127.0.0.1:80"
    assert str(Address("::1", 80)) == "[::1]:80"
    assert str(Address("", 0, "/run/a.sock")) == "/run/a.sock"
