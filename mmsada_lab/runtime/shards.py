"""Which clips of a batch one process (or one part of an accumulated step) takes: the parts make up the whole batch.

A batch is drawn, its modalities rotated and its windows, crops and flips seeded as if one process took it all; only
then is it shared. So the clips of a step are the same however many take part.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mmsada_lab.errors import UserError


def share_of(count: int, *, positives: int, shard: tuple[int, int]) -> NDArray[np.int64]:
    """Slots of one part of a domain's batch: an equal share of its first clips, then an equal share of the rest.

    Both shares are neighbours in the whole batch: where they are multiples of the clips that share batch statistics,
    those groups are the ones that a single process would have.

    Args:
        count: clips of the domain in the whole batch.
        positives: how many of them, the first, correspond.
        shard: (number of this part, parts).

    Raises:
        UserError: if the shares would be unequal. Every loss is a mean over clips, and the mean of the parts'
            gradients is the gradient of the whole only where the parts are equal.
    """
    part, parts = shard
    rest = count - positives
    if positives % parts or rest % parts:
        raise UserError(_unequal(positives, rest, parts))
    halves = np.arange(positives), np.arange(positives, count)
    return np.concatenate([np.split(half, parts)[part] for half in halves])


def _unequal(positives: int, rest: int, parts: int) -> str:
    clips = f"{positives} corresponding and {rest} other clips" if rest else f"{positives} clips"
    fitting = f"an even number of times {parts}" if rest else f"a multiple of {parts}"
    return (
        f"the {clips} of a domain in every batch cannot be shared equally in {parts} parts (processes, or parts of an "
        f"accumulated step), and the mean over unequal parts is not that of the batch; choose a batch_size that gives "
        f"each domain {fitting} clips, or another number of parts"
    )
