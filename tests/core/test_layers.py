"""Imports go down only, and never from one room into another."""

import ast
from pathlib import Path

import kintsugi

ROOT = Path(kintsugi.__file__).parent
LAYERS = [
    ["core"],
    ["ops"],
    ["metrics"],
    ["data"],
    ["models"],
    ["training"],
    ["audit", "stress", "discover", "repair", "generate", "detect"],
    ["recipes"],
    ["prove", "report"],
    ["api"],
    ["cli"],
]
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_imports_go_down_only():
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT).with_suffix("").parts[0]
        if place in ("__init__", "__main__"):
            continue
        for name in imports(path):
            parts = name.split(".")
            if parts[0] != "kintsugi" or len(parts) < 2:
                continue
            if parts[1] != place and HEIGHT[parts[1]] >= HEIGHT[place]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_every_folder_has_a_height():
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    assert folders <= set(HEIGHT)


def test_core_never_imports_torch_at_the_top():
    for path in (ROOT / "core").glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
            assert not any((name or "").split(".")[0] == "torch" for name in names if isinstance(name, str)), path


def test_files_stay_small():
    long = {str(p.relative_to(ROOT)): n for p in ROOT.rglob("*.py") if (n := len(p.read_text().splitlines())) > 400}
    assert not long
