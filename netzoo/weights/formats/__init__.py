"""File formats of weights: read within bounds, and nothing executed."""
