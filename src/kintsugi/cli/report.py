"""``kintsugi report``."""

from __future__ import annotations

import argparse
from pathlib import Path

from kintsugi.cli.common import answer
from kintsugi.core.errors import BadData
from kintsugi.core.run import Run

EXAMPLES = """examples:
  kintsugi report kintsugi-out
  kintsugi report kintsugi-out --out to-send
  kintsugi report kintsugi-out --json
"""


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run_dir", metavar="RUN", help="a run's folder")
    parser.add_argument("--out", help="folder to write the report to (default: the run's own)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written and write nothing")


def run(args: argparse.Namespace) -> int:
    """Write the report again from what the run recorded."""
    from kintsugi.report.content import Report

    folder = Path(args.run_dir)
    if not folder.is_dir():
        raise BadData(f"{folder} is not a folder.", "Name the folder of a run, such as kintsugi-out.")
    content, where = Report.load(Run(folder)), Run(args.out or folder)
    path = where.path("report.html")
    if not args.dry_run:
        with where.locked():
            content.save(where)
    answer(args, {"report": str(path), "written": not args.dry_run}, [str(path)])
    return 0
