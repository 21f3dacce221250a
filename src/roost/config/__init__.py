"""Text to spec: YAML in, a frozen spec and every problem with its line out."""
