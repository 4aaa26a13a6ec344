"""vLLM: the plugin that gives it Positional Integrity Encoding, and the engine that asks it.

plugin/              inside vLLM; packed by itself as `keyturn-vllm`, for machines that serve and do not edit
asking/              the engine that asks a server over HTTP
wire.py, routes.py   what both say to each other
"""
