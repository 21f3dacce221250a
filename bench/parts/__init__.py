"""The pieces of the benchmark runner. Nothing here is part of the roost package, and nothing here imports it."""
