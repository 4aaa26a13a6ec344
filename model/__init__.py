"""Tokens, the KV cache, the engines, and how the default model is made. Knows no LSP."""
