"""Mixtures that learn decide the same in every process, and as one process alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from polytask.data.mixing import mixtures
from tests.distributed.test_training import check_same, train, write
from tests.thinning import every

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
DYNAMIC = [kind for kind in mixtures.kinds() if mixtures.part(kind).adapts]


@pytest.mark.parametrize("kind", every(6, DYNAMIC))
def test_two_processes_draw_what_one_draws(kind: str, tmp_path: Path) -> None:
    recipe = write(tmp_path, "equal")
    text = recipe.read_text("utf-8").replace("accumulate: 2, ", "")
    text = text.replace("mixing: annealed", f"mixing: {{kind: {kind}, window: 4}}")
    recipe.write_text(text.replace("from: [shop, abroad]", "from: shop"), encoding="utf-8")
    alone = train(1, recipe, tmp_path / "1")
    shares = [record["mixing"]["shop[tokens]"] for record in alone.records if "losses" in record]
    assert len(set(shares)) > 2
    check_same(train(2, recipe, tmp_path / "2"), alone)
