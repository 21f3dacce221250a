"""HTTP/1.1 and OpenAI forms as pure functions and small state machines; bytes in, values out."""
