"""``kintsugi discover``."""

from __future__ import annotations

import argparse

from kintsugi.cli.common import (
    answer,
    case_of,
    data_options,
    model_options,
    noted,
    planned,
    progress,
    run_options,
    sizes,
)

EXAMPLES = """examples:
  kintsugi discover timm:resnet18 photos/ --weights mine.safetensors
  kintsugi discover runs/erm data.parquet --attribute place
  kintsugi discover runs/erm data.parquet --method mistake_triage
"""

SHOWN = 40  # findings printed; all are in the table


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="a model with weights")
    parser.add_argument("data", help="folder, table, shards, hf:NAME")
    parser.add_argument("--method", default="george", help="a discoverer (default %(default)s)")
    data_options(parser)
    model_options(parser, model=False)
    run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Discover and list the groups that fare worse than their class."""
    with progress(args):
        case = case_of(args, args.data, args.model)
        if args.dry_run:
            return planned(args, {"method": args.method or "all", "images": sizes(case.parts)["select"]})
        with case.run.locked():
            result = case.discover(method=args.method)
    what = f"{len(result.findings)} findings" if result.groups is None else f"{len(result.groups)} groups inferred"
    lines = [f"{what} on {len(result.ids)} samples, without any attribute"]
    lines += [f"note: {note}" for note in result.findings.summary.notes]
    lines += [("  ! " if row.flagged else "    ") + row.why for row in result.findings.rows[:SHOWN]]
    lines += [f"agreement with {name} (adjusted Rand): {value:.2f}" for name, value in result.agreement.items()]
    lines += noted(case)
    answer(args, result, lines, case)
    return 0
