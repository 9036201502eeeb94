"""Translation: its data, vocabulary, loss, search, metrics, figures and prediction."""
