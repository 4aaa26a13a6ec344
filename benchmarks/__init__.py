import model.boot  # noqa: F401 - before torch, as the server does
