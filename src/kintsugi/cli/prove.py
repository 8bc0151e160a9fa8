"""``kintsugi prove``."""

from __future__ import annotations

import argparse
import os
import shlex

from kintsugi.cli.common import OUT, answer, planned, progress, run_options
from kintsugi.core.errors import require
from kintsugi.core.run import Run

EXAMPLES = """examples:
  kintsugi prove config
  kintsugi prove config --seeds 10 --out proofs/config
  kintsugi prove config --setting fashion --json
  kintsugi prove --room audit --seeds 3
"""

ROOMS = ("audit",)


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="a method with a trial")
    parser.add_argument("--room", choices=ROOMS, help="all methods of a room side by side: the grid of label checks")
    parser.add_argument("--setting", default="", help="another data set or size, where the trial has several")
    parser.add_argument("--seeds", type=int, help="paired seeds at least (default: the trial's)")
    parser.add_argument("--workers", type=int, help="processes (default: one a core)")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless proven")
    run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Prove and print the table and the outcomes."""
    from kintsugi.prove.runner import prove, trial_of

    require((args.name is None) != (args.room is None), "name", args.name, "either a method or --room")
    if args.room is not None:
        return _grid(args)
    trial = trial_of(args.name, args.setting)
    args.out = folder = args.out if args.out != OUT else f"proofs/{trial.name}"
    if args.dry_run:
        return planned(args, {"trial": trial.title, "units": list(trial.units(args.seeds)), **trial.facts()})
    with progress(args):
        command = "kintsugi " + " ".join(map(shlex.quote, args.argv))
        evidence = prove(trial, Run(folder), seeds=args.seeds, workers=args.workers, command=command)
    lines, row = [evidence.title], ""
    for entry in evidence.table():
        if entry["row"] != row:
            row = entry["row"]
            lines.append(f"\n{row}")
        spread = f"{entry['mean']:.3f} ± {entry['sd']:.3f}  ({entry['min']:.3f} to {entry['max']:.3f})"
        lines.append(f"  {entry['arm']:36}{entry['metric']:18}{spread}  {entry['seeds']} seeds")
    lines.append("")
    for outcome in evidence.outcomes:
        claim = outcome.claim
        word = "shown" if claim.shown_only else ("proven" if outcome.proven else "not proven")
        low, high = outcome.interval
        lines.append(
            f"{word}: {claim.row}, {claim.metric}: {claim.method} minus the best of {', '.join(claim.against)}: "
            f"{outcome.effect:+.3f} ({low:+.3f} to {high:+.3f}, {outcome.seeds} seeds; asked: {claim.margin:+.2f})"
        )
    lines += ["", "proven" if evidence.proven else "not proven", f"evidence: {Run(folder).path('evidence.json')}"]
    answer(args, evidence, lines)
    return int(args.check and not evidence.proven)


def _grid(args: argparse.Namespace) -> int:
    """Noise model x rate x detector x data set; cells that the folder holds are not measured again."""
    from kintsugi.prove.studies.label_quality_grid import available, run_grid

    args.out = folder = args.out if args.out != OUT else f"proofs/{args.room}"
    seeds = range(args.seed, args.seed + (args.seeds or 3))
    if args.dry_run:
        return planned(args, {"data sets": list(available()), "seeds": list(seeds)})
    with progress(args):
        result = run_grid(folder, seeds=seeds, workers=args.workers or os.cpu_count() or 1)
    lines, cell = list(result["notes"]), ""
    for row in result["table"]:
        named = f"{row['dataset']}, {row['noise']} noise, {row['rate']:.0%}"
        if named != cell:
            cell = named
            lines.append(f"\n{cell} ({row['seeds']} seeds)")
        scores = (f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float) and name != "rate")
        lines.append(f"  {row['detector']:28}{'  '.join(scores)}")
    for metric, found in result["ranks"].items():
        order = ", ".join(f"{name} {rank:.1f}" for name, rank in found["mean rank"].items())
        lines.append(
            f"\nmean rank by {metric}: {order} (differences below {found['critical difference']:.1f} are chance)"
        )
    lines.append(f"\ncells: {Run(folder).path('grid.json')}")
    answer(args, result, lines)
    return 0
