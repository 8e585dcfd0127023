"""Any bit that changes, changes a checksum; the order in which a device adds does not."""

import pytest
import torch

from art.train.trail import checksums


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_checksum_changes_with_each_bit_of_each_number(dtype: torch.dtype):
    whole = {2: torch.int16, 4: torch.int32, 8: torch.int64}[torch.empty(0, dtype=dtype).element_size()]
    values = torch.linspace(-1, 1, 5, dtype=dtype)
    before = checksums([values])

    for place in range(5):
        for bit in range(8 * values.element_size()):
            flipped = values.clone()
            flipped.view(whole)[place] ^= torch.tensor(1, dtype=whole) << bit
            assert checksums([flipped]) != before


def test_a_checksum_tells_numbers_that_change_places_and_zeros_of_two_signs():
    one, other, zero = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), torch.tensor([0.0])

    assert checksums([one]) != checksums([other])
    assert checksums([zero]) != checksums([-zero])
    assert checksums([one, None]) == checksums([one.clone(), None])
    assert all(0 <= half < 2**32 and half == int(half) for half in checksums([one, None]))
