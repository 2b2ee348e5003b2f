import pytest

import report


def test_value():
    assert report.value("1 + 1") == 2


@pytest.mark.parametrize("number", [1, 2])
def test_wrong(number):
    assert number == 1, "not one"


@pytest.mark.skip(reason="not yet")
def test_later():
    pass
