"""Images with their Grad-CAM, for reports."""

import numpy as np

from netzoo.inspection.grad_cam import grad_cam
from netzoo.inspection.overlay import overlay
from netzoo.tasks.classification.predictor import Predictor


def explained(predictor: Predictor, images: list[np.ndarray]) -> list[np.ndarray]:
    """Return images from `predictor.preprocess` with the Grad-CAM of their most probable class.

    Raises:
      UserError: The network has no layer for Grad-CAM.
    """
    maps = grad_cam(predictor, images)
    return [overlay(image, heat) for image, heat in zip(images, maps, strict=True)]
