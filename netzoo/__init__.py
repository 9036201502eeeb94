"""netzoo: the networks that taught computer vision, in JAX/Flax, and the trainer for them."""

__all__ = ["Predictor", "create_model", "fold_batch_norm", "list_models", "load_weights"]
__version__ = "0.1.0"


def __getattr__(name: str):
    # Loaded on first use: JAX takes seconds to import, and `netzoo.cli.launch` must be able to set
    # the process up before that.
    if name == "Predictor":
        from netzoo.tasks.classification.predictor import Predictor

        return Predictor
    if name == "load_weights":
        import netzoo.weights

        return netzoo.weights.load_weights
    if name in __all__:
        import netzoo.models

        return getattr(netzoo.models, name)
    raise AttributeError(f"module 'netzoo' has no attribute {name!r}")
