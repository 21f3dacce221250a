"""The walk of `roost selftest`: asks a live router everything that it promises, and judges the answers."""
