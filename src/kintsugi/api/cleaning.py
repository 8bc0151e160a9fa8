"""From findings to a cleaned copy: what a rule proposes, what was decided, a new table over the same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.decision import Decision, read_decisions, write_decisions
from kintsugi.core.errors import BadArgument, BadData
from kintsugi.core.findings import Finding
from kintsugi.core.run import Run
from kintsugi.data.apply import Patch, apply_decisions

if TYPE_CHECKING:
    from kintsugi.api.case import Case
    from kintsugi.data.imageset import ImageSet

PROPOSED = "proposed.jsonl"


def decide(data: ImageSet, flagged: Sequence[Finding], reviewer: str) -> list[Decision]:
    """What a rule does about flagged findings: relabel label errors, drop one of a near pair.

    Findings that name a sample outside ``data`` are left alone, and so are those that need a person's eye.

    Args:
        data: what may be changed.
        flagged: the findings, worst first.
        reviewer: whom the decisions name, such as ``rule:mend``.
    """
    here, gone = set(data.ids), set[str]()
    decisions: list[Decision] = []
    for row in flagged:
        if not set(row.ids) <= here:
            continue
        if row.suggestion.startswith("relabel:"):
            name = data.classes[int(row.suggestion.partition(":")[2])]
            decisions.append(_accept(data, row, row.ids, "relabel", (name,) * len(row.ids), reviewer))
        elif row.subject == "pair" and row.suggestion == "drop" and not set(row.ids) & gone:
            gone.add(row.ids[-1])
            decisions.append(_accept(data, row, row.ids[-1:], "drop", (), reviewer))
    return decisions


def _accept(
    data: ImageSet, row: Finding, ids: tuple[str, ...], action: str, labels: tuple[str, ...], reviewer: str
) -> Decision:
    return Decision(data.fingerprint, ids, row.key, "accept", action, labels, reviewer=reviewer)


def propose(run: Run, data: ImageSet, flagged: Sequence[Finding]) -> Path:
    """Write what the rule would do into ``proposed.jsonl`` of a run, for a person to change and then to apply.

    A file that a person may have changed since is kept under another name.
    """
    made = decide(data, flagged, "rule:audit")
    path = run.path(PROPOSED)
    if path.exists():
        if [replace(each, time="-") for each in read_decisions(path).values()] == [replace(e, time="-") for e in made]:
            return path
        number = next(n for n in range(1, 10_000) if not run.path(f"proposed-{n}.jsonl").exists())
        path.replace(run.path(f"proposed-{number}.jsonl"))
    write_decisions(path, made)
    return path


def apply(case: Case, decisions: str | Path, out: str | Path) -> tuple[ImageSet, Patch]:
    """Write the cleaned copy: a view with a new table over the same pixels, and ``patch.json``, which undoes it.

    Args:
        case: opened from a path or ``hf:NAME``.
        decisions: a decisions file; findings.parquet beside it gives the patch its reasons.
        out: a new folder.

    Returns:
        The copy, opened, and the patch.

    Raises:
        BadArgument: the case's data was given in memory.
        BadData: the decisions were made on other data, or ``out`` exists.
    """
    from kintsugi.data.formats import view

    if case.opened is None:
        raise BadArgument("The data was given in memory.", "Open it from a path, or use kintsugi.data.apply.")
    changed, patch = apply_decisions(case.data, read_decisions(decisions, case.data.fingerprint))
    data, columns = case.opened
    why = _reasons(Path(decisions).with_name("findings.parquet"))
    return view.write(changed, out, data=data, whole=case.data, columns=columns, patch=patch, why=why), patch


def undo(data: str | Path, patch: str | Path, out: str | Path, root: Path | None = None) -> tuple[ImageSet, Patch]:
    """Take a patch back: write a view as it was before the patch.

    Args:
        data: the folder of a view that :func:`apply` wrote.
        patch: its ``patch.json``.
        out: a new folder.
        root: where the pixels are now, if they have moved.

    Raises:
        BadData: ``data`` is no view, the patch is another's, or ``out`` exists.
    """
    from kintsugi.core.files import read_json
    from kintsugi.data.formats import view

    if not view.recognises(Path(data)):
        raise BadData(f"{data} is no view.", "Name the folder that audit --apply wrote.")
    back, whole, left = view.undone(data, patch, root)
    head = read_json(Path(data) / "view.json")
    where = head["data"] if root is None else root
    return view.write(back, out, data=where, whole=whole, columns=head["columns"], patch=left), left


def _reasons(path: Path) -> dict[str, str]:
    """A sentence by finding, where the audit's findings lie beside the decisions."""
    if not path.exists():
        return {}
    import pyarrow.parquet as pq

    table: dict[str, list[Any]] = pq.read_table(path, columns=["key", "why"]).to_pydict()
    return dict(zip(table["key"], table["why"], strict=True))
