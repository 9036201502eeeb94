"""The folder of a run, and the names of its files.

    config.json          the configuration, written when training starts
    environment.json     the machine and the package versions, written when training starts
    metrics.jsonl        a line per logged step and per evaluation; tensorboard/ holds the same
    writers.json         the name of the run for services; see `netzoo.workdir.writers`
    checkpoints/STEP/    the last few training states; before the first, `no_checkpoint_yet`
    best/STEP/           the weights with the highest metric on the validation split
    profile/             a trace of some steps, if the key `profile` is True
    curves.png           loss and metric over the epochs, drawn when training ends
    eval.json            the metrics on the test split, written by evaluation
    report.html          a page about this evaluation, for images
    eval_SPLIT/          the results of an evaluation on the validation or the training split
    test_evaluations.json  time, weights and settings of every evaluation on the test split
    lock                 the process that trains in this folder

`netzoo.config` defines the name of config.json, and each task the names of its own files.
"""

ENVIRONMENT_FILE = "environment.json"
METRICS_FILE = "metrics.jsonl"
TENSORBOARD = "tensorboard"
EVENTS = ".netzoo-"  # in the names of the event files in TENSORBOARD
PROFILE = "profile"
CHECKPOINTS = "checkpoints"
BEST = "best"
CURVES_FILE = "curves.png"
EVAL_FILE = "eval.json"
REPORT_FILE = "report.html"
TEST_FILE = "test_evaluations.json"
LOCK_FILE = "lock"

# The weights of a run; see `netzoo.workdir.checkpoint.restore_variables`.
WEIGHTS = ("last", "best", "average")
