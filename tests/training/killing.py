"""Kill work at random points of its way: what the process that works runs, and what the test that kills it runs.

Every piece of work is a process forked from one that has imported all and computed nothing, so that torch is imported
once only. The work tells how far it has come; the test kills it from outside, a moment after what it told.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path


def tell(what):
    """Say that a step is done, and wait long enough to be killed before the next."""
    print("told", what, flush=True)
    time.sleep(0.01)


def serve(work):
    """Call ``work(folder)`` in a process of its own for every folder named on standard input."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            work(Path(line.strip()))
            os._exit(0)
        print("pid", child, flush=True)
        _, status = os.waitpid(child, 0)
        print("exit", os.waitstatus_to_exitcode(status), flush=True)


class Worker:
    """A process that serves; ``script`` is the file that calls :func:`serve`."""

    def __init__(self, process):
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def of(cls, script, *arguments):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, str(script), *map(str, arguments)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            yield cls(process)
            process.stdin.close()

    def work(self, folder, kill_after=None, delay=0.0):
        """Work in ``folder``, to the end or to SIGKILL ``delay`` seconds after so many steps; the steps it told."""
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        pid, told = None, []
        for line in self._process.stdout:
            match line.split(maxsplit=1):
                case ["pid", number]:
                    pid = int(number)
                case ["told", what]:
                    told.append(what.strip())
                case ["exit", code]:
                    assert int(code) == (0 if kill_after is None else -signal.SIGKILL)
                    return told
            if kill_after is not None and pid and len(told) >= kill_after:
                time.sleep(delay)
                os.kill(pid, signal.SIGKILL)
                pid = None
        raise AssertionError("the worker ended")

    def killed_three_times(self, folder, steps, lost):
        """Work in ``folder`` to the end, killed once at random in each third of ``steps``; no kill may cost more than
        ``lost`` steps done again. ``KILL_SEED`` in the environment repeats the points of a run that printed it.
        """
        seed = int(os.environ.get("KILL_SEED") or random.SystemRandom().randrange(10**6))
        rng = random.Random(seed)
        third = (steps - 4) // 3  # not within the last steps: the work could end before it is killed
        points = [third * number + rng.randint(1, third) for number in range(3)]
        print(f"KILL_SEED={seed}: killed after steps {points} of {steps}")
        done = kept = 0  # steps that are done at most, and kept at least
        for point in points:
            told = self.work(folder, max(1, point - done), rng.uniform(0.0, 0.02))
            done, kept = done + len(told), max(0, kept + len(told) - lost)
        told = self.work(folder)
        assert len(told) <= steps - kept, f"{len(told)} steps were left, where {kept} of {steps} had to be kept"
