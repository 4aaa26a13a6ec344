"""Bytes to messages and back: framing, transports, JSON-RPC."""
