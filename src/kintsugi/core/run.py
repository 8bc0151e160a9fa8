"""`Run`: the folder of one piece of work; it can be interrupted and resumed, and never has two writers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kintsugi.core.errors import BadArgument, BadData, RunBusy
from kintsugi.core.files import append_line, atomic, disk_errors, plain, read_json, read_lines, write_json, write_with

if TYPE_CHECKING:
    from kintsugi.core.findings import Findings


class Run:
    """A run folder: ``config.json``, ``metrics.jsonl``, ``findings.parquet``, ``weights.safetensors``, ``report.html``.

    Args:
        dir: the folder, made on first write; None keeps configuration and metrics in memory and writes nothing, for
            the hundreds of small trainings of a study.
    """

    def __init__(self, dir: Path | str | None) -> None:  # noqa: A002 - the contract's name
        self._dir = None if dir is None else Path(dir)
        self._config: dict[str, Any] = {}
        self._lines: list[dict[str, Any]] = []

    def __repr__(self) -> str:
        return f"Run({None if self._dir is None else str(self._dir)!r})"

    @property
    def stored(self) -> bool:
        """Whether there is a folder."""
        return self._dir is not None

    @property
    def dir(self) -> Path:
        """The folder.

        Raises:
            BadArgument: this run is kept in memory.
        """
        if self._dir is None:
            raise BadArgument("This run is kept in memory and has no folder.", "Give the work Run(FOLDER).")
        return self._dir

    def path(self, name: str) -> Path:
        """A file of this run."""
        return self.dir / name

    def sub(self, name: str) -> Run:
        """A run inside this one, such as one rung of a repair."""
        return Run(None if self._dir is None else self._dir / name)

    @contextlib.contextmanager
    def locked(self) -> Iterator[Run]:
        """Hold the folder for writing.

        The lock is the kernel's and goes with the process, so a killed run leaves none behind.

        Raises:
            RunBusy: another process holds it.
        """
        if not self.stored:
            yield self
            return
        with disk_errors(self.dir):
            self.dir.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.dir / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunBusy(
                    f"Another run is writing to {self.dir}.", "Wait for it, or choose another --out folder."
                ) from error
            yield self
        finally:
            os.close(handle)

    def start(self, config: Mapping[str, Any]) -> bool:
        """Record the configuration; True when the folder already holds an interrupted run of the very same one.

        Raises:
            BadData: the folder holds a run of another configuration, which is never overwritten.
        """
        wanted = json.loads(json.dumps(config, default=plain))
        if not self.stored:
            self._config = wanted
            return False
        path = self.path("config.json")
        if not path.exists():
            write_json(path, wanted)
            return False
        found = read_json(path)
        if not isinstance(found, dict):
            raise BadData(f"{path} is not the record of a run.", "Choose another --out folder, or remove this one.")
        if found != wanted:
            keys = set(found) | set(wanted)
            differ = sorted(key for key in keys if found.get(key) != wanted.get(key))
            raise BadData(
                f"{self.dir} holds a run of another configuration (differs in {', '.join(differ)}).",
                "Choose another --out folder, or remove this one.",
            )
        return True

    @property
    def config(self) -> dict[str, Any]:
        """The recorded configuration, empty before :meth:`start`."""
        if not self.stored:
            return dict(self._config)
        path = self.path("config.json")
        return dict(read_json(path)) if path.exists() else {}

    def log(self, **values: Any) -> None:
        """Append one line of metrics; ``step`` is by custom one of the values."""
        if self.stored:
            append_line(self.path("metrics.jsonl"), values)
        else:
            self._lines.append(values)

    def metrics(self) -> list[dict[str, Any]]:
        """All logged lines."""
        return read_lines(self.path("metrics.jsonl")) if self.stored else list(self._lines)

    def trim(self, lines: int) -> None:
        """Forget all but the first ``lines`` metrics: what an interrupted run logged after its last checkpoint."""
        kept = self.metrics()[:lines]
        if not self.stored:
            self._lines = kept
            return
        path = self.path("metrics.jsonl")
        if path.exists():
            with atomic(path, "w") as stream:
                stream.writelines(json.dumps(line, sort_keys=True) + "\n" for line in kept)

    def save_findings(self, *findings: Findings) -> None:
        """Write the findings of all checks as one Parquet table."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.concat_tables([each.to_arrow() for each in findings])
        write_with(self.path("findings.parquet"), lambda name: pq.write_table(table, name))

    def save_weights(
        self,
        state: Mapping[str, Any],
        name: str = "weights.safetensors",
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        """Write tensors as safetensors, atomically, with texts in the same file. Tied tensors are written twice."""
        from safetensors.torch import save_file

        tensors: dict[str, Any] = {}
        seen: set[int] = set()
        for key, value in state.items():
            tensor = value.detach().cpu().contiguous()
            memory = tensor.untyped_storage().data_ptr()
            tensors[key] = tensor.clone() if memory in seen else tensor
            seen.add(memory)
        path = self.path(name)
        write_with(path, lambda part: save_file(tensors, part, dict(metadata) if metadata else None))
        return path

    def load_weights(self, name: str = "weights.safetensors") -> dict[str, Any]:
        """Read tensors written by :meth:`save_weights`.

        Raises:
            BadData: the file is missing.
        """
        from safetensors.torch import load_file

        path = self.path(name)
        if not path.exists():
            raise BadData(f"{path} does not exist.", "Finish or repeat the run that writes it.")
        return load_file(path)
