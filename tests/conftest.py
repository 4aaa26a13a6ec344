"""For all tests: the model floor sets up the threads of torch, and must come before any test imports it."""

import model.boot  # noqa: F401
