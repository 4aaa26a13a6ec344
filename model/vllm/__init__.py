"""vLLM: the plugin that gives it Positional Integrity Encoding, and the engine that asks it.

    plugin.py, connector.py, metrics.py   inside vLLM: the shim
    documents.py, pool.py                 what the shim is made of, without vLLM
    launch.py                             `keyturn vllm serve`
    client.py                             the engine, over HTTP

All but the client are also packed by themselves, as `keyturn-vllm`, for machines that serve and do not edit.
"""
