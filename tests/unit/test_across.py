"""Steps of two classes of machine are compared by the lengths of their parts."""

from hypothesis import given
from hypothesis import strategies as st

from node.exchange.across import LENGTH_TOLERANCE, length, strays
from node.types import Digest
from node.wire.messages import PartCommitment

LEAF = Digest(bytes(32))


def part(square_norm: int, exponent: int = 0) -> PartCommitment:
    return PartCommitment(LEAF, square_norm, exponent)


def test_length_is_in_units_of_the_update() -> None:
    assert length(part(9, 2)) == 12.0
    assert length(part(0, 5)) == 0.0


@given(norm=st.integers(1, 2**60), exponent=st.integers(-140, 120), share=st.floats(0, 0.5))
def test_a_part_strays_beyond_the_tolerance_and_not_within(
    norm: int, exponent: int, share: float
) -> None:
    near = part(int(norm * (1 + 0.9 * LENGTH_TOLERANCE * share) ** 2), exponent)
    far = part(int(norm * (1.2 + share) ** 2) + 1, exponent)
    true = part(norm, exponent)
    assert not strays((true, near), (true, true))
    assert strays((true, far), (true, true))
    assert not strays((part(4 * norm, exponent - 1),), (true,))


def test_what_has_no_length_must_have_none_again() -> None:
    assert not strays((part(0),), (part(0, 7),))
    assert strays((part(1),), (part(0),))
    assert strays((part(0),), (part(1),))
