"""``kintsugi repair``."""

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
  kintsugi repair timm:resnet18 photos/ --with last_layer
  kintsugi repair small:cnn data.npz --weights student.safetensors --with group_dro --attribute place --eta 0.05
  kintsugi repair runs/student data.npz --with config --teacher runs/teacher --generator runs/generator

The method's own options follow it: see `kintsugi methods NAME`.
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="a model with weights")
    parser.add_argument("data", help="folder, table, shards, hf:NAME")
    parser.add_argument("--with", dest="method", required=True, help="objective, sampler, augment, posthoc or recipe")
    parser.add_argument(
        "--infer-groups", action="store_true", help="without attributes: infer groups from the model's features"
    )
    data_options(parser)
    model_options(parser, model=False)
    run_options(parser)
    training_options(parser)
    parser.set_defaults(takes_method_options=True)


def run(args: argparse.Namespace) -> int:
    """Repair, then compare on the hold-out part."""
    from kintsugi.api.configure import from_words
    from kintsugi.api.repair import KINDS
    from kintsugi.core.registry import find

    with progress(args):
        case = case_of(args, args.data, args.model)
        words = from_words(args.rest)
        if args.dry_run:
            plan = {"method": find(args.method, KINDS).card.name, "options": words, "parts": sizes(case.parts)}
            return planned(args, {**plan, "notes": list(case.parts.notes)})
        with case.run.locked():
            done = case.repair(
                args.method, how=training_of(args), start=args.start, infer_groups=args.infer_groups, **words
            )
            verdict = case.compare(case.model, done.model)
    lines = [str(verdict), f"rule: {verdict.rule}", f"weights: {done.run.path('weights.safetensors')}"]
    lines += [f"note: {note}" for note in done.notes] + noted(case)
    answer(args, {**done.as_dict(), "verdict": verdict.as_dict()}, lines, case)
    return 0
