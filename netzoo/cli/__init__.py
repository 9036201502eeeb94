"""The commands, and the setup of their processes."""
