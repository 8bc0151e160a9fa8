"""Embeddings of a data set, kept by content: an image and an encoder seen before are never run again."""

from __future__ import annotations

import hashlib
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from kintsugi.core.errors import BadData, require
from kintsugi.core.files import write_with
from kintsugi.core.progress import task
from kintsugi.data.remembered import Remembered
from kintsugi.data.source import ArraySource, Contents, Joined
from kintsugi.data.stream import none_read
from kintsugi.models.predict import as_images, batches, evaluating

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from kintsugi.core.kinds import Encoder
    from kintsugi.data.imageset import ImageSet
    from kintsugi.data.source import Source

_SHARD_ROWS, _SHARD_SECONDS = 4096, 20.0  # how much an interrupted run can lose


def embed(
    encoder: Encoder,
    data: ImageSet,
    *,
    cache: Path | str | None = None,
    batch_size: int = 64,
    device: str | torch.device | None = None,
    size: tuple[int, int] | None = None,
) -> NDArray[np.float32]:
    """One vector a sample.

    Args:
        encoder: what makes the vectors.
        data: the image set.
        cache: folder to keep them in; None keeps nothing. An interrupted run goes on where it was.
        batch_size: images at a time.
        device: where to run; None is where the encoder is.
        size: (height, width) to decode to; None takes what the encoder's preprocessing scales to.

    Returns:
        float32 ``[N, D]``. Rows of images that cannot be read are NaN; ``data.problems`` names them.

    Raises:
        BadData: no image could be read, or the encoder gives vectors that are not finite.
    """
    require(batch_size >= 1, "batch_size", batch_size, "at least 1")
    keys = content_keys(data)
    store = None if cache is None else Store(Path(cache), f"{encoder.fingerprint}|{size}")
    vectors: dict[bytes, NDArray[np.float32]] = {} if store is None else store.read(set(keys))
    first = {key: row for row, key in reversed(list(enumerate(keys)))}  # each content once
    todo = np.array(sorted(row for key, row in first.items() if key not in vectors), dtype=np.int64)
    fresh: dict[bytes, NDArray[np.float32]] = {}
    started = time.monotonic()
    with evaluating(encoder, device) as place, task(f"embed {encoder.name}", len(todo)) as tracker, torch.no_grad():
        for rows, image in batches(data, encoder, batch_size, size, todo):
            made = encoder(as_images(image, place)).float().cpu().numpy()
            bad = np.flatnonzero(~np.isfinite(made).all(axis=1))
            if len(bad):
                raise BadData(
                    f"{encoder.name} gives NaN for {data.ids[int(rows[bad[0]])]!r}.", "Take another encoder or layer."
                )
            fresh.update({keys[int(row)]: vector for row, vector in zip(rows, made, strict=True)})
            if store is not None and (len(fresh) >= _SHARD_ROWS or time.monotonic() - started > _SHARD_SECONDS):
                store.write(fresh)
                vectors, fresh, started = {**vectors, **fresh}, {}, time.monotonic()
            tracker.advance(len(rows))
    if store is not None:
        store.write(fresh)
    vectors.update(fresh)
    if not vectors:
        raise none_read(data)
    missing = np.full(len(next(iter(vectors.values()))), np.nan, dtype=np.float32)
    return np.stack([vectors.get(key, missing) for key in keys])


def content_keys(data: ImageSet) -> list[bytes]:
    """16 bytes a sample that name its content, so that a set that grows, or is cut, keeps the vectors it has.

    Images in memory are named by their pixels, encoded ones by their bytes. Of other sources, and of images that
    cannot be read, the source's fingerprint and the row are the name.
    """
    gather = getattr(data.source, "gather", None)
    if gather is None:
        return [_key(data.source, int(row)) for row in data.rows]
    keys: list[bytes] = []
    for start in range(0, len(data), 1024):
        block = np.ascontiguousarray(gather(data.rows[start : start + 1024]))
        keys += [_hash(repr(image.shape).encode(), image.data) for image in block]
    return keys


def _key(source: Source, row: int) -> bytes:
    if isinstance(source, Joined | Remembered):
        return _key(*source.find(row))
    if isinstance(source, Contents):
        if digest := source.digest(row):  # if there is none, decoding meets the bad image again, and records it
            return digest
    elif isinstance(source, ArraySource):
        image = np.ascontiguousarray(source.read(row))
        return _hash(repr(image.shape).encode(), image.data)
    return _hash(source.fingerprint.encode(), str(row).encode())


def _hash(*parts: Any) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
        digest.update(b"\0")
    return digest.digest()


class Store:
    """Shards of vectors in a folder, one sub-folder an encoder. A shard is whole or absent, and carries a checksum.

    Args:
        folder: the cache.
        encoder: the encoder's fingerprint.
    """

    def __init__(self, folder: Path, encoder: str) -> None:
        self.folder = folder / hashlib.blake2b(encoder.encode(), digest_size=12).hexdigest()

    def read(self, wanted: set[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """The vectors that are there; broken shards are removed with a warning, and made again."""
        found: dict[bytes, NDArray[np.float32]] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                key, vector = self._shard(path)
            except BadData as error:
                warnings.warn(f"{error} It is made again.", stacklevel=3)
                path.unlink(missing_ok=True)
                continue
            found.update({k: v for k, v in zip(key, vector, strict=True) if k in wanted})
        return found

    def write(self, vectors: dict[bytes, NDArray[np.float32]]) -> None:
        """Add a shard, named by its content, so that two processes never meet."""
        from safetensors.numpy import save_file

        if not vectors:
            return
        key = np.frombuffer(b"".join(vectors), dtype=np.uint8).reshape(-1, 16)
        vector = np.stack(list(vectors.values()))
        total = _checksum(key, vector)
        tensors: dict[str, Any] = {"key": np.ascontiguousarray(key), "vector": np.ascontiguousarray(vector)}
        write_with(self.folder / f"{total}.safetensors", lambda part: save_file(tensors, part, {"checksum": total}))

    @staticmethod
    def _shard(path: Path) -> tuple[list[bytes], NDArray[np.float32]]:
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                stated = (file.metadata() or {}).get("checksum")
                key, vector = file.get_tensor("key"), file.get_tensor("vector")
        except (SafetensorError, OSError) as error:
            raise BadData(f"The embedding cache {path} is broken ({error}).") from error
        if stated != _checksum(key, vector):
            raise BadData(f"The embedding cache {path} is broken (wrong checksum).")
        return [row.tobytes() for row in key], vector


def _checksum(key: NDArray[np.uint8], vector: NDArray[np.float32]) -> str:
    digest = hashlib.blake2b(repr(vector.shape).encode(), digest_size=12)
    digest.update(np.ascontiguousarray(key).data)
    digest.update(np.ascontiguousarray(vector).data)
    return digest.hexdigest()
