"""What each engine kind needs, as values: command line, environment, probe, sleep and wake steps, paths."""
