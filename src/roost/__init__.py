"""roost: many LLMs behind one OpenAI-compatible port, on fewer GPUs than they need together."""

__version__ = "0.1.0"
