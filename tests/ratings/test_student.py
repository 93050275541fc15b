from __future__ import annotations

import numpy as np
import pytest

from arenaloop.ratings.student import t_quantile, t_quantiles


def test_student_quantiles_of_the_table() -> None:
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 30: 2.042, 120: 1.980}
    for dof, value in table.items():
        assert t_quantile(0.95, dof) == pytest.approx(value, abs=6e-4)
    assert t_quantiles(0.95, list(table)) == pytest.approx(list(table.values()), abs=6e-4)
    assert t_quantile(0.99, 7) == pytest.approx(3.499, abs=6e-4)
    assert t_quantile(0.95, np.inf) == pytest.approx(1.959964, abs=1e-6)
    for level, few in ((0, 5), (1, 5), (0.95, 0.5)):
        with pytest.raises(ValueError, match="must"):
            t_quantile(level, few)
