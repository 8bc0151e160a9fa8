"""``kintsugi``: reads the verb, runs it, and turns every error a person can act on into one clear message."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

from kintsugi.core.errors import KintsugiError

if TYPE_CHECKING:
    from collections.abc import Sequence

# In the order of the work; each is a module of this package with `HELP`, `EXAMPLES`, `options(parser)` and `run(args)`.
VERBS = ("audit", "stress", "discover", "repair", "compare", "mend", "report", "prove", "methods", "new", "demo")


def parser_for(verb: str | None) -> argparse.ArgumentParser:
    """The parser; only the module of ``verb`` is imported, so ``kintsugi methods`` never waits for the others."""
    top = argparse.ArgumentParser(
        prog="kintsugi",
        description="Find the cracks in an image classifier and in its data, repair them, and show the proof.",
        epilog="Try: kintsugi demo",
    )
    from kintsugi import __version__

    top.add_argument("--version", action="version", version=f"kintsugi {__version__}")
    subs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        module = import_module(f"kintsugi.cli.{name}") if verb in (name, None) else None
        sub = subs.add_parser(
            name,
            help=SUMMARIES[name],
            description=SUMMARIES[name],
            epilog=getattr(module, "EXAMPLES", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.add_argument("--json", action="store_true", help="print the result as JSON on the output stream")
        if module is not None:
            module.options(sub)
            sub.set_defaults(run=module.run)
    return top


SUMMARIES = {
    "audit": "what is wrong with the data",
    "stress": "where the model breaks when images change",
    "discover": "on what the model leans: groups and slices inferred from what it says",
    "repair": "repair a model by one named method",
    "compare": "is the model after better than the model before? paired tests per group",
    "mend": "the whole loop: audit, stress, discover, try repairs from the cheapest, prove the best",
    "report": "write the report of a run again, or export it",
    "prove": "run a method against its baseline on real images over seeds",
    "methods": "the methods in the house",
    "new": "scaffold a new method: module, test, changelog fragment",
    "demo": "mend a classifier on the embedded data, in a few minutes",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 done; 1 a ``--check`` failed; 2 a bad argument or input; 3 a defect of our own; 130 interrupted.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    named = next((word for word in arguments if word in VERBS), None)
    parser = parser_for(named or "methods")
    args, rest = parser.parse_known_args(arguments)
    if rest and not getattr(args, "takes_method_options", False):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    args.rest = rest
    args.argv = arguments
    try:
        return int(args.run(args) or 0)
    except KintsugiError as error:
        if args.debug:
            raise
        return _refused(args, error.what, error.remedy, type(error).__name__, error.exit_code)
    except KeyboardInterrupt:
        print("interrupted; run the same command again to go on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe went away (`kintsugi methods | head`): not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if args.debug:
            raise
        why = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
        return _refused(args, why, "Check the path, its permissions and the room on its disk.", type(error).__name__, 2)
    except Exception as error:
        if args.debug:
            raise
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, which is not loaded
            remedy = "The memory is full: give a smaller --batch-size or --size, or --device cpu."
            return _refused(args, str(error) or "out of memory", remedy, type(error).__name__, 2)
        remedy = "This is a defect of Kintsugi: please report it with what --debug shows. Finished work is kept."
        return _refused(args, f"{type(error).__name__}: {error}", remedy, type(error).__name__, 3)


def _refused(args: argparse.Namespace, what: str, remedy: str, kind: str, code: int) -> int:
    """Say what is wrong and what to do, for people and, with ``--json``, for programs."""
    from kintsugi.cli.common import visible

    if args.json:
        print(json.dumps({"error": what, "remedy": remedy, "type": kind}))
    print(visible(f"kintsugi {args.verb}: {what}"), file=sys.stderr)
    if remedy:
        print(f"  {visible(remedy)}", file=sys.stderr)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
