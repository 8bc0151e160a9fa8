"""`ImageSet`: N images and a table. Images stay where they are; cutting, filtering and relabelling make views."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from kintsugi.core.batch import Sample
from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.data.groups import Groups
from kintsugi.data.source import ArraySource, Joined, Problem, Problems, Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESERVED = ("id", "label", "split", "target", "weight", "mask", "caption", "annotators")
REMEMBERED = 512 * 2**20  # bytes of decoded pixels that one audit keeps: 170,000 images of 32 x 32


class ImageSet:
    """Images and their table.

    Args:
        source: where the pixels come from.
        table: Arrow table with ``id`` (string, unique) and ``label`` (int64, -1 where unknown), and any other
            column: ``split``, attributes, ``mask``, ``caption``, ``annotators`` (list of labels),
            ``target`` (fixed-size list of K floats, a soft label), ``weight``.
        classes: class names, in the order of the labels.
        rows: source row of each table row; by default the same number.
        problems: images and rows that were left out, and notes; shared by all views.

    Raises:
        BadData: ids repeat, labels lie outside the classes, or lengths differ.
    """

    def __init__(
        self,
        source: Source,
        table: pa.Table,
        classes: Sequence[str],
        *,
        rows: NDArray[np.int64] | None = None,
        problems: list[Problem] | None = None,
    ) -> None:
        self.source = source
        self.table = table
        self.classes = tuple(classes)
        self.rows = np.arange(len(table), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
        self.problems = problems if isinstance(problems, Problems) else Problems(problems or ())
        self._check()

    def _check(self) -> None:
        missing = [name for name in ("id", "label") if name not in self.table.column_names]
        if missing:
            raise BadData(
                f"The table has no column {missing[0]!r} (it has {self.table.column_names}).",
                "Name it when reading.",
            )
        if len(self.rows) != len(self.table):
            raise BadData(
                f"{len(self.rows)} source rows for {len(self.table)} table rows:", "their numbers must agree."
            )
        if len(self) and not 0 <= int(self.rows.min()) <= int(self.rows.max()) < len(self.source):
            raise BadData(
                f"The table names {int(self.rows.max()) + 1} images, but there are {len(self.source)}.",
                "Give one row an image.",
            )
        if len(set(self.ids)) != len(self):
            seen: set[str] = set()
            twice = next(name for name in self.ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
            raise BadData(f"The id {twice!r} occurs more than once.", "Ids must be unique: they carry decisions.")
        if len(self) and (self.labels.min() < -1 or self.labels.max() >= len(self.classes)):
            bad = int(np.flatnonzero((self.labels < -1) | (self.labels >= len(self.classes)))[0])
            raise BadData(
                f"The label {self.labels[bad]} of {self.ids[bad]!r} is outside the {len(self.classes)} classes.",
                "Give the full class list, or correct the label.",
            )

    # ------------------------------------------------------------------------------------------- making one

    @classmethod
    def from_arrays(
        cls,
        image: NDArray[np.uint8],
        label: Sequence[int] | NDArray[Any],
        classes: Sequence[str] | None = None,
        *,
        id: Sequence[str] | None = None,  # noqa: A002 - the contract's name
        **columns: Any,
    ) -> ImageSet:
        """Images held in memory (uint8 ``[N, H, W(, 1 or 3)]``), integer labels, and any other columns."""
        label = np.asarray(label, dtype=np.int64)
        names = tuple(classes) if classes is not None else tuple(str(k) for k in range(int(label.max(initial=-1)) + 1))
        ids = list(id) if id is not None else [f"{number:06d}" for number in range(len(label))]
        table = pa.table({"id": pa.array(ids, pa.string()), "label": pa.array(label, pa.int64())})
        made = cls(ArraySource(image), table, names)
        for name, values in columns.items():
            made = made.with_column(name, values)
        return made

    @classmethod
    def concat(cls, parts: Sequence[ImageSet]) -> ImageSet:
        """One set after the other; columns that only some have are null in the others.

        Raises:
            BadData: the class lists differ or ids repeat.
        """
        if len({part.classes for part in parts}) != 1:
            raise BadData("The sets to join have different class lists.", "Map them to one list first.")
        starts = np.cumsum([0, *(len(part.source) for part in parts)])
        rows = np.concatenate([part.rows + start for part, start in zip(parts, starts[:-1], strict=True)])
        tables = [
            part.table.drop_columns([name for name in ("target",) if name in part.table.column_names]) for part in parts
        ]
        table = pa.concat_tables(tables, promote_options="permissive")
        problems = [problem for part in parts for problem in part.problems]
        joined = cls(Joined([part.source for part in parts]), table, parts[0].classes, rows=rows, problems=problems)
        if any(part.target is not None for part in parts):
            joined = joined.with_targets(np.concatenate([part.soft_labels() for part in parts]))
        return joined

    # ---------------------------------------------------------------------------------------------- reading

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"ImageSet({len(self)} images, {len(self.classes)} classes, columns {self.table.column_names})"

    def __getitem__(self, i: int) -> Sample:
        """One sample, decoded now.

        Raises:
            BadImage: it cannot be read.
            IndexError: there is no such sample.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"sample {i} of {len(self)}")
        i %= len(self)
        row = self.table.slice(i, 1).to_pylist()[0]
        image = self.source.read(int(self.rows[i]))
        name, label = row.pop("id"), row.pop("label")
        return Sample(image, label, i, name, row)

    @cached_property
    def ids(self) -> list[str]:
        """Stable name of each sample."""
        return list(self.table.column("id").to_pylist())

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """Class index of each sample, int64 ``[N]``, -1 where unknown."""
        return np.asarray(self.table.column("label").fill_null(-1).to_numpy(), dtype=np.int64)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns."""
        return tuple(self.table.column_names)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the columns that are not reserved: places, genders, cameras..."""
        return tuple(name for name in self.columns if name not in RESERVED)

    def column(self, name: str) -> NDArray[Any]:
        """A column as an array (objects for text and lists); ``label`` gives class names where groups are named.

        Raises:
            BadArgument: no such column.
        """
        if name not in self.table.column_names:
            raise BadArgument(f"There is no column {name!r}.", f"Known: {', '.join(self.columns)}.")
        column = self.table.column(name)
        numeric = (
            pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_boolean(column.type)
        )
        if numeric and column.null_count == 0:
            return np.asarray(column.to_numpy())
        made = np.empty(len(self), dtype=object)
        made[:] = column.to_pylist()
        return made

    @cached_property
    def target(self) -> NDArray[np.float32] | None:
        """Soft labels float32 ``[N, K]``, or None."""
        if "target" not in self.table.column_names:
            return None
        flat = self.table.column("target").combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, dtype=np.float32).reshape(len(self), len(self.classes))

    @property
    def notes(self) -> list[Problem]:
        """Oddities met while decoding that did no harm, such as mislabelled extensions."""
        found: dict[int, Problem] = getattr(self.source, "notes", {})
        wanted = sorted(set(found) & set(self.rows.tolist()))
        return [found[row] for row in wanted]

    def mask(self, i: int, *, size: tuple[int, int] | None = None, fit: str = "crop") -> NDArray[np.bool_] | None:
        """Mask of one sample, bool ``[H, W]``, or None where it has none; see :func:`kintsugi.data.masks.read_mask`."""
        from kintsugi.data.masks import read_mask

        return read_mask(self, i, size=size, fit=fit)

    def soft_labels(self) -> NDArray[np.float32]:
        """The soft labels, or one-hot labels where there are none, float32 ``[N, K]``."""
        if self.target is not None:
            return self.target
        made = np.zeros((len(self), len(self.classes)), dtype=np.float32)
        known = self.labels >= 0
        made[np.flatnonzero(known), self.labels[known]] = 1.0
        return made

    def groups(self, *attributes: str) -> Groups:
        """Groups by crossing columns; ``label`` stands for the class name."""
        names = np.array([*self.classes, None], dtype=object)  # label -1 picks the None at the end
        return Groups.of({name: names[self.labels] if name == "label" else self.column(name) for name in attributes})

    @cached_property
    def fingerprint(self) -> str:
        """Names this data: its pixels, ids and classes. Labels are not in it: relabelled data is the same data."""
        digest = hashlib.blake2b(self.source.fingerprint.encode(), digest_size=16)
        digest.update("\0".join(self.classes).encode())
        digest.update(b"\1")
        digest.update("\0".join(self.ids).encode(errors="surrogatepass"))
        return digest.hexdigest()

    # ------------------------------------------------------------------------------------------ making views

    def select(self, rows: Sequence[int] | NDArray[Any]) -> ImageSet:
        """The samples at ``rows``, in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        return ImageSet(
            self.source,
            self.table.take(pa.array(chosen)),
            self.classes,
            rows=self.rows[chosen],
            problems=self.problems,
        )

    def where(self, mask: NDArray[np.bool_] | None = None, **equals: Any) -> ImageSet:
        """The samples for which ``mask`` holds and every named column equals the value (or is in the tuple given).

        ``label`` is compared with class names or indices.
        """
        keep = np.ones(len(self), dtype=bool) if mask is None else np.asarray(mask, dtype=bool).copy()
        for name, wanted in equals.items():
            values = wanted if isinstance(wanted, tuple | list | set) else (wanted,)
            if name == "label":
                indices = [self.classes.index(v) if isinstance(v, str) and v in self.classes else v for v in values]
                keep &= np.isin(self.labels, indices)
            else:
                column = self.column(name)
                keep &= np.array([value in values for value in column], dtype=bool)
        return self.select(np.flatnonzero(keep))

    def split(self, name: str) -> ImageSet:
        """The samples of one split.

        Raises:
            BadArgument: there is no split column or the split is empty.
        """
        if "split" not in self.columns:
            raise BadArgument(f"There is no split column to find {name!r} in.", "Name it with --split COLUMN.")
        part = self.where(split=name)
        if not len(part):
            known = sorted({str(value) for value in self.column("split")})
            raise BadArgument(f"The split {name!r} is empty.", f"Known: {', '.join(known)}.")
        return part

    def relabel(self, labels: Mapping[str, int | str] | NDArray[Any]) -> ImageSet:
        """New labels: one a sample, or only for the ids given (class names or indices)."""
        new = self.labels.copy()
        if isinstance(labels, Mapping):
            place = {name: number for number, name in enumerate(self.ids)}
            unknown = [name for name in labels if name not in place]
            if unknown:
                raise BadArgument(
                    f"The id {unknown[0]!r} to relabel is not in the data.", "Use the ids of this data set."
                )
            for name, value in labels.items():
                new[place[name]] = self.class_index(value)
        else:
            new = np.asarray(labels, dtype=np.int64)
        return self.with_column("label", new)

    def class_index(self, value: int | str) -> int:
        """Index of a class given by name or index."""
        if isinstance(value, str):
            if value not in self.classes:
                raise BadArgument(f"There is no class {value!r}.", f"Known: {', '.join(self.classes[:20])}.")
            return self.classes.index(value)
        return int(value)

    def with_column(self, name: str, values: Any) -> ImageSet:
        """A view with one column added or replaced."""
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(np.asarray(values).tolist())
        if name == "label":
            array = array.cast(pa.int64())
        if len(array) != len(self):
            raise BadArgument(f"{len(array)} values for column {name!r} of {len(self)} samples:", "give one a sample.")
        place = self.table.column_names.index(name) if name in self.table.column_names else None
        table = self.table.append_column(name, array) if place is None else self.table.set_column(place, name, array)
        return ImageSet(self.source, table, self.classes, rows=self.rows, problems=self.problems)

    def with_targets(self, target: NDArray[Any]) -> ImageSet:
        """A view with soft labels, float ``[N, K]``."""
        if target.shape != (len(self), len(self.classes)):
            raise BadArgument(f"target has shape {target.shape}:", f"give [{len(self)}, {len(self.classes)}].")
        flat = pa.array(np.ascontiguousarray(target, dtype=np.float32).ravel())
        return self.with_column("target", pa.FixedSizeListArray.from_arrays(flat, len(self.classes)))

    def remembering(self, most: int = REMEMBERED) -> ImageSet:
        """A view that decodes each image once and keeps it for the next pass, as far as ``most`` bytes go.

        What does not fit is decoded again, and pixels are the same either way. Images in memory stay where they are.
        """
        from kintsugi.data.remembered import Remembered

        require(most >= 0, "most", most, "a number of bytes from 0")
        if isinstance(self.source, Remembered) or getattr(self.source, "gather", None) is not None:
            return self
        source = Remembered(self.source, most)
        return ImageSet(source, self.table, self.classes, rows=self.rows, problems=self.problems)

    # ---------------------------------------------------------------------------------------------- batches

    def stream(
        self,
        batch_size: int = 64,
        *,
        size: tuple[int, int] | None = None,
        fit: str = "crop",
        mixed: bool = False,
        enlarge: bool = True,
        workers: int | None = None,
        ahead: bool = True,
        order: Iterable[Sequence[int]] | None = None,
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
        """Decode in parallel with bounded memory; see :func:`kintsugi.data.stream.stream`."""
        from kintsugi.data.stream import stream

        return stream(
            self,
            batch_size,
            size=size,
            fit=fit,
            mixed=mixed,
            enlarge=enlarge,
            workers=workers,
            ahead=ahead,
            order=order,
        )
