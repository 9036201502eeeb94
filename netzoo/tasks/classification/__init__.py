"""Image classification: its data, loss, metrics, figures and prediction."""
