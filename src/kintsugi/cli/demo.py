"""``kintsugi demo``."""

from __future__ import annotations

import argparse

from kintsugi.cli.common import answer, planned, progress, sizes

EXAMPLES = """examples:
  kintsugi demo
  kintsugi demo --out somewhere --seed 1
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", default="kintsugi-demo", help="folder for the results (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another draw of the data (default 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and write nothing")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless the verdict is better")


def run(args: argparse.Namespace) -> int:
    """Run the demo and print what came of it; the report's path comes last."""
    from kintsugi.api.demo import demo
    from kintsugi.cli.mend import summary

    if args.dry_run:
        from kintsugi.api.demo import demo_data
        from kintsugi.api.parts import divide
        from kintsugi.api.rungs import NAMES

        data, planted = demo_data(args.seed)
        plan = {"parts": sizes(divide(data)), "wrong labels": len(planted.wrong), "near duplicates": len(planted.pairs)}
        return planned(args, {**plan, "rungs": list(NAMES)})
    with progress(args):
        done, found = demo(args.out, seed=args.seed)
    lines = ["planted faults found by the audit (average precision):"]
    lines += [f"  {name:18}{value:.3f}" for name, value in found.items()]
    answer(args, {**done.as_dict(), "planted": found}, [*lines, *summary(done)])
    return int(args.check and (done.verdict is None or done.verdict.word != "better"))
