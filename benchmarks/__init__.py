import model.embedded  # noqa: F401 - before torch, as the server does
