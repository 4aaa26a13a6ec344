"""What the server does for an editor, one file a feature."""
