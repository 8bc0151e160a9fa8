"""Product-quantised codes: a few bytes a vector, and distances from a vector to codes without decoding them.

Jegou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", PAMI 2011. A vector is cut into m parts,
each part is replaced by the number of the nearest of K centroids of that part (k-means), so that y is kept as
q(y) = (q_1(y_1), ..., q_m(y_m)). The asymmetric distance (equation 13) is
ADC(x, y) = |x - q(y)|^2 = sum_j |x_j - q_j(y_j)|^2, read from a table of m K numbers a query. ADC(x, x) is the error of
quantising x itself, and no code is nearer to x than its own.

Codebooks come from scikit-learn's k-means on a sample, whether faiss is there or not, so a code means the same
everywhere. faiss searches large sets (an inverted file over the same codes); below that all codes are compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from kintsugi.core.errors import BadArgument, BadData, one_of, require
from kintsugi.core.optional import available, need
from kintsugi.core.randomness import draw_seed
from kintsugi.ops.neighbours import checked, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CENTROIDS = (2, 4, 8, 16, 32, 64, 128, 256)
SAMPLE = 256  # vectors a centroid that codebooks are fitted to, at most
LARGE = 100_000  # codes from which `auto` takes faiss, where it is there
ENGINES = ("auto", "exact", "faiss")


class ProductCodes:
    """Codebooks.

    Args:
        parts: bytes a code; the vectors' columns are cut into as many runs of one length (the last is padded with 0).
        centroids: of each part, a power of two up to 256.
        passes: k-means steps at most.
    """

    def __init__(self, parts: int = 4, centroids: int = 256, *, passes: int = 25) -> None:
        require(parts >= 1, "parts", parts, "at least 1 part")
        require(centroids in CENTROIDS, "centroids", centroids, "a power of two from 2 to 256")
        require(passes >= 1, "passes", passes, "at least 1 step")
        self.parts, self.centroids, self.passes = parts, centroids, passes
        self.books: NDArray[np.float32] = np.zeros((parts, 0, 0), np.float32)
        self.columns = 0

    def fit(self, points: NDArray[Any], rng: np.random.Generator) -> ProductCodes:
        """Find the codebooks ``[parts, centroids, width]``.

        Args:
            points: float ``[N, D]``; a sample is drawn of more than 256 a centroid. With fewer distinct vectors than
                centroids each gets its own, and the last one is repeated.
            rng: for the sample and the starts of k-means.
        """
        points = checked("points", points)
        if not len(points):
            raise BadData("There are no vectors to fit codebooks to:", "give at least one.")
        self.columns = points.shape[1]
        most = SAMPLE * self.centroids
        if len(points) > most:
            points = points[np.sort(rng.choice(len(points), most, replace=False))]
        seed = draw_seed(rng)
        self.books = np.stack([self._book(part, (seed + j) % 2**32) for j, part in enumerate(self._cut(points))])
        return self

    def encode(self, points: NDArray[Any]) -> NDArray[np.uint8]:
        """Codes uint8 ``[N, parts]``; of equally near centroids the first is taken."""
        points = self._mine(points)
        code = np.empty((len(points), self.parts), np.uint8)
        for rows in _blocks(len(points), self.centroids * self.parts):
            code[rows] = self.table(points[rows]).argmin(axis=2)
        return code

    def decode(self, code: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The vectors that codes stand for, float32 ``[N, D]``."""
        code = self._codes(code)
        apart = self.books[np.arange(self.parts)[None], code]
        return np.ascontiguousarray(apart.reshape(len(code), -1)[:, : self.columns])

    def table(self, query: NDArray[Any]) -> NDArray[np.float32]:
        """Squared distance of each part of each query to each centroid, ``[Q, parts, centroids]``.

        Each number depends on its own query alone, to the last bit, however many are asked at once.
        """
        cut = self._cut(self._mine(query))
        made = np.empty((len(query), self.parts, self.books.shape[1]), np.float32)
        for j, part in enumerate(cut):
            for rows in _blocks(len(part), self.books.shape[1] * self.books.shape[2]):
                apart = part[rows, None, :] - self.books[j][None]
                made[rows, j] = (apart * apart).sum(axis=2, dtype=np.float32)
        return made

    def distance(self, query: NDArray[Any], code: NDArray[np.uint8]) -> NDArray[np.float32]:
        """ADC of each query with the code in the same row, float32 ``[N]``."""
        query, code = self._mine(query), self._codes(code)
        if len(query) != len(code):
            raise BadData(f"There are {len(query)} queries and {len(code)} codes:", "give one code a query.")
        found = np.empty(len(query), np.float32)
        for rows in _blocks(len(query), self.books.shape[0] * self.books.shape[2]):
            found[rows] = self._row_distance(query[rows], code[rows])
        return found

    def search(
        self,
        query: NDArray[Any],
        code: NDArray[np.uint8],
        k: int,
        *,
        alone: bool = False,
        engine: str = "auto",
        probes: int = 16,
        memory: int = 256,
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The ``k`` codes of least ADC for each query.

        Args:
            query: float ``[Q, D]``.
            code: uint8 ``[N, parts]``.
            k: codes wanted; fewer are given where there are fewer.
            alone: queries are the vectors behind the codes, row for row, and each one's own code is left out: by its
                row, not by its rank, since a copy's code is the same.
            engine: ``exact`` (all codes), ``faiss`` (an inverted file: approximate), or ``auto``: faiss from 100,000
                codes on if it is installed.
            probes: cells of the inverted file looked into, of about the root of N; one alone would lose copies on a
                border.
            memory: MiB of a block of the exact search.

        Returns:
            ADC float32 ``[Q, k]``, ascending, and rows int64 ``[Q, k]``.
        """
        one_of("engine", engine, ENGINES)
        require(k >= 1, "k", k, "at least 1")
        require(probes >= 1, "probes", probes, "at least 1 cell")
        query, code = self._mine(query), self._codes(code)
        if alone and len(query) != len(code):
            raise BadData(f"There are {len(query)} queries and {len(code)} codes:", "give one code a query.")
        wanted = min(k, len(code) - alone)
        if wanted < 1 or not len(query):
            return np.zeros((len(query), max(wanted, 0)), np.float32), np.zeros((len(query), max(wanted, 0)), np.int64)
        if engine == "faiss" or (engine == "auto" and len(code) >= LARGE and available("faiss")):
            rows = self._by_faiss(query, code, wanted + alone, probes)
        else:
            rows = nearest(self.decode(code), wanted + alone, query, metric="l2", engine="exact", memory=memory)[1]
        if alone:
            own = rows == np.arange(len(rows))[:, None]
            own[~own.any(axis=1), -1] = True  # its own code was crowded out by copies
            rows = rows[~own].reshape(len(rows), wanted)
        flat = np.repeat(np.arange(len(query)), wanted)
        read = np.empty(rows.size, np.float32)
        for part in _blocks(rows.size, self.books.shape[0] * self.books.shape[2]):
            read[part] = self._row_distance(query[flat[part]], code[rows.ravel()[part]])
        adc = read.reshape(rows.shape)
        order = np.lexsort((rows, adc), axis=1)
        return np.take_along_axis(adc, order, 1), np.take_along_axis(rows, order, 1)

    def _by_faiss(self, query: NDArray[np.float32], code: NDArray[np.uint8], k: int, probes: int) -> NDArray[np.int64]:
        index = self._index(code)
        index.nprobe = min(index.nlist, probes)
        padded = self._padded(query)
        rows = index.search(padded, k)[1]
        short = np.flatnonzero((rows < 0).any(axis=1))  # the cells hold too few codes: look into all of them
        if len(short):
            index.nprobe = index.nlist
            rows[short] = index.search(padded[short], k)[1]
        return np.asarray(rows, np.int64)

    def _index(self, code: NDArray[np.uint8]) -> Any:
        """A faiss inverted file over these very codes: codebooks are handed over, vectors are not needed."""
        faiss: Any = need("faiss", "audit")
        width = self.books.shape[2] * self.parts
        cells = max(1, min(65_536, round(len(code) ** 0.5), len(code) // 39))
        drawn = np.linspace(0, len(code) - 1, min(len(code), 64 * cells)).astype(np.int64)
        means = faiss.Kmeans(width, cells, niter=10, seed=0)
        means.train(self._padded(self.decode(code[drawn])))
        coarse = faiss.IndexFlatL2(width)
        coarse.add(means.centroids)
        index = faiss.IndexIVFPQ(coarse, width, cells, self.parts, max(1, (self.books.shape[1] - 1).bit_length()))
        index.by_residual = False
        faiss.copy_array_to_vector(self.books.ravel(), index.pq.centroids)
        index.is_trained = True
        for rows in _blocks(len(code), width):
            index.add(self._padded(self.decode(code[rows])))
        return index

    def _book(self, part: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
        from sklearn.cluster import KMeans

        distinct = np.unique(part, axis=0)
        if len(distinct) <= self.centroids:
            return np.concatenate([distinct, np.repeat(distinct[-1:], self.centroids - len(distinct), axis=0)])
        means: Any = KMeans(self.centroids, n_init=1, max_iter=self.passes, random_state=seed)
        return np.asarray(means.fit(part).cluster_centers_, np.float32)

    def _cut(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """``[parts, N, width]``."""
        padded = self._padded(points)
        return np.ascontiguousarray(padded.reshape(len(points), self.parts, -1).transpose(1, 0, 2))

    def _padded(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        missing = -points.shape[1] % self.parts
        return np.ascontiguousarray(np.pad(points, ((0, 0), (0, missing)))) if missing else points

    def _row_distance(self, query: NDArray[np.float32], code: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The sums of :meth:`table`, in its order, so that both agree to the last bit."""
        total = np.zeros(len(query), np.float32)
        for j, part in enumerate(self._cut(query)):
            apart = part - self.books[j][code[:, j]]
            total += (apart * apart).sum(axis=1, dtype=np.float32)
        return total

    def _mine(self, points: NDArray[Any]) -> NDArray[np.float32]:
        if not self.columns:
            raise BadArgument("The codes have no codebooks yet:", "call fit first.")
        points = checked("points", points)
        if points.shape[1] != self.columns:
            raise BadData(f"points has {points.shape[1]} columns, the codebooks {self.columns}:", "embed both alike.")
        return points

    def _codes(self, code: NDArray[Any]) -> NDArray[np.uint8]:
        if code.ndim != 2 or code.shape[1] != self.parts or code.dtype != np.uint8:
            raise BadData(f"code is {code.dtype} {code.shape}:", f"give uint8 [N, {self.parts}].")
        return code


def _blocks(count: int, wide: int, memory: int = 2**25) -> Iterator[slice]:
    """Runs of rows of which ``wide`` numbers each are held at once."""
    step = max(1, memory // (4 * max(wide, 1)))
    for top in range(0, count, step):
        yield slice(top, min(top + step, count))
