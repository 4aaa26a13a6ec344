"""The errors that users read. Each message is one sentence that says what happened and what to do.

KeyturnError
├── ModelError           the model cannot be used: no such folder, not a checkpoint, an unsupported architecture
├── EngineError          the engine failed while it worked
│   ├── ServerAway       the server does not answer, or not now   (model.vllm.asking.failures)
│   └── ServerRefused    the server answers, and refuses          (model.vllm.asking.failures)
├── RequestError         the request cannot be served as it is
├── LaunchError          vLLM cannot be started with the plugin   (model.vllm.plugin.launch)
└── Cancelled            the caller withdrew the request; there is nothing to report
"""

from __future__ import annotations


class KeyturnError(Exception):
    """Root of the errors that users read."""


class ModelError(KeyturnError):
    """The model cannot be used: no such folder, not a checkpoint, or an architecture keyturn does not know."""


class EngineError(KeyturnError):
    """The engine failed while it worked on a request."""


class RequestError(KeyturnError):
    """The request cannot be served as it is, for example a prompt longer than the model's window."""


class Cancelled(KeyturnError):
    """The caller withdrew the request; there is no result and nothing to report."""
