"""The load generator behind `roost bench`: sends requests to any OpenAI-compatible server and measures the answers."""
