"""Image classification: one class in each image, or any number of classes."""

from ml_collections import ConfigDict

from netzoo.tasks.classification.image_classification import ImageClassification
from netzoo.tasks.classification.multi_label import MultiLabelClassification
from netzoo.tasks.classification.single_label import SingleLabelClassification


def task_class(config: ConfigDict) -> type[ImageClassification]:
    """Return the class of the task for the labels of the data; see `data.multi_label`."""
    return MultiLabelClassification if config.data.multi_label else SingleLabelClassification
