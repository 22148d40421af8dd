"""Products that wake no other threads; that they do not is tested with the sweeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forgetcli.products import dot, product


@pytest.mark.parametrize("size", [1, 3, 65, 101, 128, 129, 256, 300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_product_is_the_matrix_product(size: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(size, size)).astype(dtype) for _ in range(2))
    found = product(a.T, b)
    assert found.dtype == dtype
    exact = a.T.astype(np.float64) @ b.astype(np.float64)
    np.testing.assert_allclose(found, exact, rtol=0, atol=100 * size * np.finfo(dtype).eps)


def test_the_dot_product_is_the_sum_of_the_products() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 30_000))
    assert dot(x, y) == pytest.approx(float(np.sum(x * y)), rel=1e-9)
    assert dot(x[:0], y[:0]) == 0
