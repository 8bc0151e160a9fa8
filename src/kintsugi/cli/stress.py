"""``kintsugi stress``."""

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
  kintsugi stress timm:resnet18 photos/
  kintsugi stress small:resnet20 cifar.npz --weights resnet20.pth --method gaussian_noise --method pgd
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="a model with weights")
    parser.add_argument("data", help="folder, table, shards, hf:NAME")
    parser.add_argument("--method", action="append", help="a corruption, attack or bias; may repeat; all if not given")
    parser.add_argument("--sample", type=int, default=2000, help="most images to use (default %(default)s)")
    parser.add_argument("--budget", type=float, metavar="SECONDS", help="time; the dearest changes are left out first")
    data_options(parser)
    model_options(parser, model=False)
    run_options(parser)


def run(args: argparse.Namespace) -> int:
    """Stress and print the table."""
    with progress(args):
        case = case_of(args, args.data, args.model)
        if args.dry_run:
            return planned(args, {"method": args.method or "all", "images": sizes(case.parts)["select"]})
        with case.run.locked():
            result = case.stress(methods=args.method, sample=args.sample, budget=args.budget)
    lines = [f"{result.images} images of the selection part", f"{'change':32}{'average':>9}{'worst group':>13}"]
    for row in result.rows:
        name = row.name if row.kind in ("clean", "bias") else f"{row.name} {row.level:.3g}"
        lines.append(f"{name:32}{row.average:9.1%}{row.worst:13.1%}  {row.worst_group}")
    lines += [f"note: {note}" for note in result.notes] + noted(case)
    answer(args, result, lines, case)
    return 0
