"""The load generator behind `roost bench`."""
