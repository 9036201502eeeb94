"""The model card of a hub folder: metrics, data, command and licence, as far as they are known."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import netzoo
from netzoo.errors import printable
from netzoo.json_files import read_json
from netzoo.weights.catalogue import CATALOGUE
from netzoo.weights.hub.find import is_hub_name
from netzoo.weights.recognise import Weights
from netzoo.workdir import ENVIRONMENT_FILE, EVAL_FILE

_EVALUATION = {"accuracy": float, "interval": [float, float], "count": int, "split": str}
_SHOWN = 20  # class names
_UNKNOWN = "unknown; the owner of the weights decides"
_LICENCES = ("apache-2.0", "bsd-3-clause", "mit", "cc-by-nc-4.0")  # the hub's names


def run_facts(workdir: Path, config: Any) -> dict[str, Any]:
    """Return what a run says about itself: data, scores, command, initial weights, licence.

    Raises:
      UserError: A file of the run is damaged.
    """
    facts: dict[str, Any] = {
        "data": config.data.source,
        "train_split": config.data.train_split,
        "init": config.init.weights,
    }
    if (path := workdir / EVAL_FILE).exists():
        facts |= {key: read_json(path, _EVALUATION)[key] for key in _EVALUATION}
    if (path := workdir / ENVIRONMENT_FILE).exists():
        found = read_json(path, {"command?": str, "weights?": {"licence?": (str, None)}})
        facts["command"] = found.get("command")
        facts["licence"] = found.get("weights", {}).get("licence")
    return facts


def weights_facts(weights: Weights) -> dict[str, Any]:
    """Return what the catalogue, the Hugging Face Hub or a file says about weights."""
    facts: dict[str, Any] = {"licence": weights.licence}
    if is_hub_name(weights.path):
        facts["init"] = str(weights.path)
    if published := CATALOGUE.get(weights.known_from):
        facts |= {"init": published.name, "address": published.address}
    return facts


def model_card(
    name: str,
    config: Mapping[str, Any],
    title: str,
    class_names: Sequence[str],
    facts: Mapping[str, Any],
) -> str:
    """Return the card in Markdown; `config` is that of `hub_config`."""
    licence = facts.get("licence")
    known = next((tag for tag in _LICENCES if (licence or "").lower().startswith(tag)), None)
    shown = ", ".join(map(_text, class_names[:_SHOWN]))
    more = f" and {len(class_names) - _SHOWN:,} more" if len(class_names) > _SHOWN else ""
    images = config["pretrained_cfg"]
    lines = [
        "---",
        "library_name: timm",
        "pipeline_tag: image-classification",
        *([f"license: {known}"] if known else []),
        "tags: [image-classification, timm, netzoo]",
        "---",
        f"# {_text(title)}",
        "",
        f"{_text(name)} (timm: {config['architecture']}) for {len(class_names):,} classes: "
        f"{shown}{more}.",
        "",
        "```python",
        "import timm",
        "",
        'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # or "hf-hub:NAME"',
        "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))",
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| images | {images['input_size'][-1]} pixels, central crop of {images['crop_pct']:.3f} |",
        *_rows(facts),
        f"| licence of the weights | {_text(licence or _UNKNOWN)} |",
        f"| exported by | netzoo {netzoo.__version__} |",
        "",
    ]
    if facts.get("command"):
        lines += ["Trained by:", "", "```sh", _line(facts["command"]), "```", ""]
    return "\n".join(lines)


def _rows(facts: Mapping[str, Any]) -> list[str]:
    rows = []
    if "accuracy" in facts:
        low, high = facts["interval"]
        rows.append(
            f"| accuracy | {facts['accuracy']:.2%} (95 % interval {low:.2%} to {high:.2%}) on "
            f"{facts['count']:,} images of {_text(facts['split'])} |"
        )
    for key, label in (
        ("data", "data"),
        ("train_split", "trained on"),
        ("init", "initial weights"),
        ("address", "published at"),
    ):
        if facts.get(key):
            rows.append(f"| {label} | {_text(str(facts[key]))} |")
    return rows


def _line(text: str) -> str:
    return printable(text).replace("```", "")


def _text(text: str) -> str:
    """Escape the characters of a text that Markdown or HTML would interpret."""
    return re.sub(r"[\\`*_\[\]<>|#&]", r"\\\g<0>", printable(text))
