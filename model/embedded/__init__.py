"""The embedded engine: torch in this process."""

import model.boot  # noqa: F401 - before torch
