"""Every command, and the setting up of its process."""
