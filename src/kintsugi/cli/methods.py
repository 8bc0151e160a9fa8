"""``kintsugi methods``: the catalogue, read from the cards without importing a method."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from kintsugi.core.card import KINDS, Card
from kintsugi.core.errors import BadData
from kintsugi.core.files import atomic
from kintsugi.core.registry import Entry, entries, find

EXAMPLES = """examples:
  kintsugi methods                       every method, a line each
  kintsugi methods --kind objective      of one kind
  kintsugi methods config                one method with its configuration
  kintsugi methods --write docs/methods  write the catalogue pages
  kintsugi methods --check docs/methods  exit with 1 when the pages are not true to the cards
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="one method")
    parser.add_argument("--kind", choices=KINDS, help="only this kind")
    parser.add_argument("--write", metavar="DIR", help="write the catalogue as Markdown")
    parser.add_argument("--check", metavar="DIR", help="check that the catalogue in DIR is up to date")


def run(args: argparse.Namespace) -> int:
    """List, show, write or check."""
    if args.write or args.check:
        return _pages(Path(args.write or args.check), write=bool(args.write))
    if args.name:
        return _show(find(args.name), as_json=args.json)
    chosen = [entry for entry in entries().values() if args.kind in (None, entry.card.kind)]
    if args.json:
        print(json.dumps([{**entry.card.as_dict(), "idea": entry.idea} for entry in chosen], indent=2))
        return 0
    kind = ""
    for entry in chosen:
        if entry.card.kind != kind:
            kind = entry.card.kind
            print(f"\n{kind}")
        print(f"  {entry.card.name:24}{entry.card.title}" + (f"  [{entry.card.status}]" if entry.card.status else ""))
    print(f"\n{len(chosen)} methods. `kintsugi methods NAME` shows one with its configuration.")
    return 0


def _show(entry: Entry, *, as_json: bool) -> int:
    rows = _configuration(entry)
    if as_json:
        print(json.dumps({**entry.card.as_dict(), "idea": entry.idea, "parameters": rows}, indent=2))
        return 0
    card = entry.card
    print(f"{card.name} ({card.kind}): {card.title}\n\n{entry.idea}\n\npaper: {card.paper}")
    if card.code:
        print(f"official code: {card.code}")
    print(f"needs: {', '.join(card.needs) or 'nothing more'}\nstatus: {_verdicts(card)}\n\nconfiguration:")
    for row in rows:
        print(f"  {row['name']:20}{row['type']:28}{'required' if row['required'] else row['default']}")
    return 0


def _configuration(entry: Entry) -> list[dict[str, Any]]:
    """Names, types and defaults of the constructor, read from the source so that nothing heavy is imported."""
    import ast

    tree = ast.parse(
        Path(sys.modules["kintsugi"].__path__[0], *entry.module.split(".")[1:]).with_suffix(".py").read_text()
    )
    wanted = entry.card.name.replace("_", "")
    node = next(n for n in tree.body if isinstance(n, ast.ClassDef) and n.name.lower() == wanted)
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is None:  # a dataclass: its annotated fields are its configuration
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        return [_row(ast.unparse(n.target), n.annotation, n.value) for n in fields]
    names = init.args.args[1:] + init.args.kwonlyargs
    plain: list[Any] = [None] * (len(init.args.args) - 1 - len(init.args.defaults)) + list(init.args.defaults)
    return [_row(a.arg, a.annotation, d) for a, d in zip(names, plain + list(init.args.kw_defaults), strict=True)]


def _row(name: str, annotation: Any, default: Any) -> dict[str, Any]:
    import ast

    kind = ast.unparse(annotation) if annotation is not None else ""
    return {"name": name, "type": kind, "required": default is None, "default": ast.unparse(default) if default else ""}


def _pages(folder: Path, *, write: bool) -> int:
    wanted = {f"{kind}.md": _page(kind) for kind in KINDS if any(e.card.kind == kind for e in entries().values())}
    wanted["README.md"] = _index(wanted)
    if write:
        for name, text in wanted.items():
            with atomic(folder / name, "w") as stream:
                stream.write(text)
        print(f"wrote {len(wanted)} pages to {folder}")
        return 0
    if not folder.is_dir():
        raise BadData(f"{folder} does not exist.", f"Run: kintsugi methods --write {folder}")
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}
    stale = sorted(name for name in set(wanted) | set(found) if wanted.get(name) != found.get(name))
    for name in stale:
        print(f"{folder / name} is not true to the cards; run: kintsugi methods --write {folder}", file=sys.stderr)
    return 1 if stale else 0


def _index(pages: dict[str, str]) -> str:
    lines = ["# The method catalogue", "", "Generated from the cards by `kintsugi methods --write docs/methods`.", ""]
    for name in pages:
        kind = name.removesuffix(".md")
        count = sum(entry.card.kind == kind for entry in entries().values())
        lines.append(f"- [{kind}]({name}): {count} method{'s' if count > 1 else ''}")
    return "\n".join(lines) + "\n"


def _page(kind: str) -> str:
    lines = [f"# {kind}", "", "Generated from the cards by `kintsugi methods --write docs/methods`.", ""]
    for entry in entries().values():
        card = entry.card
        if card.kind != kind:
            continue
        lines += [f"## {card.name}", "", f"**{card.title}**", "", entry.idea, "", f"- paper: {card.paper}"]
        if card.code:
            lines.append(f"- official code: {card.code}")
        if card.needs:
            lines.append(f"- needs: {', '.join(card.needs)}")
        lines += [f"- status: {_verdicts(card)}", f"- module: `{entry.module}`", ""]
        rows = _configuration(entry)
        if rows:
            lines += ["| parameter | type | default |", "| --- | --- | --- |"]
            for row in rows:
                default = "*required*" if row["required"] else f"`{row['default']}`"
                lines.append(f"| `{row['name']}` | `{row['type'].replace('|', chr(92) + '|')}` | {default} |")
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _verdicts(card: Card) -> str:
    """What the evidence says, of further settings of the trial too."""
    return "; ".join([card.status, *(f"{verdict} with `--setting {name}`" for name, verdict in card.settings)])
