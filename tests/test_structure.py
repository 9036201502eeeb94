"""The structure of the code: downward imports, small files, and configurations."""

import ast
import functools
import graphlib
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from netzoo.config import validate
from netzoo.config.tasks import TASKS

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "netzoo").rglob("*.py"))
ENTRY_POINTS = [ROOT / f"{name}.py" for name in ("train", "eval", "predict")]
# Code that configurations share is not a configuration itself.
CONFIGS = sorted((ROOT / "configs").glob("[a-z]*.py"))

# Layers from the lowest; a layer may import itself, lower layers and the leaves.
FLOORS = (
    *("data", "kernels", "layers", "models", "weights", "tasks", "inspection", "training"),
    *("export", "serving", "demo", "teaching", "cli", "__main__"),
)
# The leaves, which every floor may use, and the parts of netzoo that each leaf uses.
LEAVES = {
    "errors": set(),
    "buckets": {"errors"},
    "cache": {"paths"},
    "console": {"errors"},
    "config": {"buckets", "errors", "files", "json_files", "paths"},
    "csv_files": {"errors", "files"},
    "figures": {"errors", "files"},
    "garbage": set(),
    "files": {"buckets", "errors"},
    "json_files": {"errors", "files"},
    "last_words": set(),
    "limits": {"errors"},
    "lock": {"errors", "files"},
    "progress": {"console", "errors"},
    "mesh": {"errors"},
    "paths": {"buckets", "errors"},
    "processes": {"buckets", "errors"},
    "timing": {"progress"},
    "workdir": {
        *("buckets", "config", "errors", "files", "json_files", "last_words", "limits", "lock"),
        "paths",
    },
}
# These load in seconds or hold a device. The data floor uses only NumPy, so that its worker
# processes stay light.
NOT_FOR_DATA = {"jax", "jaxlib", "flax", "optax", "orbax", "chex"}
# These load in tenths of a second, and only evaluations, figures and event files need them.
FOR_RESULTS = ("matplotlib", "scipy.special", "scipy.stats", "scipy.optimize", "tensorboardX")
# These load in half a second each, and only what reads data sets needs them.
FOR_BATCHES = ("grain", "tensorflow_datasets")
NEVER = {"tensorflow", "torch", "torchvision", "keras", "clu"}
MAX_LINES, MAX_ENTRY_POINT_LINES, MAX_FUNCTION_LINES = 400, 60, 60


def name_of(path: Path) -> str:
    """Return the dotted name of a module."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path) for path in PACKAGE}


@functools.cache
def parsed(path: Path) -> ast.Module:
    """Return the syntax tree of a file."""
    return ast.parse(path.read_text(), str(path))


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports, also inside functions.

    Both `from package import module` and `from module import name` count as the module.
    """
    found = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: write imports out from netzoo"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                is_module = inner in MODULES or node.module == "netzoo"
                found.add(inner if is_module else node.module)
    return found


def floors_used(path: Path) -> set[str]:
    """Return the parts of netzoo that a file imports, e.g. `{"layers", "errors"}`."""
    names = [name.split(".") for name in imports(path)]
    return {name[1] for name in names if name[0] == "netzoo" and len(name) > 1}


def allowed(path: Path) -> set[str]:
    """Return the parts of netzoo that a file may import."""
    part = path.relative_to(ROOT / "netzoo").with_suffix("").parts[0]
    if part == "__init__":
        return {"models", "weights", "tasks"}  # the public functions, on first use
    if part in FLOORS:
        return {*FLOORS[: FLOORS.index(part) + 1], *LEAVES}
    return {part} | LEAVES[part]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def only_offenders(found: dict) -> dict:
    """Return the errors by file, for an assertion that shows all of them at once."""
    return {name: wrong for name, wrong in found.items() if wrong}


def test_every_part_has_its_place():
    """A new folder or module of netzoo must be given a floor here before it is used."""
    parts = {path.relative_to(ROOT / "netzoo").with_suffix("").parts[0] for path in PACKAGE}
    assert parts - {"__init__"} <= {*FLOORS, *LEAVES}


def test_imports_go_down():
    """A layer can be read, tested and replaced without higher layers."""
    wrong = {relative(path): floors_used(path) - allowed(path) for path in PACKAGE}
    assert only_offenders(wrong) == {}


def test_families_import_layers_from_one_place():
    """`netzoo.layers` offers the layers of networks; the floors below it implement them."""
    wrong = {}
    for path in (ROOT / "netzoo" / "models").glob("*.py"):
        nodes = ast.walk(parsed(path))
        modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
        wrong[path.name] = {
            m for m in modules if m.startswith(("netzoo.layers.", "netzoo.kernels."))
        }
    assert only_offenders(wrong) == {}


def test_nobody_else_compares_task_names():
    """A third task needs only a folder of netzoo/tasks and its keys."""
    tasks, at_home = {"translation", "image_classification"}, ("tasks", "config")
    wrong = {}
    for path in PACKAGE + ENTRY_POINTS:
        if not any(path.is_relative_to(ROOT / "netzoo" / part) for part in at_home):
            nodes = ast.walk(parsed(path))
            wrong[relative(path)] = tasks & {
                node.value
                for node in nodes
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
    assert only_offenders(wrong) == {}


def test_text_reaches_the_terminal_through_one_place():
    """`netzoo.console` escapes text from outside, and rich never parses it as markup."""
    wrong = {}
    for path in PACKAGE:
        used = {name.split(".")[0] for name in imports(path)} & {"rich", "termcolor"}
        calls = {node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)}
        used |= {call.id for call in calls if isinstance(call, ast.Name)} & {"print"}
        if relative(path) not in ("netzoo/console.py", "netzoo/progress.py", "netzoo/errors.py"):
            wrong[relative(path)] = used
    assert only_offenders(wrong) == {}


def test_paths_of_users_go_through_one_function():
    """`netzoo.paths.user_path` expands `~` and refuses addresses."""
    calls = {relative(p): p.read_text().count("expanduser") for p in PACKAGE}
    assert {name: n for name, n in calls.items() if n} == {"netzoo/paths.py": 1}


def test_files_are_opened_in_one_place():
    """`netzoo.files` writes beside the final name, follows no link, and reads within bounds.

    For a path in a bucket, it uses `netzoo.buckets`.
    """
    exempt = {
        "netzoo/files.py": ("",),
        "netzoo/buckets.py": ("",),
        "netzoo/config/modules.py": ("path.read_bytes()",),  # a module on the import path
        "netzoo/cli/join.py": ("path.read_text()",),  # in /proc
        "netzoo/cli/prepare.py": ("tarfile.open(", "zipped.open(member)"),  # of the user
        "netzoo/data/sources/tar_index.py": ("tarfile.open(fileobj=",),  # of an open file
        "netzoo/data/decode.py": ("Image.open(",),  # bytes, or an open file
        "netzoo/export/web.py": ("tarfile.open(fileobj=",),  # of bytes
        "netzoo/tasks/translation/predict.py": ("user_path(path).read_bytes()",),  # may be a FIFO
        "netzoo/training/preemption.py": (
            "_PRODUCT.read_text()",
            "direct.open(",
        ),  # /sys; an address
        "netzoo/weights/formats/torch.py": ("archive.open(",),  # of an open file
        "netzoo/workdir/environment.py": ("path.read_text()",),  # /proc/cpuinfo
        "netzoo/figures.py": ("savefig(file, ",),
        "netzoo/cli/main.py": ("open(descriptor, ",),  # standard output, by its number
    }
    wrong = {}
    for path in PACKAGE:
        calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
        allowed = exempt.get(relative(path), ())
        found = {ast.unparse(call) for call in calls if _opens(call)}
        wrong[relative(path)] = {c for c in found if not any(text in c for text in allowed)}
    assert only_offenders(wrong) == {}


def _opens(call: ast.Call) -> bool:
    """Return whether a call opens a file."""
    name = ast.unparse(call.func).split(".")[-1]
    methods = {"write_text", "write_bytes", "read_text", "read_bytes", "touch", "savefig"}
    if name in methods:
        return isinstance(call.func, ast.Attribute)
    return name in ("open", "save_file") and "os.devnull" not in ast.unparse(call)


def test_libraries_leave_standard_output_to_results():
    """`--json` and translations stay readable whatever is noticed on the way."""
    parts = [f"tasks/{task.rpartition('.')[2]}" for task in TASKS.values()]
    files = [f"{part}/{name}.py" for part in parts for name in ("task", "predict")]
    images = ("prediction_output", "single_label", "multi_label")
    files += [f"tasks/classification/{name}.py" for name in images]
    files += ["training/loop.py", "training/evaluate_run.py", "console.py"]
    commands = {ROOT / "netzoo" / name for name in ["cli", *files]}
    wrong = {}
    for path in PACKAGE:
        if not commands & {path, *path.parents}:
            names, text = ("say(", "print_table(", "sys.stdout"), path.read_text()
            wrong[relative(path)] = [name for name in names if name in text]
    assert only_offenders(wrong) == {}


def test_no_program_asks_for_its_platform():
    """`netzoo.kernels` selects the implementation of an operation before tracing."""
    assert [relative(p) for p in PACKAGE if "platform_dependent" in p.read_text()] == []


def test_no_import_circles():
    """The modules within a floor have an order too, including lazy imports."""
    graph = {name_of(path): {n for n in imports(path) if n in MODULES} for path in PACKAGE}
    order = tuple(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the circle
    assert set(order) == MODULES


def test_forbidden_libraries():
    """No second deep-learning library, and no accelerator library in the data pipeline."""
    wrong = {}
    for path in PACKAGE:
        used = {name.split(".")[0] for name in imports(path)}
        wrong[relative(path)] = used & NEVER
        if path.is_relative_to(ROOT / "netzoo" / "data"):
            wrong[relative(path)] |= used & NOT_FOR_DATA
            wrong[relative(path)] |= floors_used(path) & {"mesh", "processes"}  # which import JAX
    assert only_offenders(wrong) == {}


@pytest.mark.parametrize(
    ("loaded", "absent"),
    [
        # Whoever imports netzoo waits for the libraries that he uses.
        ("netzoo", ("numpy", "jax", "flax")),
        # This list would show libraries that load a second framework whenever it is installed.
        ("netzoo.training", ("tensorflow", "torch")),
        # The first step and the first prediction wait for no figure, table or report.
        ("netzoo.training, netzoo.tasks.classification.task", FOR_RESULTS),
        ("netzoo.tasks.classification.predict", (*FOR_RESULTS, *FOR_BATCHES)),
        # The process is set up, and perhaps restarted, before JAX is loaded, which takes seconds.
        ("netzoo.cli.launch, netzoo.config, netzoo.tasks", ("jax",)),
        # Records can be created and listed while a training holds the device.
        ("netzoo.cli.record, netzoo.tasks.classification.record", ("jax",)),
        ("netzoo.tasks.translation.record", ("jax",)),
    ],
)
def test_import_leaves_out(loaded, absent):
    """Imports load no heavy libraries, directly or indirectly."""
    code = f"import sys, {loaded}; print([m for m in {absent} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_entry_points_are_flags_and_one_call():
    """The work of a command can be used and tested without the command."""
    lines = {relative(path): len(path.read_text().splitlines()) for path in ENTRY_POINTS}
    assert {name: n for name, n in lines.items() if n >= MAX_ENTRY_POINT_LINES} == {}
    assert [relative(path) for path in ENTRY_POINTS if "cli" not in floors_used(path)] == []


def test_configs_are_run_cards():
    """The docstring of a configuration is the command that runs it; the values are valid."""
    wrong = {}
    for path in CONFIGS:
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        validate(module.get_config())
        wrong[relative(path)] = imports(path) - {
            "ml_collections",
            "netzoo.config",
            "netzoo.configs",
            "netzoo.configs._flowers",
            "netzoo.configs._imagenet",
        }
        command = f"python train.py --config configs/{path.name}"
        if command not in (module.__doc__ or ""):
            wrong[relative(path)].add(f"the docstring lacks `{command}`")
    assert only_offenders(wrong) == {}


def test_files_are_short():
    """Files are short."""
    folders = ("netzoo", "configs", "benchmarks", "parity", "reliability", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lines = {relative(path): len(path.read_text().splitlines()) for path in ENTRY_POINTS + paths}
    assert {name: n for name, n in lines.items() if n > MAX_LINES} == {}


def test_functions_fit_on_a_screen():
    """Functions fit on a screen."""
    long = set()
    for path in PACKAGE:
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.add(f"{relative(path)}:{node.name}")
    assert long == set()
