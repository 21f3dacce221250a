"""The REST API: an ordinary ASGI application on a private Unix socket, reached through the one port."""
