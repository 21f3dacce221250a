"""Counting: traffic, latency, metrics. Pure, with `now` passed in."""
