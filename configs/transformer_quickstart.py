"""A small Transformer that translates numbers to English words and back.

    python train.py --config configs/transformer_quickstart.py --workdir runs/numbers
    python eval.py --workdir runs/numbers
    python predict.py --workdir runs/numbers 31415 "two hundred thousand seven"

netzoo generates the pairs and downloads nothing. The numbers of the test split occur in no other
split. On two CPU cores (AMD EPYC), training takes 2 min 15 s and evaluation 15 s. With seed 0, the
last weights and a beam of 4, 99.95 % of the 2,000 test pairs are exactly right.
"""

from ml_collections import ConfigDict

from netzoo.config import default_config


def get_config() -> ConfigDict:
    """Return the configuration."""
    config = default_config("translation")
    # Layers, width, MLP width and heads; `dropout_rate` overrides the last number.
    config.model.update(name="transformer_tiny", variant=(2, 128, 256, 4, 0.1), dropout_rate=0.1)
    config.data.source = "number_words"
    config.data.vocabulary_size = 128
    config.data.lengths = (12,)
    config.train.epochs = 6
    config.train.batch_size = 2048
    config.train.label_smoothing = 0.1
    config.optimizer.learning_rate = 2e-3
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 1.0
    config.evaluation.extra_length = 16
    return config
