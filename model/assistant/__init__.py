"""A document and a caret in, suggestions out: the pipeline that the server, the commands and the measurements share."""
