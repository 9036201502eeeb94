"""Where labelled images come from: folders, TensorFlow Datasets, drawn flowers."""
