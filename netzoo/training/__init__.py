"""The training loop and its parts."""

from netzoo.training.loop import train

__all__ = ["train"]
