"""A simulated engine: a real HTTP server that behaves like vLLM with sleep mode, and can be told to misbehave."""
