"""Forms of configuration file; each turns into the one spec."""
