"""The simulated engine: a real HTTP server that behaves, or misbehaves, like vLLM."""
