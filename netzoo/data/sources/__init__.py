"""Sources of labelled images: folders, TensorFlow Datasets, synthetic flowers."""
