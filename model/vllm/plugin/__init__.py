"""The plugin that runs inside vLLM."""
