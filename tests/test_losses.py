"""The equations of the paper as laws, and against a transcription of them in numpy.

The transcription below was written from the paper's section 3, not from `mmsada_lab.losses`: probabilities first, then
logarithms, in float64. Labels: d = 0 source, d = 1 target; c = 1 corresponds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor
from torch.testing import assert_close

from mmsada_lab.errors import UserError
from mmsada_lab.losses import (
    classification_loss,
    classifier_discrepancy,
    correspondence_loss,
    domain_adversarial_loss,
    mmd_loss,
    total_loss,
)
from mmsada_lab.paper import MMD_BANDWIDTHS

Array = NDArray[Any]
LAW = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 2**31)
batches = st.integers(1, 9)
SHAPES = pytest.mark.parametrize("outputs", [1, 2], ids=["sigmoid", "softmax"])


def eq1_by_hand(stream_logits: list[Array], labels: Array, corresponds: Array) -> float:
    """Eq. 1: L_y = -y log P(x), P = softmax(sum over the modalities of G^m(F^m(x))), over the corresponding clips."""
    losses = []
    for row, label in enumerate(labels):
        exponentials = np.exp(sum(logits[row] for logits in stream_logits))
        probability = exponentials / exponentials.sum()
        if corresponds[row]:
            losses.append(-np.log(probability[label]))
    return float(np.mean(losses))


def probability_of_one(scores: Array) -> Array:
    """What a discriminator says: sigmoid of one logit, or the second of two softmax outputs, `(B,)`."""
    if scores.ndim == 1:
        return 1 / (1 + np.exp(-scores))
    return np.exp(scores[:, 1]) / np.exp(scores).sum(axis=1)


def eq2_by_hand(source: Array, target: Array) -> float:
    """Eq. 2: L_d = sum over x of -d log D(F(x)) - (1 - d) log(1 - D(F(x))), as a mean over both domains."""
    d = np.concatenate([np.zeros(len(source)), np.ones(len(target))])
    says = np.concatenate([probability_of_one(source), probability_of_one(target)])
    return float(np.mean(-d * np.log(says) - (1 - d) * np.log(1 - says)))


def eq3_by_hand(scores: Array, corresponds: Array) -> float:
    """Eq. 3 with both of its terms: -c log C - (1 - c) log(1 - C); as printed, a negative pair would cost nothing."""
    c, says = corresponds.astype(float), probability_of_one(scores)
    return float(np.mean(-c * np.log(says) - (1 - c) * np.log(1 - says)))


def normal(seed: int, *shape: int) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scores_of(seed: int, rows: int, outputs: int) -> Tensor:
    return normal(seed, rows) if outputs == 1 else normal(seed, rows, 2)


def some_true(seed: int, rows: int) -> Tensor:
    """A boolean vector of which at least the first entry is true, `(rows,)`."""
    flags = normal(seed, rows) > 0
    flags[0] = True
    return flags


def labels_of(seed: int, rows: int, classes: int) -> Tensor:
    return torch.randint(classes, (rows,), generator=torch.Generator().manual_seed(seed))


def gradient(loss: Tensor, of: Tensor) -> Tensor:
    (result,) = torch.autograd.grad(loss, of)
    return result


class TestFourRowsByHand:
    """Logits are logarithms of small integers, so that every probability is a fraction one can check on paper."""

    logits = torch.tensor([[1, 1, 2], [1, 2, 1], [1, 1, 8], [5, 5, 5]], dtype=torch.float64).log()
    labels = torch.tensor([2, 0, 0, 1])  # probabilities 1/2, 1/4, 1/10, 1/3

    def test_classification(self) -> None:
        assert classification_loss(self.logits, self.labels).item() == pytest.approx(np.log(2 * 4 * 10 * 3) / 4)

    def test_classification_of_the_corresponding(self) -> None:
        corresponds = torch.tensor([True, False, False, True])
        loss = classification_loss(self.logits, self.labels, corresponds=corresponds)
        assert loss.item() == pytest.approx(np.log(2 * 3) / 2)

    @SHAPES
    def test_domain_adversarial(self, outputs: int) -> None:
        # D says "target" with 3/4, 1/2 for the source clips and 1/2, 3/4 for the target clips
        source, target = torch.tensor([3.0, 1.0]).double().log(), torch.tensor([1.0, 3.0]).double().log()
        if outputs == 2:
            source, target = (torch.stack([torch.zeros(2).double(), scores], dim=1) for scores in (source, target))
        assert domain_adversarial_loss(source, target).item() == pytest.approx(np.log(4 * 2 * 2 * 4 / 3) / 4)

    @SHAPES
    def test_correspondence(self, outputs: int) -> None:
        # C says "corresponds" with 1/2, 3/4, 3/4, 1/2; only the second and the last pair do
        scores = torch.tensor([1.0, 3.0, 3.0, 1.0]).double().log()
        if outputs == 2:
            scores = torch.stack([torch.zeros(4).double(), scores], dim=1)
        loss = correspondence_loss(scores, torch.tensor([False, True, False, True]))
        assert loss.item() == pytest.approx(np.log(2 * 4 / 3 * 4 * 2) / 4)


class TestAgainstTheTranscription:
    @LAW
    @given(seed=seeds, rows=batches, classes=st.integers(2, 9), modalities=st.integers(1, 3))
    def test_classification(self, seed: int, rows: int, classes: int, modalities: int) -> None:
        streams = list(normal(seed, modalities, rows, classes))
        labels, corresponds = labels_of(seed, rows, classes), some_true(seed + 1, rows)
        by_hand = eq1_by_hand([logits.numpy() for logits in streams], labels.numpy(), corresponds.numpy())
        library = classification_loss(torch.stack(streams).sum(dim=0), labels, corresponds=corresponds)
        assert library.item() == pytest.approx(by_hand, rel=1e-9)

    @SHAPES
    @LAW
    @given(seed=seeds, sources=batches, targets=batches)
    def test_domain_adversarial(self, outputs: int, seed: int, sources: int, targets: int) -> None:
        source, target = scores_of(seed, sources, outputs), scores_of(seed + 1, targets, outputs)
        by_hand = eq2_by_hand(source.numpy(), target.numpy())
        assert domain_adversarial_loss(source, target).item() == pytest.approx(by_hand, rel=1e-9)

    @SHAPES
    @LAW
    @given(seed=seeds, rows=batches)
    def test_correspondence(self, outputs: int, seed: int, rows: int) -> None:
        scores, corresponds = scores_of(seed, rows, outputs), normal(seed + 1, rows) > 0
        by_hand = eq3_by_hand(scores.numpy(), corresponds.numpy())
        assert correspondence_loss(scores, corresponds).item() == pytest.approx(by_hand, rel=1e-9)


class TestClassification:
    """Eq. 1."""

    logits = normal(1, 6, 8).requires_grad_()
    labels = labels_of(2, 6, 8)
    corresponds = torch.tensor([True, False, True, True, False, False])

    def test_is_a_scalar(self) -> None:
        assert classification_loss(self.logits, self.labels).shape == ()

    @pytest.mark.parametrize("classes", [2, 8, 97])
    def test_uniform_prediction_costs_log_k(self, classes: int) -> None:
        loss = classification_loss(torch.zeros(5, classes), labels_of(0, 5, classes))
        assert loss.item() == pytest.approx(np.log(classes))

    def test_perfect_prediction_is_free(self) -> None:
        certain = 100 * torch.nn.functional.one_hot(self.labels, 8).double()
        assert classification_loss(certain, self.labels).item() == pytest.approx(0, abs=1e-12)

    def test_order_of_the_clips_is_of_no_consequence(self) -> None:
        order = torch.tensor([3, 1, 5, 0, 4, 2])
        loss = classification_loss(self.logits, self.labels, corresponds=self.corresponds)
        shuffled = classification_loss(self.logits[order], self.labels[order], corresponds=self.corresponds[order])
        assert_close(shuffled, loss)

    def test_a_constant_added_to_one_streams_logits_changes_nothing(self) -> None:
        flow = normal(3, 6, 8)
        shifted = flow + normal(4, 6, 1)
        assert_close(
            classification_loss(self.logits + shifted, self.labels),
            classification_loss(self.logits + flow, self.labels),
        )

    def test_gradient_is_softmax_minus_one_hot(self) -> None:
        found = gradient(classification_loss(self.logits, self.labels), self.logits)
        one_hot = torch.nn.functional.one_hot(self.labels, 8)
        assert_close(found, (self.logits.softmax(dim=1) - one_hot).detach() / 6)

    def test_only_corresponding_clips_teach(self) -> None:
        found = gradient(classification_loss(self.logits, self.labels, corresponds=self.corresponds), self.logits)
        one_hot = torch.nn.functional.one_hot(self.labels, 8)
        expected = (self.logits.softmax(dim=1) - one_hot).detach() / 3  # the mean is over the three that do
        assert_close(found, expected * self.corresponds.unsqueeze(1))

    def test_all_corresponding_is_the_default(self) -> None:
        everything = torch.ones(6, dtype=torch.bool)
        loss = classification_loss(self.logits, self.labels, corresponds=everything)
        assert_close(loss, classification_loss(self.logits, self.labels))

    def test_no_corresponding_clip_costs_nothing(self) -> None:
        loss = classification_loss(self.logits, self.labels, corresponds=torch.zeros(6, dtype=torch.bool))
        assert loss.item() == 0
        assert_close(gradient(loss, self.logits), torch.zeros_like(self.logits))

    def test_spare_outputs_are_never_taught(self) -> None:
        """The released code's sixteen outputs: cross-entropy is over the first eight."""
        logits = normal(5, 6, 16).requires_grad_()
        loss = classification_loss(logits, self.labels, num_classes=8)
        assert_close(loss, classification_loss(logits[:, :8], self.labels))
        found = gradient(loss, logits)
        assert_close(found[:, 8:], torch.zeros(6, 8, dtype=torch.float64))
        assert bool((found[:, :8] != 0).all())

    def test_sixteen_outputs_compete_when_not_limited(self) -> None:
        logits = torch.zeros(6, 16)
        assert classification_loss(logits, self.labels).item() == pytest.approx(np.log(16))
        assert classification_loss(logits, self.labels, num_classes=8).item() == pytest.approx(np.log(8))


class TestDomainAdversarial:
    """Eq. 2."""

    @SHAPES
    def test_confused_discriminator_costs_log_two(self, outputs: int) -> None:
        source, target = torch.zeros(scores_of(0, 3, outputs).shape), torch.zeros(scores_of(0, 5, outputs).shape)
        assert domain_adversarial_loss(source, target).item() == pytest.approx(np.log(2))

    def test_the_source_is_zero_and_the_target_one(self) -> None:
        low, high = torch.full((4,), -50.0), torch.full((4,), 50.0)
        assert domain_adversarial_loss(low, high).item() == pytest.approx(0, abs=1e-6)
        assert domain_adversarial_loss(high, low).item() == pytest.approx(50)
        none = torch.zeros(4)
        source, target = torch.stack([high, none], dim=1), torch.stack([none, high], dim=1)
        assert domain_adversarial_loss(source, target).item() == pytest.approx(0, abs=1e-6)

    @SHAPES
    def test_mean_is_over_clips_not_over_domains(self, outputs: int) -> None:
        source, target = scores_of(1, 2, outputs), scores_of(2, 6, outputs)
        loss = domain_adversarial_loss(source, target)
        doubled = domain_adversarial_loss(torch.cat([source, source]), torch.cat([target, target]))
        assert_close(doubled, loss)
        per_domain = [eq2_by_hand(source.numpy(), target[:0].numpy()), eq2_by_hand(source[:0].numpy(), target.numpy())]
        assert loss.item() == pytest.approx((2 * per_domain[0] + 6 * per_domain[1]) / 8)

    @SHAPES
    @pytest.mark.parametrize("domain", ["source", "target"])
    def test_gradient_is_what_d_says_minus_the_truth(self, outputs: int, domain: str) -> None:
        source, target = scores_of(1, 3, outputs).requires_grad_(), scores_of(2, 5, outputs).requires_grad_()
        scores, d = (source, 0.0) if domain == "source" else (target, 1.0)
        found = gradient(domain_adversarial_loss(source, target), scores)
        towards_one = torch.from_numpy((probability_of_one(scores.detach().numpy()) - d) / 8)
        assert_close(found if outputs == 1 else found[:, 1], towards_one)
        if outputs == 2:
            assert_close(found[:, 0], -towards_one)

    def test_two_way_scores_may_be_shifted(self) -> None:
        source, target = normal(1, 3, 2), normal(2, 5, 2)
        shifted = domain_adversarial_loss(source + normal(3, 3, 1), target + normal(4, 5, 1))
        assert_close(shifted, domain_adversarial_loss(source, target))

    def test_sigmoid_and_softmax_agree(self) -> None:
        """Row 8 of the paper's differences from the code: two ways to write one loss."""
        source, target = normal(1, 3, 2), normal(2, 5, 2)
        one = domain_adversarial_loss(source[:, 1] - source[:, 0], target[:, 1] - target[:, 0])
        assert_close(domain_adversarial_loss(source, target), one)

    @SHAPES
    def test_changing_places_mirrors_the_scores(self, outputs: int) -> None:
        source, target = scores_of(1, 3, outputs), scores_of(2, 5, outputs)
        mirrored = [-scores if outputs == 1 else scores.flip(dims=[1]) for scores in (target, source)]
        assert_close(domain_adversarial_loss(*mirrored), domain_adversarial_loss(source, target))

    @SHAPES
    def test_order_within_a_domain_is_of_no_consequence(self, outputs: int) -> None:
        source, target = scores_of(1, 3, outputs), scores_of(2, 5, outputs)
        assert_close(
            domain_adversarial_loss(source.flip(0), target.roll(2, 0)), domain_adversarial_loss(source, target)
        )

    def test_an_extreme_score_stays_finite(self) -> None:
        loss = domain_adversarial_loss(torch.tensor([1e4]), torch.tensor([-1e4]))
        assert loss.item() == pytest.approx(1e4)


class TestCorrespondence:
    """Eq. 3, both terms."""

    corresponds = torch.tensor([True, False, True, False])

    @SHAPES
    def test_undecided_head_costs_log_two(self, outputs: int) -> None:
        scores = torch.zeros(scores_of(0, 4, outputs).shape)
        assert correspondence_loss(scores, self.corresponds).item() == pytest.approx(np.log(2))

    @SHAPES
    def test_perfect_head_is_free(self, outputs: int) -> None:
        scores = torch.where(self.corresponds, 60.0, -60.0)
        scores = scores if outputs == 1 else torch.stack([-scores, scores], dim=1)
        assert correspondence_loss(scores, self.corresponds).item() == pytest.approx(0, abs=1e-6)

    @SHAPES
    def test_a_negative_pair_teaches_too(self, outputs: int) -> None:
        """As printed, Eq. 3 has no term for c = 0, and a head that always says yes would be perfect."""
        scores = scores_of(1, 4, outputs).requires_grad_()
        found = gradient(correspondence_loss(scores, self.corresponds), scores)
        towards_yes = found if outputs == 1 else found[:, 1]
        assert bool((towards_yes[~self.corresponds] > 0).all()), "a step downhill lowers the score of a negative pair"
        assert bool((towards_yes[self.corresponds] < 0).all()), "and raises that of a positive pair"
        says = torch.from_numpy(probability_of_one(scores.detach().numpy()))
        assert_close(towards_yes, (says - self.corresponds.double()) / 4)

    def test_always_yes_is_not_a_solution(self) -> None:
        yes, no = torch.full((4,), 20.0), torch.full((4,), -20.0)
        assert correspondence_loss(yes, self.corresponds).item() == pytest.approx(10)
        assert correspondence_loss(no, self.corresponds).item() == pytest.approx(10)

    def test_two_way_scores_may_be_shifted(self) -> None:
        scores = normal(1, 4, 2)
        assert_close(
            correspondence_loss(scores + normal(2, 4, 1), self.corresponds),
            correspondence_loss(scores, self.corresponds),
        )

    def test_sigmoid_and_softmax_agree(self) -> None:
        scores = normal(1, 4, 2)
        one = correspondence_loss(scores[:, 1] - scores[:, 0], self.corresponds)
        assert_close(correspondence_loss(scores, self.corresponds), one)

    @SHAPES
    def test_order_of_the_clips_is_of_no_consequence(self, outputs: int) -> None:
        scores, order = scores_of(1, 4, outputs), torch.tensor([2, 0, 3, 1])
        shuffled = correspondence_loss(scores[order], self.corresponds[order])
        assert_close(shuffled, correspondence_loss(scores, self.corresponds))

    @SHAPES
    def test_the_answer_no_is_the_mirror_of_yes(self, outputs: int) -> None:
        scores = scores_of(1, 4, outputs)
        mirrored = -scores if outputs == 1 else scores.flip(dims=[1])
        assert_close(correspondence_loss(mirrored, ~self.corresponds), correspondence_loss(scores, self.corresponds))


class TestTotal:
    """Eq. 4: L = L_y + lambda_d sum_m L_d^m + lambda_c L_c."""

    weights = {"classification": 0.2, "adversarial_rgb": 1.0, "adversarial_flow": 1.0, "correspondence": 5.0}  # noqa: RUF012

    def terms(self) -> dict[str, Tensor]:
        return {
            name: torch.tensor(float(value), requires_grad=True) for value, name in enumerate(self.weights, start=1)
        }

    def test_is_the_weighted_sum(self) -> None:
        assert total_loss(self.terms(), self.weights).item() == pytest.approx(0.2 * 1 + 2 + 3 + 5 * 4)

    def test_gradient_of_each_term_is_its_weight(self) -> None:
        terms = self.terms()
        total_loss(terms, self.weights).backward()
        assert {name: term.grad.item() for name, term in terms.items() if term.grad is not None} == pytest.approx(
            self.weights
        )

    def test_order_of_the_names_is_of_no_consequence(self) -> None:
        backwards = dict(reversed(self.weights.items()))
        assert_close(total_loss(self.terms(), backwards), total_loss(self.terms(), self.weights))

    @pytest.mark.parametrize("forgotten", sorted(weights))
    def test_a_term_without_a_weight_is_an_error(self, forgotten: str) -> None:
        weights = {name: weight for name, weight in self.weights.items() if name != forgotten}
        with pytest.raises((KeyError, UserError), match=forgotten):
            total_loss(self.terms(), weights)

    @pytest.mark.parametrize("forgotten", sorted(weights))
    def test_a_weight_without_a_term_is_an_error(self, forgotten: str) -> None:
        terms = {name: term for name, term in self.terms().items() if name != forgotten}
        with pytest.raises((KeyError, UserError), match=forgotten):
            total_loss(terms, self.weights)


class TestCorrespondenceAsPrinted:
    @given(seed=seeds, rows=batches)
    @SHAPES
    @LAW
    def test_against_the_equation(self, outputs: int, seed: int, rows: int) -> None:
        """sum of -c log C as a mean over all clips: a negative pair costs nothing, but counts in the mean."""
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(rows, 2) if outputs == 2 else rows)
        corresponds = rng.random(rows) < 0.5
        expected = -np.mean(corresponds * np.log(probability_of_one(scores)))
        found = correspondence_loss(torch.from_numpy(scores), torch.from_numpy(corresponds), printed=True)
        assert float(found) == pytest.approx(expected, abs=1e-9)

    def test_without_positives_it_is_zero_and_can_be_differentiated(self) -> None:
        scores = torch.randn(4, 2, requires_grad=True)
        loss = correspondence_loss(scores, torch.zeros(4, dtype=torch.bool), printed=True)
        loss.backward()
        assert loss.item() == 0
        assert (scores.grad == 0).all()


class TestMaximumMeanDiscrepancy:
    def by_scikit_learn(self, source: Array, target: Array) -> float:
        """Biased MMD^2 with scikit-learn's kernel, gamma = 1 / g, summed over the released code's twelve g."""
        total = 0.0
        for g in (0.0379, 0.101, 0.269, 0.717, 1.91, 5.09, 13.6, 36.2, 96.4, 257, 685, 1826):
            exact = min(MMD_BANDWIDTHS, key=lambda known: abs(known - g))
            assert exact == pytest.approx(g, rel=5e-3)
            within = rbf_kernel(source, gamma=1 / exact).mean() + rbf_kernel(target, gamma=1 / exact).mean()
            total += within - 2 * rbf_kernel(source, target, gamma=1 / exact).mean()
        return total

    @pytest.mark.parametrize("scale", [0.01, 0.3, 1.0, 10.0])
    @pytest.mark.parametrize("shift", [0.0, 0.5])
    def test_against_scikit_learn(self, scale: float, shift: float) -> None:
        rng = np.random.default_rng(0)
        source, target = rng.normal(size=(7, 20)) * scale, rng.normal(size=(5, 20)) * scale + shift
        found = mmd_loss(torch.from_numpy(source), torch.from_numpy(target))
        assert float(found) == pytest.approx(self.by_scikit_learn(source, target), abs=1e-6)

    def test_it_is_zero_on_the_same_clips_and_symmetric(self) -> None:
        one, other = torch.randn(2, 6, 9, dtype=torch.float64)
        assert float(mmd_loss(one, one[torch.randperm(6)])) == pytest.approx(0, abs=1e-12)
        assert_close(mmd_loss(one, other), mmd_loss(other, one))

    def test_gradient_brings_the_domains_together(self) -> None:
        source, target = torch.randn(8, 4), (torch.randn(8, 4) + 2).requires_grad_()
        mmd_loss(source, target).backward()
        moved = target.detach() - target.grad
        assert (moved.mean(dim=0) - source.mean(dim=0)).norm() < (target.mean(dim=0) - source.mean(dim=0)).norm()


class TestClassifierDiscrepancy:
    @given(seed=seeds, rows=batches)
    @LAW
    def test_against_numpy(self, seed: int, rows: int) -> None:
        rng = np.random.default_rng(seed)
        first, second = rng.normal(size=(2, rows, 8))
        p1, p2 = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) for logits in (first, second))
        found = classifier_discrepancy(torch.from_numpy(first), torch.from_numpy(second))
        assert float(found) == pytest.approx(np.abs(p1 - p2).sum() / (rows * 8), abs=1e-12)

    def test_bounds(self) -> None:
        sure = 50 * torch.eye(4)
        assert float(classifier_discrepancy(sure, sure)) == 0
        assert float(classifier_discrepancy(sure, sure.roll(1, 0))) == pytest.approx(2 / 4)
