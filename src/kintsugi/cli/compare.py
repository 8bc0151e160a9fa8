"""``kintsugi compare``."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from kintsugi.cli.common import (
    answer,
    case_of,
    classes_of,
    data_options,
    noted,
    opening_options,
    planned,
    progress,
    run_options,
)

EXAMPLES = """examples:
  kintsugi compare before.csv after.csv photos/ --attribute place
  kintsugi compare timm:resnet18 mended photos/ --before-weights mine.safetensors
  kintsugi compare runs/student runs/student/config data.npz --json
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("before", help="a model, or its predictions")
    parser.add_argument("after", help="likewise")
    parser.add_argument("data", help="folder, table, shards, hf:NAME")
    parser.add_argument("--before-weights", metavar="FILE", help="weights of BEFORE, where its name alone does not say")
    parser.add_argument("--after-weights", metavar="FILE", help="likewise of AFTER")
    parser.add_argument("--tolerance", type=float, default=0.05, help="how far the average may fall, in shares")
    parser.add_argument("--all", action="store_true", help="compare on all samples instead of the hold-out part")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless the verdict is better")
    data_options(parser)
    opening_options(parser.add_argument_group("models"))
    run_options(parser, out=None)
    parser.set_defaults(model=None, weights=None, teacher=None, generator=None, held_out="auto")


def run(args: argparse.Namespace) -> int:
    """Compare and say the verdict."""
    with progress(args):
        case = case_of(args, args.data)
        part = case.data if args.all else case.parts.holdout
        if args.dry_run:
            return planned(args, {"before": args.before, "after": args.after, "images": len(part)})
        sides = [
            case.open(side, classes=classes_of(args), weights=file, size=args.size)
            for side, file in ((args.before, args.before_weights), (args.after, args.after_weights))
        ]
        with case.run.locked() if args.out else nullcontext():
            whole = case.data if args.all else None
            verdict = case.compare(*sides, data=whole, tolerance=args.tolerance, save=bool(args.out))
    lines = [str(verdict), f"rule: {verdict.rule}", ""]
    lines += [
        f"  {e.group:32}{e.count:6}  {e.before:6.1%} -> {e.after:6.1%}  {100 * e.difference:+5.1f} points"
        f" ({100 * e.interval[0]:+.1f} to {100 * e.interval[1]:+.1f})"
        + ("" if e.p_value is None else f"  p {e.p_value:.2g}")
        for e in verdict.groups
    ]
    lines += noted(case)
    lines += [f"report: {case.run.path('compare/report.html')}"] if args.out else []
    answer(args, verdict, lines, case)
    return int(args.check and verdict.word != "better")
