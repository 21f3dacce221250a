"""What touches one machine: children, probes, steps, log files, the state directory."""
