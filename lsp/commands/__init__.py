"""The subcommands of `keyturn`, one file each, and what they share."""
