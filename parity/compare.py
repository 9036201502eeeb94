"""Compares netzoo with the stored numbers of the reference implementations.

python -m parity.compare [CASE ...] [--evaluation]

Logits are compared in float32, as they are used. Training mode is compared in float64: in float32,
rounding moves activations across the kink of a ReLU, and a single one changes gradients by several
percent, PyTorch's own as well (`python -m parity.reference --rounding CASE`).
"""

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from netzoo.layers import AUXILIARY
from netzoo.models import create_model
from netzoo.weights.families import layouts
from netzoo.weights.state_dict import to_tensors, to_variables
from parity import generator
from parity.cases import CASES, LABEL_SMOOTHING, NUM_CLASSES, Case

FIXTURES = Path(__file__).parent / "fixtures"


def load(name: str) -> dict[str, Any]:
    """Read the fixture of a case."""
    return json.loads((FIXTURES / f"{name}.json").read_text())


class Comparison:
    """One network with the reference's weights, through netzoo's own converter."""

    def __init__(self, name: str):
        """Generate and convert the weights; raise an error if a name or a shape does not fit."""
        self.case: Case = CASES[name]
        self.fixture = load(name)
        tensors = generator.weights({n: tuple(s) for n, s in self.fixture["tensors"].items()})
        if generator.fingerprint(tensors) != self.fixture["fingerprint"]:
            raise ValueError(f"{name}: NumPy's numbers differ from those of the fixture")
        inputs = self.case.inputs()
        self.inputs = [x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in inputs]
        model = self.model(jnp.float32)
        shapes = jax.eval_shape(
            lambda key: model.init(key, *self.inputs, train=False), jax.random.key(0)
        )
        self.layout = layouts(model)[self.case.layout](model, shapes)
        self.variables = to_variables(tensors, self.layout, shapes, name)

    def model(self, dtype: jnp.dtype):
        """Create the network without dropout, with the compute dtype `dtype`."""
        options = {"dropout_rate": 0.0, **self.case.options}
        return create_model(self.case.model, num_classes=NUM_CLASSES, dtype=dtype, **options)

    def evaluation_error(self) -> float:
        """Return the largest relative error of the logits in evaluation mode, in float32."""
        model = self.model(jnp.float32)
        apply = jax.jit(lambda variables, x: model.apply(variables, *x, train=False))
        return _relative(apply(self.variables, self.inputs), self.fixture["evaluation"]["logits"])

    def training_errors(self) -> dict[str, float]:
        """Return the largest relative errors of logits, statistics and gradients in training."""
        with jax.enable_x64(True):
            return self._training_errors(*jax.tree.map(_float64, (self.variables, self.inputs)))

    def _training_errors(self, variables, inputs) -> dict[str, float]:
        model = self.model(jnp.float64)
        params, rest = variables["params"], {n: t for n, t in variables.items() if n != "params"}

        def loss(params):
            logits, state = model.apply(
                {"params": params, **rest},
                *inputs,
                train=True,
                mutable=["batch_stats", AUXILIARY],
                rngs={"dropout": jax.random.key(0)},
            )
            values = {"logits": logits, **state.pop(AUXILIARY, {})}
            total = sum(
                (value * generator.normal(f"loss {name}", value.shape)).sum()
                for name, value in values.items()
            )
            return total, (values, state)

        gradients, (values, state) = jax.jit(jax.grad(loss, has_aux=True))(params)
        reference = self.fixture["training"]
        if set(values) != set(reference):
            raise ValueError(f"outputs are {sorted(values)}, the reference has {sorted(reference)}")
        # With the reference's names and layout. `to_tensors` needs all variables, so each call adds
        # the variables that are not compared.
        statistics = to_tensors({"params": params, **state}, self.layout)
        gradients = to_tensors({**variables, "params": gradients}, self.layout)
        return {
            "training": max(_relative(values[name], reference[name]) for name in reference),
            "statistics": _largest(statistics, self.fixture["statistics"]),
            "gradients": _largest(gradients, self.fixture["gradients"]),
        }

    def translation_errors(self) -> dict[str, float]:
        """Return the relative errors of the loss of a translation and of its gradients.

        The loss is the mean of the smoothed cross-entropy over the real tokens, in float64.
        """
        with jax.enable_x64(True):
            return self._translation_errors(*jax.tree.map(_float64, (self.variables, self.inputs)))

    def _translation_errors(self, variables, inputs) -> dict[str, float]:
        model, (source, target) = self.model(jnp.float64), inputs
        labels = target[:, 1:]

        def loss(variables):
            rngs = {"dropout": jax.random.key(0)}
            real = labels != 0
            total, _ = model.apply(
                variables,
                source,
                target[:, :-1],
                labels,
                real / real.sum(),
                LABEL_SMOOTHING,
                train=True,
                rngs=rngs,
                method="cross_entropy",
            )
            return total

        value, gradients = jax.jit(jax.value_and_grad(loss))(variables)
        reference = self.fixture["translation"]
        return {
            "loss": _relative(value, reference["loss"]),
            "gradients": _largest(to_tensors(gradients, self.layout), reference["gradients"]),
        }


def _largest(tensors: dict[str, np.ndarray], reference: dict[str, list[float]]) -> float:
    ours = {name: generator.summary(name, tensors[name]) for name in reference}
    return generator.largest_error(ours, reference)


def _float64(value: np.ndarray) -> jax.Array:
    wide = np.float64 if np.issubdtype(value.dtype, np.floating) else value.dtype
    return jnp.asarray(value, wide)


def _relative(ours: jax.Array, reference: list | float) -> float:
    reference = np.asarray(reference)
    return float(np.abs(np.asarray(ours, np.float64) - reference).max() / np.abs(reference).max())


def main() -> None:
    """Print the tables of errors and of translation losses, of all cases or the named ones."""
    parser = argparse.ArgumentParser(prog="python -m parity.compare", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--evaluation", action="store_true", help="leave out training mode")
    flags = parser.parse_args()
    kinds = ["evaluation"] + ([] if flags.evaluation else ["training", "statistics", "gradients"])
    print("| case | reference | px | " + " | ".join(kinds) + " |")
    print("|---|---|--:|" + "--:|" * len(kinds))
    translations = {}
    for name in flags.cases or CASES:
        comparison = Comparison(name)
        errors = {"evaluation": comparison.evaluation_error()}
        if not flags.evaluation:
            errors |= comparison.training_errors()
            if "translation" in comparison.fixture:
                translations[name] = comparison.translation_errors()
        version = comparison.fixture["versions"][comparison.case.library].split("+")[0]
        edit = f", `{comparison.case.edit}`" if comparison.case.edit else ""
        reference = f"{comparison.case.library} {version} `{comparison.case.reference}`{edit}"
        shown = " | ".join(f"{errors[kind]:.1e}" for kind in kinds)
        print(f"| {name} | {reference} | {comparison.case.image_size} | {shown} |", flush=True)
    if translations:
        print("\n| case | loss | gradients |\n|---|--:|--:|")
    for name, errors in translations.items():
        print(f"| {name} | {errors['loss']:.1e} | {errors['gradients']:.1e} |")


if __name__ == "__main__":
    main()
