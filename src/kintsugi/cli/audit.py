"""``kintsugi audit``."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from kintsugi.cli.common import OUT, answer, case_of, data_options, model_options, noted, planned, progress, run_options
from kintsugi.core.errors import require

if TYPE_CHECKING:
    from kintsugi.core.findings import Finding

EXAMPLES = """examples:
  kintsugi audit photos/
  kintsugi audit photos/ --model timm:resnet18 --out audit-1
  kintsugi audit waterbirds/metadata.csv --label y --split split --attribute place --json
  kintsugi audit new-photos/ --against photos/
  kintsugi audit photos/ --reviewed audit-1/audit/review.csv
  kintsugi audit photos/ --apply audit-1/audit/proposed.jsonl --out photos-clean
  kintsugi audit photos-clean --undo photos-clean/patch.json --out photos-again
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", help="folder, table, shards, hf:NAME")
    parser.add_argument("--encoder", help="whose features find duplicates and check labels; the model's if not given")
    parser.add_argument(
        "--checks",
        help="auditors to run, comma-separated, as `kintsugi methods` names them; the usual ones if not given",
    )
    parser.add_argument("--against", metavar="OLD", help="older data: say what of the new repeats or contradicts it")
    parser.add_argument(
        "--reviewed", metavar="SHEET", help="review.csv of an earlier audit, filled in: how many labels are wrong"
    )
    parser.add_argument("--apply", metavar="DECISIONS", help="write a cleaned copy (a new table, same pixels) to --out")
    parser.add_argument("--undo", metavar="PATCH", help="write a cleaned copy as it was before its patch to --out")
    parser.add_argument("--check", action="store_true", help="exit with 1 when anything is flagged")
    data_options(parser)
    model_options(parser)
    run_options(parser)


SHOWN = 5  # findings a check; all are in the table


def _said(row: Finding) -> str:
    """What was found; the samples come first where the sentence does not begin with them."""
    return row.why if row.why.startswith(row.ids[:1]) else f"{', '.join(row.ids)}: {row.why}"


def run(args: argparse.Namespace) -> int:
    """Audit and list what was found, or write a cleaned copy; 2 when a check could not be done."""
    from kintsugi.api.audit import CHECKS

    if args.apply or args.undo:
        return _copy(args)
    checks = CHECKS if args.checks is None else [name.strip() for name in args.checks.split(",")]
    with progress(args):
        case = case_of(args, args.data)
        if args.dry_run:
            return planned(
                args,
                {
                    "images": len(case.data),
                    "checks": list(checks),
                    "against": args.against,
                    "encoder": args.encoder or "auto",
                },
            )
        with case.run.locked():
            old = None if args.against is None else case_of(args, args.against).data
            result = case.audit(checks=checks, encoder=args.encoder, against=old, reviewed=args.reviewed)
    left_out = len(case.data.problems.left_out)
    proposed, sheet = case.run.path("audit/proposed.jsonl"), case.run.path("audit/review.csv")
    unsaid = sheet.exists() and args.reviewed is None
    lines = [f"{len(case.data)} images, {len(case.data.classes)} classes, {left_out} left out"]
    for each in result.findings:
        count = each.summary.count
        estimate = "" if count is None else f", about {count:.0f} in all"
        if each.summary.interval:
            estimate += f" ({each.summary.interval[0]:.0f} to {each.summary.interval[1]:.0f})"
        lines.append(f"\n{each.card}: {len(each.flagged)} flagged{estimate}")
        lines += [f"  {row.score:.3f}  {_said(row)}" for row in each.flagged[:SHOWN]]
        if len(each.flagged) > SHOWN:
            lines.append(f"  ... and {len(each.flagged) - SHOWN} more")
        lines += [f"  note: {note}" for note in each.summary.notes]
    lines += [f"\n{check}: could not be done: {why}" for check, why in result.undone]
    lines += ["", *(f"note: {note}" for note in result.notes), *noted(case)]
    lines += [
        f"all findings: {case.run.path('audit/findings.parquet')}",
        f"report: {case.run.path('audit/report.html')}",
        *([f"what a rule would do: {proposed} (change it, then --apply it)"] if proposed.exists() else []),
        *([f"200 labels to look at: {sheet} (write right, wrong or unsure, then --reviewed it)"] if unsaid else []),
    ]
    answer(args, result, lines, case)
    if result.undone:
        return 2
    return int(args.check and bool(result.flagged))


def _copy(args: argparse.Namespace) -> int:
    """Apply decisions, or take a patch back."""
    from kintsugi.api.cleaning import apply, undo

    require(not (args.apply and args.undo), "undo", args.undo, "either --apply or --undo")
    require(args.out != OUT, "out", args.out, "the new folder to write: name it with --out")
    if args.dry_run:
        return planned(args, {"data": args.data, "decisions": args.apply, "patch": args.undo})
    with progress(args):
        if args.apply:
            made, patch = apply(case_of(args, args.data), args.apply, args.out)
        else:
            made, patch = undo(args.data, args.undo, args.out, args.root and Path(args.root))
    counts = Counter(change.action for change in patch.changes)
    done = {"images": len(made), "relabelled": counts["relabel"], "dropped": counts["drop"], "out": args.out,
            "overruled": list(patch.overruled), "patch": str(Path(args.out) / "patch.json")}  # fmt: skip
    lines = [f"{len(made)} images, {counts['relabel']} relabelled, {counts['drop']} dropped", f"copy: {args.out}",
             f"patch: {done['patch']}"]  # fmt: skip
    answer(args, done, lines)
    return 0
