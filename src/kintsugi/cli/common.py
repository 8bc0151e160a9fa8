"""Options and printing that several verbs share."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kintsugi.core.files import plain
from kintsugi.core.progress import shown

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kintsugi.api import Case
    from kintsugi.api.parts import Parts
    from kintsugi.data.source import Problem

OUT = "kintsugi-out"  # where results go unless a folder is named
SHOWN = 10  # problems printed of a kind


def data_options(parser: argparse.ArgumentParser) -> None:
    """How to read the data: which column is what."""
    group = parser.add_argument_group("data")
    group.add_argument(
        "--format", help="folder, table, hf, torchvision, webdataset, parquet, npz; detected if not given"
    )
    group.add_argument("--label", help="column with the label")
    group.add_argument("--split", help="column with the split")
    group.add_argument("--id", help="column with a stable id")
    group.add_argument("--path", help="column with the image's path")
    group.add_argument("--root", help="folder that the paths in a table start from; the table's own if not given")
    group.add_argument(
        "--attribute", action="append", default=[], help="column that splits classes into groups; may repeat"
    )
    group.add_argument("--cluster", help="column with what samples share: patient, source image, burst")
    group.add_argument(
        "--names", type=_names, help="the data's class names in the order of its labels, comma-separated"
    )


def model_options(parser: argparse.ArgumentParser, *, model: bool = True) -> None:
    """Which model, and where it runs."""
    group = parser.add_argument_group("model")
    if model:
        group.add_argument(
            "--model", help="timm:NAME, torchvision:NAME, hf:NAME, open_clip:NAME, FILE.onnx, predictions, run"
        )
    group.add_argument("--weights", help="weights file (safetensors, or read with weights_only)")
    opening_options(group)
    group.add_argument("--teacher", help="robust model to learn from, named in the same ways")
    group.add_argument("--generator", help="image generator: a run folder or sd:NAME")
    group.add_argument(
        "--held-out", choices=("yes", "no", "auto"), default="auto", help="whether the model never saw these samples"
    )


def opening_options(group: Any) -> None:
    """How any model is opened, and where it runs."""
    group.add_argument(
        "--classes", help="names of the model's outputs in order, comma-separated, or a file of a mapping"
    )
    group.add_argument(
        "--size",
        type=size,
        metavar="HxW",
        help="side, or height x width, that images are brought to for a model that states none",
    )
    group.add_argument("--device", default="auto", help="auto, cpu, cuda, mps")


def run_options(parser: argparse.ArgumentParser, out: str | None = OUT) -> None:
    """Where results go, and the seed; without a folder to go to, nothing is written unless one is named."""
    words = "folder for the results" + (" (default %(default)s)" if out else "; nothing is written without it")
    parser.add_argument("--out", default=out, help=words)
    parser.add_argument("--seed", type=int, default=0, help="every random stream is derived from it (default 0)")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and write nothing")


def training_options(parser: argparse.ArgumentParser) -> None:
    """How repairs train."""
    group = parser.add_argument_group("training")
    group.add_argument("--epochs", type=int, help="passes over the training part")
    group.add_argument("--lr", type=float, help="peak learning rate")
    group.add_argument("--batch-size", type=int, help="images a step")
    group.add_argument("--start", choices=("fresh", "continue"), default="continue", help="weights to start from")


def training_of(args: argparse.Namespace) -> Any:
    """The training settings named on the command line."""
    from kintsugi.training.fit import Training

    given = {"epochs": args.epochs, "lr": args.lr, "batch_size": args.batch_size}
    return Training(device=args.device, **{name: value for name, value in given.items() if value is not None})


def case_of(args: argparse.Namespace, data: str, model: str | None = None) -> Case:
    """Open what the arguments name."""
    from kintsugi.api import load

    named = ("format", "label", "split", "id", "path", "root")
    columns = {name: getattr(args, name) for name in named if getattr(args, name)}
    return load(
        data,
        model if model is not None else getattr(args, "model", None),
        teacher=args.teacher,
        generator=args.generator,
        attributes=args.attribute,
        cluster=args.cluster,
        names=args.names,
        classes=classes_of(args),
        weights=args.weights,
        size=args.size,
        held_out={"yes": True, "no": False, "auto": None}[args.held_out],
        out=args.out or OUT,
        device=args.device,
        seed=args.seed,
        **columns,
    )


def classes_of(args: argparse.Namespace) -> Any:
    """The model's classes: a list, or the path of a file."""
    text = args.classes
    return _names(text) if text and "," in text and not os.path.exists(text) else text  # noqa: PTH110 - a Path raises on a long list


def progress(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Bars on the error stream, unless asked to be quiet."""
    return shown(not getattr(args, "quiet", False))


def planned(args: argparse.Namespace, plan: dict[str, Any]) -> int:
    """Answer a dry run."""
    answer(args, {**plan, "out": args.out}, [f"{name}: {value}" for name, value in {**plan, "out": args.out}.items()])
    return 0


def sizes(parts: Parts) -> dict[str, int]:
    """Samples of each part."""
    return {"train": len(parts.train), "select": len(parts.select), "holdout": len(parts.holdout)}


def noted(case: Case) -> list[str]:
    """What a reader must see of how data and models were opened, and what of the data was left out."""
    lines = [f"note: {note}" for note in case.notes]
    for title, problems in (("left out", case.data.problems.left_out), ("note", case.remarks)):
        lines += [f"{title}: {_told(problem)}" for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"{title}: {len(problems) - SHOWN:,} more of this kind; --json lists all")
    return lines


def _told(problem: Problem) -> str:
    return f"{problem.where}: {problem.reason}{f' ({problem.detail})' if problem.detail else ''}"


def visible(text: str) -> str:
    """A line with the control characters in it escaped: a file's name must not break lines or drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def answer(args: argparse.Namespace, result: Any, lines: list[str], case: Case | None = None) -> None:
    """Print the result: JSON for machines, with all that was left out of the case's data; lines for people."""
    if args.json:
        said = dict(result if isinstance(result, dict) else result.as_dict())
        if case is not None:
            said["left_out"] = [asdict(problem) for problem in case.data.problems.left_out]
            said["remarks"] = [asdict(problem) for problem in case.remarks]
        json.dump(said, sys.stdout, indent=2, default=plain)
        print()
    else:
        for line in lines:
            body = line.lstrip("\n")
            print("\n" * (len(line) - len(body)) + visible(body))


def size(text: str) -> tuple[int, int]:
    """A side, or ``HEIGHTxWIDTH``, in pixels."""
    height, _, width = text.lower().partition("x")
    if not height.isdigit() or not (width or height).isdigit() or not int(height) * int(width or height):
        raise argparse.ArgumentTypeError(f"{text!r} is no size: give a side such as 224, or HEIGHTxWIDTH")
    return int(height), int(width or height)


def _names(text: str) -> tuple[str, ...]:
    """Names between commas; one that holds a comma stands in double quotes."""
    return tuple(part.strip() for part in next(csv.reader([text], skipinitialspace=True), []))
