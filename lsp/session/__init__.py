"""What one client's session holds: documents, settings, the engine's thread, what the user is told."""
