"""``kintsugi new KIND NAME``: the three files of a new method, in a checkout of the project."""

from __future__ import annotations

import argparse
import ast
import json
import sys
import textwrap
from pathlib import Path

from kintsugi.core.card import HOMES
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.files import atomic
from kintsugi.core.registry import entries

EXAMPLES = """examples:
  kintsugi new objective focal_loss
  kintsugi new discoverer spare --room discover/slices
  kintsugi new attack deep_fool --dry-run
"""

MODULE = '''"""ONE SENTENCE: the idea of {name}.

AUTHORS, "TITLE", YEAR. The equations used, by number; where we deviate and why; what could not be verified.
"""

from __future__ import annotations

from kintsugi.core.card import Card

CARD = Card(
    name="{name}",
    kind="{kind}",
    title="one line for the catalogue",
    paper="authors, title, year, identifier",
    card=0,
)


class {cls}:
    """What it does, for a person who has not read the paper.

    Args:
        parameter: meaning, unit, allowed values, default of the paper.
    """

{verbs}
'''

TEST = '''"""{name} against an oracle: an independent implementation, a closed form, or a published table."""

import pytest

from {module} import {cls}


def test_{name}_agrees_with_its_oracle():
    pytest.fail("write the oracle test of {cls} before the method")
'''


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("kind", choices=tuple(HOMES), metavar="KIND", help="one of " + ", ".join(HOMES))
    parser.add_argument("name", metavar="NAME", help="snake_case, the paper's own name")
    parser.add_argument("--room", help="folder below src/kintsugi, where the kind has several homes")
    parser.add_argument("--dry-run", action="store_true", help="only say what would be written")


def run(args: argparse.Namespace) -> int:
    """Write the three files; existing ones are never touched."""
    if not args.name.isidentifier() or args.name != args.name.lower():
        raise BadArgument.of("NAME", args.name, "a snake_case name")
    if args.name in entries():
        raise BadArgument(f"There is already a method named {args.name!r}.", f"See: kintsugi methods {args.name}")
    root = _checkout()
    home = args.room or HOMES[args.kind][0]
    if not any(home == known or home.startswith(f"{known}/") for known in HOMES[args.kind]):
        raise BadArgument.of("--room", home, "a folder below " + " or ".join(HOMES[args.kind]))
    cls = "".join(part.capitalize() for part in args.name.split("_"))
    module = ".".join(("kintsugi", *home.split("/"), args.name))
    words = {"name": args.name, "kind": args.kind, "cls": cls, "module": module, "verbs": _verbs(args.kind)}
    files = {
        root / "src/kintsugi" / home / f"{args.name}.py": MODULE.format(**words),
        root / "tests" / home / f"test_{args.name}.py": TEST.format(**words),
        root / "changes" / f"{args.name}.added.md": f"`{args.name}` ({args.kind}): what it does for a user.\n",
    }
    taken = [path for path in files if path.exists()]
    if taken:
        raise BadData(f"{taken[0]} exists.", "Choose another name; nothing was written.")
    if not args.dry_run:
        for path, text in files.items():
            with atomic(path, "w") as stream:
                stream.write(text)
        package = root / "src/kintsugi" / home / "__init__.py"
        if not package.exists():
            with atomic(package, "w") as stream:
                stream.write(f'"""{home.rsplit("/", 1)[-1].capitalize()} methods."""\n')
    names = [str(path.relative_to(root)) for path in files]
    if args.json:
        print(json.dumps({"files": names, "written": not args.dry_run}))
    else:
        print("\n".join(names))
        print("Now: the oracle test first, then the method; `make docs` writes its catalogue page.", file=sys.stderr)
    return 0


def _verbs(kind: str) -> str:
    """The methods a class of this kind must have, as its protocol declares them."""
    source = (Path(__file__).parents[1] / "core" / "kinds.py").read_text(encoding="utf-8")
    protocol = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == kind.capitalize())
    methods = [ast.unparse(node) for node in protocol.body if isinstance(node, ast.FunctionDef)]
    return textwrap.indent("\n\n".join(methods), "    ")


def _checkout() -> Path:
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "src/kintsugi/core/card.py").exists():
            return folder
    raise BadData(f"{Path.cwd()} is not in a checkout of the project.", "Run this inside the repository.")
