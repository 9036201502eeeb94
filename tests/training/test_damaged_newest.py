"""Results of commands whose newest checkpoint is damaged: the notice is not among them."""

import json
import shutil

from netzoo.config import load_config
from netzoo.tasks.classification.predict import Options, predict
from tests.training.runs import STEPS, damage


def test_predictions_stay_json(whole, pictures, tmp_path, capfd):
    """Protects `netzoo predict --json`, whose output another program reads."""
    workdir = shutil.copytree(whole, tmp_path / "run")
    damage(workdir / "checkpoints" / str(STEPS) / "state")
    images = [str(pictures / "test" / "daisy")]
    assert predict(load_config(workdir), workdir, images, Options(json=True)) == 0
    done = capfd.readouterr()
    assert len(json.loads(done.out)) == 4
    assert f"checkpoint damaged, left out: {workdir}/checkpoints/{STEPS}" in done.err
