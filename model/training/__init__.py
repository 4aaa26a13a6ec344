"""The default model: how it is made, and what it is worth."""

import model.embedded  # noqa: F401 - before torch
