"""The default model: how it is made, and what it is worth."""

import model.boot  # noqa: F401 - before torch
