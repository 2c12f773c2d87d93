"""The commands: their options, and the call that does their work."""
