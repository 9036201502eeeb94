"""Finds weights in repositories of the Hugging Face Hub and in folders that look like one."""
