"""vLLM calls `register` when it starts, in each of its processes, through the entry point `vllm.general_plugins`."""

from __future__ import annotations

CONNECTOR = "KeyturnConnector"
"""The name to give as `kv_connector` in `--kv-transfer-config`."""


def register() -> None:
    """Make the connector known by its name. vLLM may call this more than once in a process."""
    from vllm.distributed.kv_transfer.kv_connector.factory import KVConnectorFactory

    if CONNECTOR not in KVConnectorFactory._registry:
        KVConnectorFactory.register_connector(CONNECTOR, "model.vllm.plugin.connector", CONNECTOR)
