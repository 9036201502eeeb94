"""The folder of a run, and the names of what every task's run has in it.

    config.json          the configuration; training writes it at the start
    environment.json     the machine and the versions of packages; training writes it too
    metrics.jsonl        a line for each logged step and each evaluation; tensorboard/ has the same
    checkpoints/STEP/    the last few training states
    best/STEP/           the weights with the highest metric on the validation split
    curves.png           loss and metric over the epochs; training draws it at its end
    eval.json            the metrics on the test split, or another; evaluation writes it
    lock                 the process that trains here

The name of config.json stands in `netzoo.config`, and names that only one task has in that task.
"""

ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
TENSORBOARD = "tensorboard"
CHECKPOINTS = "checkpoints"
BEST = "best"
CURVES_FILE = "curves.png"
EVAL_FILE = "eval.json"
LOCK_FILE = "lock"

# Which weights of a run: `netzoo.workdir.checkpoint.restore_variables` explains them.
WEIGHTS = ("last", "best", "average")
