"""A page in the browser to try runs: classes and Grad-CAM of pictures, translations."""
