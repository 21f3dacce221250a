"""The data plane: bytes between clients and engines, on plain asyncio protocols."""
