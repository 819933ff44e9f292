"""The rooms of DESIGN section 3, kept by reading the source: who may import whom, and what nobody does on import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "instantid"

# From the bottom up. A room imports from layers below its own, never from its own: siblings do not know each other.
LAYERS = [
    "errors memo",
    "people image_files",
    "request dotted",
    "images styles bundles face_drawing skeletons views saved_person effort",
    "prints provenance adapter_file lora_file inversion_file library mini_tokenizer saved_people regions placing "
    "face_measures",
    "metadata branches vocabulary",
    "repeating",
    "making history",
    "batch compare",
    "faces controls identity nets single_files style_reference body prompts schedulers "
    "recipes tuning preview progress acceleration mini",
    "scene loading advice remedies faceid",
    "guides painting",
    "second_passes models",
    "pictures",
    "engine",
    "ui hosting doctor trial serving training",
    "evaluation",
    "__init__",  # the public face of the package
    "cli",
    "app __main__",
]
LAYER = {room: height for height, rooms in enumerate(LAYERS) for room in rooms.split()}
UI_MAY_IMPORT = {
    room for room, height in LAYER.items() if height < LAYER["faces"]
}  # never what leads to a model

ONLY_IN = {"gradio": "app ui", "insightface": "faces"}
WITHOUT_MODELS = (
    "errors request effort styles images image_files faces face_drawing skeletons dotted prints metadata repeating "
    "making batch compare bundles library history ui"
)
NEVER_IN = dict.fromkeys(("torch", "diffusers", "transformers"), WITHOUT_MODELS)
FACE_CLASSES = {"FaceDetectorYN", "FaceRecognizerSF"}  # OpenCV's
MUTATING = {"append", "add", "update", "extend", "insert", "pop", "clear", "remove", "discard", "setdefault"}
AT_IMPORT = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
)


def sources() -> list[Path]:
    return [file for file in [ROOT / "app.py", *sorted(PACKAGE.rglob("*.py"))] if file.exists()]


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py") if PACKAGE in file.parents else file.stem


def imports(tree: ast.Module, depth: int) -> Iterator[str]:
    """Dotted names; those from this package begin with "instantid.". `depth`: of the file inside the package."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            yield from (f"instantid.{node.module or alias.name}" for alias in node.names)


def wrong_imports(room: str, tree: ast.Module, depth: int = 1) -> list[str]:
    if room not in LAYER:
        return [f"{room} has no layer: give it one in LAYERS, and a line in DESIGN section 3"]
    told = []
    for name in imports(tree, depth):
        library, other, *_ = [*name.split("."), ""]
        if library == "instantid" and other != room:
            other = other if other in LAYER else "__init__"  # `from instantid import Engine`
            if LAYER[other] >= LAYER[room] or (room == "ui" and other not in UI_MAY_IMPORT):
                told.append(f"{room} imports {other}")
        if (library in ONLY_IN and room not in ONLY_IN[library].split()) or (
            library in NEVER_IN and room in NEVER_IN[library].split()
        ):
            told.append(f"{room} imports {library}")
    return told


def wrong_uses(room: str, tree: ast.Module) -> list[str]:
    """The environment, the command line and OpenCV's face classes outside their rooms; prints."""
    told = []
    excused = {
        id(node)
        for function in tree.body
        if isinstance(function, ast.FunctionDef) and (room, function.name) == ("bundles", "default_cache")
        for node in ast.walk(function)  # XDG_CACHE_HOME says where caches lie
    }
    for node in ast.walk(tree):
        words = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Name)) else ""
        outside = words in {"os.environ", "os.getenv", "sys.argv"} and id(node) not in excused
        if (outside or words == "print") and room not in {"app", "cli", "__main__"}:
            told.append(f"{room} uses {words}")
        if words.split(".")[-1] in FACE_CLASSES and room != "faces":
            told.append(f"{room} uses {words}")
    return told


def state(room: str, tree: ast.Module) -> list[str]:
    """Statements that do work at import, and names of the module that its functions write to.

    It sees what the source says plainly: `NAME[…] =`, `NAME.append(…)`, `global NAME`, cached functions.
    """
    told = []
    for node in tree.body:
        documents = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        guard = isinstance(node, ast.If) and ast.unparse(node.test) in {
            "TYPE_CHECKING",
            "__name__ == '__main__'",
        }
        if room != "__main__" and not (isinstance(node, AT_IMPORT) or documents or guard):
            told.append(f"{room}:{node.lineno} works at import: {ast.unparse(node).splitlines()[0]}")
    names = {
        target.id
        for node in tree.body
        if isinstance(node, (ast.Assign, ast.AnnAssign))
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        written: ast.expr | None = None
        if isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            written = node.value
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATING
        ):
            written = node.func.value
        if isinstance(written, ast.Name) and written.id in names:
            told.append(f"{room}:{node.lineno} writes to {written.id}, which outlives the call")
        if isinstance(node, ast.Global):
            told.append(f"{room}:{node.lineno} says global")
        decorators = getattr(node, "decorator_list", [])
        if any(word in ast.unparse(each) for each in decorators for word in ("lru_cache", "functools.cache")):
            told.append(f"{room}:{node.lineno} is cached for ever: {node.name}")
    return told


@pytest.mark.parametrize("file", sources(), ids=lambda file: str(file.relative_to(ROOT)))
def test_a_room_keeps_to_its_place(file):
    room, tree = room_of(file), ast.parse(file.read_text(encoding="utf-8"))
    depth = len(file.relative_to(PACKAGE).parts) if PACKAGE in file.parents else 0
    assert wrong_imports(room, tree, depth) + wrong_uses(room, tree) + state(room, tree) == []


@pytest.mark.parametrize(
    ("room", "source", "problem"),
    [
        ("images", "from .engine import Engine", "images imports engine"),
        ("prompts", "def f():\n    from . import identity", "prompts imports identity"),
        ("styles", "from .images import fit", "styles imports images"),
        ("ui", "from ..faces import Attempt", "ui imports faces"),
        ("ui", "from instantid import Engine", "ui imports __init__"),
        ("engine", "import instantid.ui", "engine imports ui"),
        ("engine", "import gradio as gr", "engine imports gradio"),
        ("request", "import torch.nn", "request imports torch"),
        ("scene", "from insightface.app import FaceAnalysis", "scene imports insightface"),
        ("attic", "", "attic has no layer"),
        ("scene", "import cv2\ndef f():\n    cv2.FaceDetectorYN.create()", "scene uses cv2.FaceDetectorYN"),
        ("engine", "import os\ndef f():\n    return os.environ['HOME']", "engine uses os.environ"),
        ("bundles", "import os\ndef f():\n    return os.getenv('HOME')", "bundles uses os.getenv"),
        ("engine", "def f():\n    print(1)", "engine uses print"),
        ("engine", "load_everything()", "engine:1 works at import"),
        ("engine", "SEEN = {}\ndef f(x):\n    SEEN[x] = 1", "writes to SEEN"),
        ("engine", "SEEN: list = []\ndef f(x):\n    SEEN.append(x)", "writes to SEEN"),
        ("engine", "N = 0\ndef f():\n    global N", "says global"),
        ("engine", "import functools\n@functools.lru_cache\ndef f():\n    pass", "cached for ever: f"),
    ],
)
def test_what_is_out_of_place_is_seen(room, source, problem):
    tree = ast.parse(source)
    depth = 2 if room == "ui" else 1
    told = wrong_imports(room, tree, depth) + wrong_uses(room, tree) + state(room, tree)
    assert len(told) == 1 and problem in told[0]


def test_what_is_in_place_is_let_be():
    source = (
        "import os\ndef default_cache():\n    return os.environ['XDG_CACHE_HOME']\nfrom ..errors import X"
    )
    tree = ast.parse(source)
    assert wrong_imports("bundles", tree, 2) + wrong_uses("bundles", tree) + state("bundles", tree) == []


WATCHED_IMPORT = """
import sys, threading

def watch(event, arguments):
    if event in {"socket.connect", "socket.bind", "socket.getaddrinfo", "subprocess.Popen"}:
        raise RuntimeError(f"{event} {arguments}")
    if event == "open" and str(arguments[0]).endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".onnx")):
        raise RuntimeError(f"{arguments[0]} was read")

sys.addaudithook(watch)
import app
slow = {"torch", "diffusers", "transformers", "insightface"} & set(sys.modules)
assert not slow, f"{slow} came along: the page is to be up before them"
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_the_app_reads_no_weights_serves_nothing_and_calls_nobody():
    run = subprocess.run(
        [sys.executable, "-c", WATCHED_IMPORT], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
