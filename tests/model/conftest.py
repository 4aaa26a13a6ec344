"""What tests of the embedded engine share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from model.embedded import attention


@pytest.fixture(scope="module", params=["cut where it pays", "cut everywhere"])
def parts(request: pytest.FixtureRequest) -> Iterator[None]:
    """Attention cuts a cache of a few hundred rows nowhere; here it does, too."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "cut everywhere":
            patch.setattr(attention, "BLOCK", 3)
            patch.setattr(attention, "SPARED", 1)
        yield
