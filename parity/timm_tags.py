"""Records the weights that timm publishes of netzoo's networks, and the tensors of each network.

    python -m parity.timm_tags    # writes parity/fixtures/timm_tags.json; needs the extra `parity`

The tests compare the catalogue of published weights with the record: the settings of every row, and
the names and shapes of all tensors, without downloading anything.
"""

import hashlib
import importlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netzoo.models import list_models
from netzoo.models.aliases import ALIASES

FIXTURE = Path(__file__).parent / "fixtures" / "timm_tags.json"
# A network that netzoo nearly has.
NEARLY = ("mobilenetv3_rw",)


def digest(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return a hash of the names and shapes of tensors, in any order."""
    lines = sorted(f"{name} {' x '.join(map(str, shape))}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _tensors(timm: Any, architecture: str, classes: int) -> str:
    torch = importlib.import_module("torch")
    with torch.device("meta"):
        model = timm.create_model(architecture, num_classes=classes)
    state = model.state_dict()
    return digest({n: tuple(x.shape) for n, x in state.items() if "num_batches_tracked" not in n})


def _settings(config: Any) -> dict[str, Any]:
    size, crop = config.test_input_size or config.input_size, config.test_crop_pct
    side = size[-1]
    return {
        "size": side,
        "resize": math.floor(side / (crop or config.crop_pct)),
        "crop_mode": config.crop_mode,
        "interpolation": config.interpolation,
        "mean": [round(255 * value, 3) for value in config.mean],
        "std": [round(255 * value, 3) for value in config.std],
        "classes": config.num_classes,
        "licence": config.license,
    }


def main() -> None:
    """Write the record."""
    timm = importlib.import_module("timm")
    models = importlib.import_module("timm.models")
    names = {*ALIASES, *list_models(), *NEARLY}
    tags = [tag for tag in timm.list_pretrained() if tag.partition(".")[0] in names]
    found: dict[str, dict[str, Any]] = {}
    for tag in sorted(tags):
        settings = _settings(models.get_pretrained_cfg(tag))
        architecture = tag.partition(".")[0]
        settings["tensors"] = _tensors(timm, architecture, settings["classes"])
        found[tag] = settings
    text = ",\n".join(f"{json.dumps(tag)}: {json.dumps(facts)}" for tag, facts in found.items())
    FIXTURE.write_text(f"{{\n{text}\n}}\n")
    print(f"{len(found)} tags of timm {timm.__version__}: {FIXTURE}")


if __name__ == "__main__":
    main()
