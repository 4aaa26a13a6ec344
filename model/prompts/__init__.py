"""From a file's tokens and a caret to what the model reads."""
