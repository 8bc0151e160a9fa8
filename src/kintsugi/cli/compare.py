"""``kintsugi compare``."""

from __future__ import annotations

import argparse

from kintsugi.cli.common import answer, case_of, classes_of, data_options, model_options, noted, progress, run_options

EXAMPLES = """examples:
  kintsugi compare before.csv after.csv photos/ --attribute place
  kintsugi compare runs/student runs/student/config data.npz --json
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("before", help="a model, or its predictions")
    parser.add_argument("after", help="likewise")
    parser.add_argument("data", help="folder, table, shards, hf:NAME")
    parser.add_argument("--tolerance", type=float, default=0.05, help="how far the average may fall, in shares")
    parser.add_argument("--all", action="store_true", help="compare on all samples instead of the hold-out part")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless the verdict is better")
    data_options(parser)
    model_options(parser, model=False)
    run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Compare and say the verdict."""
    from kintsugi.models.open import open_model

    with progress(args):
        case = case_of(args, args.data, None)
        sides = [
            open_model(
                side, data_classes=case.data.classes, classes=classes_of(args), size=args.size, device=case.device
            )
            for side in (args.before, args.after)
        ]
        verdict = case.compare(*sides, data=case.data if args.all else None, tolerance=args.tolerance)
    lines = [str(verdict), f"rule: {verdict.rule}", ""]
    lines += [
        f"  {e.group:32}{e.count:6}  {e.before:6.1%} -> {e.after:6.1%}  {100 * e.difference:+5.1f} points"
        f" ({100 * e.interval[0]:+.1f} to {100 * e.interval[1]:+.1f})"
        + ("" if e.p_value is None else f"  p {e.p_value:.2g}")
        for e in verdict.groups
    ]
    lines += noted(case)
    answer(args, verdict, lines, case)
    return int(args.check and verdict.word != "better")
