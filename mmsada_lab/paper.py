"""Facts of the paper: domains, classes, pairs. Standard library only.

Munro & Damen, "Multi-Modal Domain Adaptation for Fine-Grained Action Recognition", CVPR 2020.
"""

from __future__ import annotations

import math
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


MMD_BANDWIDTHS = tuple(9.7 * 2 ** (-8 + math.sqrt(2) * step) for step in range(12))
"""The 12 kernels of MK-MMD in the released code: exp(-|x - y|^2 / g) for g from 0.038 to 1826."""


class DomainPair(NamedTuple):
    """A labelled source and an unlabelled target; prints as ``D2→D1``."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}→{self.target}"


PAIRS = tuple(DomainPair(*pair.split()) for pair in ("D2 D1", "D3 D1", "D1 D2", "D3 D2", "D1 D3", "D2 D3"))
"""The six pairs in the order of the paper's tables."""


class PaperCell(NamedTuple):
    """One printed accuracy.

    Attributes:
        table: 1 to 4.
        method: key of `config.METHODS`.
        stream: ``fused``, or the modality whose logits alone predict (Table 3).
        variant: key of `VARIANTS`.
        pair: source and target; supervised target is printed under both pairs of its target.
        top1: percent of the target's test segments, mean over the last nine "epochs" of one run.
    """

    table: int
    method: str
    stream: str
    variant: str
    pair: DomainPair
    top1: float


class PaperRow(NamedTuple):
    """One row of a table as it is printed: the accuracies of the six `PAIRS`, and their mean."""

    table: int
    method: str
    stream: str
    variant: str
    top1: tuple[float, ...]
    printed_mean: float

    @property
    def mean(self) -> float:
        """Mean of the printed accuracies, not rounded."""
        return sum(self.top1) / len(self.top1)

    @property
    def cells(self) -> tuple[PaperCell, ...]:
        """The six accuracies, one by one."""
        pairs = zip(PAIRS, self.top1, strict=True)
        return tuple(PaperCell(self.table, self.method, self.stream, self.variant, p, top1) for p, top1 in pairs)


VARIANTS: dict[str, dict[str, object]] = {
    "": {},
    "lambda_d=0.5": {"reversal_coefficient": 0.1},
    "synchronous": {"positives": "synchronous"},
}
"""What a row was trained with -> the overrides of the preset ``paper`` that ask for it."""

# table, method, stream, variant (- for none), six accuracies in the order of PAIRS, the printed mean
_TABLES = """
1 source_only          fused -            42.5 44.3 42.0 56.3 41.2 46.5 45.5
1 adabn                fused -            44.6 47.8 47.0 54.7 40.3 48.8 47.2
1 mmd                  fused -            43.1 48.3 46.6 55.2 39.2 48.5 46.8
1 mcd                  fused -            42.1 47.9 46.5 52.7 43.5 51.0 47.3
1 mmsada               fused -            48.2 50.9 49.5 56.1 44.1 52.7 50.3
1 supervised_target    fused -            62.8 62.8 71.7 71.7 74.0 74.0 69.5
2 source_only          fused -            42.5 44.3 42.0 56.3 41.2 46.5 45.5
2 self_supervised_only fused -            41.8 49.7 47.7 57.4 40.3 50.6 47.9
2 adversarial_only     fused -            46.5 51.0 50.0 53.7 43.5 51.5 49.4
2 adversarial_only     fused lambda_d=0.5 46.9 50.2 50.2 53.6 44.7 50.8 49.4
2 mmsada               fused lambda_d=0.5 45.8 52.1 50.4 56.9 43.5 51.9 50.1
2 mmsada               fused -            48.2 50.9 49.5 56.1 44.2 52.7 50.3
3 source_only          rgb   -            37.0 36.3 36.1 44.8 36.6 33.6 37.4
3 adversarial_only     rgb   -            37.8 41.1 45.7 45.1 38.1 41.2 41.5
3 mmsada               rgb   -            41.7 42.1 45.0 48.4 39.7 46.1 43.9
3 source_only          flow  -            44.6 44.4 52.2 54.0 41.1 50.0 47.7
3 adversarial_only     flow  -            45.5 46.8 51.1 54.6 44.2 47.1 48.2
3 mmsada               flow  -            45.0 45.7 49.0 58.9 44.8 52.1 49.3
4 self_supervised_only fused synchronous  44.2 50.2 48.0 54.6 41.0 49.4 47.9
4 self_supervised_only fused -            41.8 49.7 47.7 57.4 40.3 50.6 47.9
"""


def _row(line: str) -> PaperRow:
    table, method, stream, variant, *numbers, mean = line.split()
    return PaperRow(int(table), method, stream, variant.strip("-"), tuple(map(float, numbers)), float(mean))


PAPER_ROWS = tuple(_row(line) for line in _TABLES.strip().splitlines())
"""Tables 1 to 4 as printed, with their repetitions: source-only and Seg. Corr. stand in two tables."""

PAPER_CELLS = tuple(cell for row in PAPER_ROWS for cell in row.cells)
"""The same, tidy: one accuracy each."""


class PaperNote(NamedTuple):
    """Where the paper's numbers disagree with one another, or deserve a second look.

    Attributes:
        name: short, unique.
        place: where it is printed.
        printed: what is printed.
        recomputed: the same from the accuracies of `PAPER_ROWS`, to two decimals (they are rounded to one).
        remark: what to make of it.
    """

    name: str
    place: str
    printed: float
    recomputed: float
    remark: str


# Found by recomputing every printed mean and gain; the tests hold them against PAPER_ROWS.
PAPER_NOTES = (
    PaperNote("mmsada D1→D3", "Table 1", 44.1, 44.2, "44.2 in Table 2, in the same row; 44.1 fits the gain printed"),
    PaperNote("rgb mmsada mean", "Table 3", 43.9, 43.83, "the only printed mean that its row does not give"),
    PaperNote("gain D2→D3", "Table 1", 6.3, 6.2, "the only one of six printed gains that its column does not give"),
    PaperNote("gain over mmd", "section 4.3", 3.5, 3.43, "a difference of rounded means"),
    PaperNote("rgb gain", "section 4.4", 6.5, 6.43, "MM-SADA over source-only; a difference of rounded means"),
    PaperNote("flow gain", "section 4.4", 1.6, 1.53, "MM-SADA over source-only; a difference of rounded means"),
    PaperNote("rgb gain of self-supervision", "section 4.4", 2.4, 2.33, "over adversarial only; inherits 43.9"),
    PaperNote("flow gain of self-supervision", "section 4.4", 1.1, 1.03, "over adversarial only; rounded means"),
    PaperNote(
        "pairs improved over adversarial only", "section 4.4", 5, 4,
        "4 of 6 at either lambda_d; 5 only between the better lambda_d of each pair, on both sides",
    ),
    PaperNote(
        "largest gain over adversarial only", "section 4.4", 3.2, 2.4,
        "2.4 at lambda_d = 1, 3.3 at 0.5; 3.2 only between the better lambda_d of each pair, on both sides",
    ),
    PaperNote(
        "flow alone, source-only, over fused", "Tables 1 and 3", 2.2, 2.25,
        "flow without adaptation has a higher mean than fused source-only, AdaBN, MMD and MCD",
    ),
)  # fmt: skip
"""No number comes with a spread: one run a pair, and a binomial standard error of about 2 points a cell."""


class PaperDifference(NamedTuple):
    """Where the text and the authors' released code differ.

    Attributes:
        number: to refer to it.
        topic: what about.
        paper: what the text says.
        code: what the code does.
        option: the field of our configuration that decides (as `build_config` takes it), or "" without one.
        paper_value: its value that follows the text.
        code_value: its value that follows the code, as the preset ``released`` does.
        preset_value: its value in the preset ``paper`` (of MM-SADA).
    """

    number: int
    topic: str
    paper: str
    code: str
    option: str = ""
    paper_value: str | float | None = None
    code_value: str | float | None = None
    preset_value: str | float | None = None


# Read off the released code beside the text; `mmsada options` shows them.
PAPER_DIFFERENCES = (
    PaperDifference(1, "optimiser", "Adam", "SGD, momentum 0.9; the authors call the text wrong",
                    "optimiser", "adam", "sgd", "sgd"),
    PaperDifference(2, "learning rate of the second stage", "2e-4, in units of Ly: 0.001 of 0.2 Ly",
                    "0.01 of 0.2 Ly: the scripts' 0.001 never reaches the optimiser",
                    "adapt.learning_rate", 0.001, 0.01, 0.001),
    PaperDifference(3, "units of the loss", "Ly + lambda_d Ld + lambda_c Lc (all of it: TEXT_UNITS)",
                    "0.2 Ly + Ld + Lc: D learns five times faster",
                    "adapt.weights.classification", 1.0, 0.2, 0.2),
    PaperDifference(4, "lambda_d over time", "constant", "ramp from 0 within the second stage",
                    "reversal_schedule", "constant", "ramp", "ramp"),
    PaperDifference(5, "output of D (Eq. 2)", "one, sigmoid", "two, softmax", "discriminator_outputs", 1, 2, 2),
    PaperDifference(6, "terms of Lc (Eq. 3)", "-c log C alone", "both terms of cross-entropy",
                    "correspondence_terms", "printed", "both", "both"),
    PaperDifference(7, "dropout", "on the output of F, for all heads", "for the classifiers G alone",
                    "dropout_on", "features", "classifier", "classifier"),
    PaperDifference(8, "batch statistics at test", "of the target, as AdaBN", "running, source and target mixed",
                    "test_statistics", "target", "running", "running"),
    PaperDifference(9, "crops", "as TSN: 13 offsets", "the 4 of them to the top or middle and left or middle",
                    "crops", "tsn", "released", "released"),
    PaperDifference(10, "outputs of G", "8, one a class", "16; at test the spare ones compete",
                    "outputs_per_class", 1, 2, 1),
    PaperDifference(11, "source clips of a source-only batch", "64: half the batch", "128",
                    "source_only_batch", "half", "full", "full"),
    PaperDifference(12, "an epoch of the last nine", "not said", "50 steps", "evaluate_every", None, 50, 50),
    PaperDifference(13, "fusion", "average pooled scores (Fig. 3)", "a sum of logits (Eq. 1)",
                    "fusion", "mean", "sum", "sum"),
    PaperDifference(14, "layers of C", "two of 100 units", "2048 to 100 to 2", "correspondence_layers", 2, 1, 1),
    PaperDifference(15, "negatives of Sync (Table 4)", "out of synchrony", "of other segments, as those of Seg. Corr.",
                    "negatives", "moment", "other", "other"),
    PaperDifference(16, "steps of MCD", "not said; three in turn where it comes from (Saito et al.)", "one for all",
                    "discrepancy_steps", None, "joint", "joint"),
    PaperDifference(17, "reversal of MCD", "not said; 0.2 here as for D, into F a fifth of lambda_d = 1",
                    "1 unless told otherwise; no script tells", "discrepancy_reversal", None, 1.0, 0.2),
    PaperDifference(18, "kitchens of section 4.1", "D1, D2, D3 are P01, P22, P08", "P08, P01, P22, as in Fig. 4"),
    PaperDifference(19, "order of the classes", "put first, then take", "take is 0, put is 1"),
    PaperDifference(20, "softmax of G", "G ends in one", "after the streams are added, as in Eq. 1"),
    PaperDifference(21, "losses", "sums over segments", "means over the batch"),
    PaperDifference(22, "times of positives", "the same or different within the segment", "drawn independently"),
)  # fmt: skip
"""Those with an option first."""

TEXT_UNITS = {
    "adapt.weights.classification": 1.0,
    "adapt.weights.correspondence": 5.0,
    "reversal_coefficient": 1.0,
    "adapt.learning_rate": 2e-4,
}
"""The second stage in the units of the text, lambda_d = 1 and lambda_c = 5: classification's weight alone would change
both lambdas."""
