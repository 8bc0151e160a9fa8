"""``kintsugi mend``."""

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
    training_of,
    training_options,
)

EXAMPLES = """examples:
  kintsugi mend photos/ --model timm:resnet18 --budget 600
  kintsugi mend waterbirds/metadata.csv --label y --split split --attribute place --model torchvision:resnet50 \\
      --teacher open_clip:ViT-L-14/openai
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("data", help="folder, table, shards, hf:NAME")
    parser.add_argument(
        "--budget", type=float, metavar="SECONDS", help="time for all of it; what does not fit is left out and listed"
    )
    parser.add_argument("--rung", action="append", help="try only this repair; may repeat")
    parser.add_argument("--tolerance", type=float, default=0.05, help="how far the average may fall, in shares")
    data_options(parser)
    model_options(parser)
    run_options(parser)
    training_options(parser)


def run(args: argparse.Namespace) -> int:
    """Mend and say the verdict."""
    with progress(args):
        case = case_of(args, args.data)
        if args.dry_run:
            return _plan(args, case)
        done = case.mend(
            how=training_of(args), start=args.start, budget=args.budget, rungs=args.rung, tolerance=args.tolerance
        )
    answer(args, done, [*noted(case), *summary(done)], case)
    return 0


def summary(done: object) -> list[str]:
    """The outcome in a few lines; the report says the rest."""
    from kintsugi.api.mend import Mended

    assert isinstance(done, Mended)
    lines = ["repairs tried, cheapest first (selection part):"]
    for rung in done.tried:
        score = "" if rung.score is None else f"worst group {rung.score.worst:6.1%}  average {rung.score.average:6.1%}"
        mark = "*" if rung.chosen else " "
        lines.append(f" {mark} {rung.name:16}{rung.seconds:7.1f} s  {score}  {rung.note}".rstrip())
    if done.verdict is None:
        lines.append("\nnot proven: no repair was better on the selection part; the model is as it was")
    else:
        lines += [f"\n{done.verdict}", f"rule: {done.verdict.rule}"]
    return [*lines, *(f"note: {note}" for note in done.notes), f"report: {done.report}"]


def _plan(args: argparse.Namespace, case: object) -> int:
    from kintsugi.api.audit import Audit
    from kintsugi.api.case import Case
    from kintsugi.api.rungs import ladder

    assert isinstance(case, Case)
    rungs = ladder(case, Audit(()), case.parts.train, chosen=args.rung)
    steps = {rung.name: rung.obstacle or "would be tried" for rung in rungs}
    if "clean" in steps:
        steps["clean"] = "would be tried if the audit flags anything"
    return planned(args, {"parts": sizes(case.parts), "rungs": steps, "notes": list(case.parts.notes)})
