"""Pairs of sentences for translation: sources, vocabulary and batches.

source = open_parallel("number_words", "train")
vocabulary = Vocabulary.learn((text for pair in source for text in pair), size=100)
corpus = Corpus.encode(source, vocabulary)
"""

from netzoo.data.text.batches import (
    BucketPlan,
    EvalBatches,
    eval_batches,
    plan_buckets,
    train_dataset,
)
from netzoo.data.text.corpus import Corpus
from netzoo.data.text.parallel import Pair, ParallelSource, open_parallel
from netzoo.data.text.vocabulary import END, PAD, START, UNKNOWN, Vocabulary

__all__ = [
    "END",
    "PAD",
    "START",
    "UNKNOWN",
    "BucketPlan",
    "Corpus",
    "EvalBatches",
    "Pair",
    "ParallelSource",
    "Vocabulary",
    "eval_batches",
    "open_parallel",
    "plan_buckets",
    "train_dataset",
]
