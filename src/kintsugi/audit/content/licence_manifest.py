"""Who made each image, under which licence, and which images were removed in which version.

A data set lives on in copies. So what was removed is kept by the hash of its pixels or bytes as well as by its id: a
copy under other names is brought up to date by the same list (PASS, Asano et al. 2021, publishes one a version).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadArgument, BadData, require
from kintsugi.core.files import atomic, plain, read_lines
from kintsugi.models.cache import content_keys

if TYPE_CHECKING:
    from kintsugi.data.imageset import ImageSet


@dataclass(frozen=True, slots=True)
class Licence:
    """One image's entry.

    Attributes:
        id: of the image.
        hash: 32 hexadecimal digits of its content.
        author: who made it; empty where nobody knows.
        licence: such as ``CC-BY-4.0``; empty where nobody knows.
        url: where it was found.
        removed: version in which it was removed; 0 while it is there.
        reason: why it was removed.
    """

    id: str
    hash: str
    author: str = ""
    licence: str = ""
    url: str = ""
    removed: int = 0
    reason: str = ""


@dataclass(frozen=True)
class LicenceManifest:
    """All entries, in the data's order, and the version they are of (from 1)."""

    entries: tuple[Licence, ...]
    version: int = 1

    @classmethod
    def of(cls, data: ImageSet, *, author: str = "", licence: str = "", url: str = "") -> LicenceManifest:
        """Entries of a data set, from its columns.

        Args:
            data: the images.
            author: name of the column of authors; none given leaves it empty.
            licence: name of the column of licences.
            url: name of the column of addresses.

        Raises:
            BadArgument: a column is not there.
        """
        facts = [_texts(data, column) for column in (author, licence, url)]
        keys = [key.hex() for key in content_keys(data)]
        return cls(tuple(Licence(*row) for row in zip(data.ids, keys, *facts, strict=True)))

    @property
    def present(self) -> tuple[Licence, ...]:
        """Entries that were not removed."""
        return tuple(entry for entry in self.entries if not entry.removed)

    def refused(self, allowed: Sequence[str], most_by_author: int | None = None) -> dict[str, str]:
        """Ids that may not stay, with the reason: a licence that is not among ``allowed``, no author where the licence
        asks to name one (all but CC0 and public domain), or more than ``most_by_author`` images by one author.

        Of an author's images the first ones stay.
        """
        require(not isinstance(allowed, str), "allowed", allowed, "a list of licences")
        require(most_by_author is None or most_by_author >= 1, "most_by_author", most_by_author, "1 or more, or None")
        known, seen, found = {name.casefold() for name in allowed}, Counter[str](), {}
        for entry in self.present:
            name = entry.licence.casefold()
            if name not in known:
                found[entry.id] = f"licence {entry.licence or 'unknown'}"
            elif not entry.author and not name.startswith(("cc0", "public domain", "pdm")):
                found[entry.id] = "no author to name"
            else:
                seen[entry.author] += 1
                if entry.author and most_by_author is not None and seen[entry.author] > most_by_author:
                    found[entry.id] = f"more than {most_by_author} images by one author"
        return found

    def remove(self, reasons: Mapping[str, str]) -> LicenceManifest:
        """The next version, without the ids given; other entries of the same content go with them.

        Raises:
            BadArgument: an id is not in the manifest.
        """
        known = {entry.id: entry for entry in self.entries}
        unknown = [name for name in reasons if name not in known]
        if unknown:
            raise BadArgument(f"{unknown[0]!r} is not in the manifest.", "Name images by their ids.")
        why = {known[name].hash: reason for name, reason in reasons.items()}
        if not any(not known[name].removed for name in reasons):
            return self
        now = self.version + 1
        made = tuple(
            replace(entry, removed=now, reason=why[entry.hash]) if entry.hash in why and not entry.removed else entry
            for entry in self.entries
        )
        return LicenceManifest(made, now)

    def removals(self, since: int = 0) -> list[Licence]:
        """The change log: what was removed after version ``since``, oldest first."""
        gone = [entry for entry in self.entries if entry.removed > max(since, 0)]
        return sorted(gone, key=lambda entry: (entry.removed, entry.id))

    def apply(self, data: ImageSet, *, names: bool = False) -> ImageSet:
        """A view of the data, or of a copy under other names, without what was removed.

        Args:
            data: the images; those of a removed content are left out, whatever they are called.
            names: leave out removed ids as well: for copies that were resized or encoded anew under the same names.
        """
        gone = {entry.hash for entry in self.entries if entry.removed}
        called = {entry.id for entry in self.entries if entry.removed and names}
        keys = zip(data.ids, content_keys(data), strict=True)
        return data.where(np.array([key.hex() not in gone and name not in called for name, key in keys], dtype=bool))

    def changed(self, data: ImageSet) -> list[str]:
        """Ids whose content is no longer what the manifest says."""
        own = {entry.id: entry.hash for entry in self.entries}
        keys = zip(data.ids, content_keys(data), strict=True)
        return [name for name, key in keys if name in own and own[name] != key.hex()]

    def save(self, path: Path | str) -> None:
        """Write JSON lines: the version, then an entry a line."""
        import json

        lines: Iterable[Any] = ({"version": self.version}, *map(asdict, self.entries))
        with atomic(path, "w") as stream:
            for line in lines:
                stream.write(json.dumps(line, sort_keys=True, default=plain) + "\n")

    @classmethod
    def read(cls, path: Path | str) -> LicenceManifest:
        """Read what :meth:`save` wrote.

        Raises:
            BadData: the file is not there, or is no manifest.
        """
        if not Path(path).is_file():
            raise BadData(f"{path} does not exist.", "Name the manifest's file.")
        lines = read_lines(path)
        try:
            version = int(lines[0]["version"])
            return cls(tuple(Licence(**line) for line in lines[1:]), version)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise BadData(
                f"{path} is no manifest ({error}).", "Give a file that LicenceManifest.save wrote."
            ) from error


def _texts(data: ImageSet, column: str) -> list[str]:
    if not column:
        return [""] * len(data)
    return ["" if value is None else str(value) for value in data.column(column)]
