"""Quantiles of rows are those of NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kintsugi.core.errors import BadArgument
from kintsugi.ops.quantiles import row_quantile

finite = st.floats(-1e6, 1e6, width=32)


@given(
    arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 40)), elements=finite),
    st.sampled_from((0, 0.1, 0.5, 0.9, 0.99, 1)),
)
def test_as_numpy(values, share):
    wanted = np.quantile(values.astype(np.float64), share, axis=1)
    np.testing.assert_allclose(row_quantile(values.copy(), share), wanted, rtol=1e-12, atol=1e-9)


def test_a_share_is_from_0_to_1():
    with pytest.raises(BadArgument, match="share"):
        row_quantile(np.ones((2, 2)), 1.1)
