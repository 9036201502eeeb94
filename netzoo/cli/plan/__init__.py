"""Estimates what a run needs on devices that need not exist."""
