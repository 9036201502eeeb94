"""What a run would need on devices that are not there."""
