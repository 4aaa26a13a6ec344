"""The engine that asks a server, and what stands in for it."""
