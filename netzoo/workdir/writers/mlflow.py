"""MLflow: the server of MLFLOW_TRACKING_URI, or else a file in the run folder."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TAG = "netzoo.run"
_MOST_PARAMS = 100  # of one request
_LONGEST = 500  # characters of a value


class Mlflow:
    """A run of MLflow, which a continued run of netzoo resumes."""

    def __init__(self, workdir: Path, identity: str, config: Mapping[str, Any]):
        """Start or resume the run."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient
        from mlflow.entities import Param

        address = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{workdir.resolve()}/mlflow.db")
        self._client = MlflowClient(tracking_uri=address)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "netzoo")
        known = self._client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else self._client.create_experiment(name)
        found = self._client.search_runs([experiment], f"tags.`{_TAG}` = '{identity}'")
        if found:
            self._run = found[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        run = self._client.create_run(experiment, run_name=workdir.name, tags={_TAG: identity})
        self._run = run.info.run_id
        params = [Param(key, str(value)[:_LONGEST]) for key, value in config.items()]
        for first in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(self._run, params=params[first : first + _MOST_PARAMS])

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log numbers in one request."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in numbers.items()]
        self._client.log_batch(self._run, metrics=metrics)

    def close(self) -> None:
        """Mark the run as finished."""
        self._client.set_terminated(self._run)


open_writer = Mlflow
