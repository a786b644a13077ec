"""Facts of the paper: domains, classes, pairs. Standard library only.

Munro & Damen, "Multi-Modal Domain Adaptation for Fine-Grained Action Recognition", CVPR 2020.
"""

from __future__ import annotations

from typing import NamedTuple

VERBS = ("take", "put", "open", "close", "wash", "cut", "mix", "pour")
"""The eight classes in the order of EPIC-Kitchens' class ids (the paper lists them in another order)."""

KITCHENS = {"D1": "P08", "D2": "P01", "D3": "P22"}
"""Domain -> EPIC participant, as in Fig. 4 and the released splits (the prose of section 4.1 swaps them)."""

TRAINING_SEGMENTS = {
    "D1": (421, 383, 231, 128, 223, 71, 42, 44),
    "D2": (715, 692, 245, 214, 298, 89, 113, 129),
    "D3": (919, 1121, 450, 367, 808, 110, 53, 69),
}
"""Training segments per domain and class id (Fig. 4): 1543, 2495 and 3897 in all."""


class DomainPair(NamedTuple):
    """A labelled source and an unlabelled target; prints as ``D2→D1``."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}→{self.target}"


PAIRS = tuple(DomainPair(*pair.split()) for pair in ("D2 D1", "D3 D1", "D1 D2", "D3 D2", "D1 D3", "D2 D3"))
"""The six pairs in the order of the paper's tables."""
