"""The training loop against SGD written by hand, and what makes it resumable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.testing import assert_close

from mmsada_lab.config import Stage
from mmsada_lab.errors import UserError
from mmsada_lab.train import mean_scalars, step_seed, train_steps

STAGE = Stage(6, 0.1, {"near": 2.0, "far": 0.5})


class Number:
    """A batch that is one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def to(self, _: torch.device) -> Number:
        return self


class TwoTerms(nn.Module):
    """Terms whose gradients one can write down: ``near = (w - x)^2``, ``far = w x``; it remembers what it was shown."""

    def __init__(self, *, noise: float = 0.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(1.0))
        self.noise = noise
        self.progress: list[float] = []
        self.drawn: list[float] = []

    def forward(self, batch: Number, progress: float) -> dict[str, Tensor]:
        assert self.training
        self.progress.append(progress)
        self.drawn.append(float(torch.rand(())))
        x = batch.value + self.noise * self.drawn[-1]
        return {"near": (self.w - x) ** 2, "far": self.w * x}

    def observe(self, terms: dict[str, Tensor], weights: Mapping[str, float], *, shards: int) -> dict[str, Tensor]:
        (gradient,) = torch.autograd.grad(terms["far"], self.w, retain_graph=True)
        return {"seen": weights["far"] * gradient / shards}


@pytest.fixture(scope="module")
def accelerator() -> Accelerator:
    return Accelerator(cpu=True)


def steps_of(
    method: nn.Module,
    accelerator: Accelerator,
    *,
    first: int = 0,
    last: int = 6,
    optimiser: torch.optim.Optimizer | None = None,
    **changes,
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    optimiser = optimiser or sgd(method)
    settings = {"stage": STAGE, "seed": (3, 1)} | changes
    return train_steps(
        method,
        optimiser,
        [Number(float(x)) for x in range(first, last)],
        accelerator=accelerator,
        first_step=first,
        **settings,
    )


def sgd(method: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)


def test_is_sgd_with_momentum_on_the_weighted_sum(accelerator: Accelerator) -> None:
    method = TwoTerms()
    w, velocity = 1.0, 0.0
    for step, terms in steps_of(method, accelerator):
        x = step - 1.0
        assert (terms["near"].item(), terms["far"].item()) == pytest.approx(((w - x) ** 2, w * x), abs=1e-5)
        velocity = 0.9 * velocity + 2.0 * 2 * (w - x) + 0.5 * x + 0.01 * w
        w -= 0.1 * velocity
        assert method.w.item() == pytest.approx(w, rel=1e-4)


def test_yields_steps_done_and_terms_without_a_graph(accelerator: Accelerator) -> None:
    found = list(steps_of(TwoTerms(), accelerator, first=2))
    assert [step for step, _ in found] == [3, 4, 5, 6]
    assert all(not term.requires_grad for _, terms in found for term in terms.values())


def test_progress_is_the_fraction_of_the_stage_that_is_done(accelerator: Accelerator) -> None:
    method = TwoTerms()
    list(steps_of(method, accelerator, first=2))
    assert method.progress == pytest.approx([2 / 6, 3 / 6, 4 / 6, 5 / 6])


def test_in_two_sittings_it_is_the_same_training(accelerator: Accelerator) -> None:
    whole = TwoTerms(noise=1.0)
    list(steps_of(whole, accelerator))
    first = TwoTerms(noise=1.0)
    optimiser = sgd(first)
    list(steps_of(first, accelerator, last=3, optimiser=optimiser))
    second = TwoTerms(noise=1.0)
    second.load_state_dict(first.state_dict())
    continued = sgd(second)
    continued.load_state_dict(optimiser.state_dict())
    torch.rand(7)  # whatever else happens in the process
    list(steps_of(second, accelerator, first=3, optimiser=continued))
    assert first.drawn + second.drawn == whole.drawn
    assert_close(second.w, whole.w, rtol=0, atol=0)


@pytest.mark.parametrize("seed", [(4, 1), (3, 0)], ids=["another run", "another stage"])
def test_randomness_depends_on_run_stage_and_step(accelerator: Accelerator, seed: tuple[int, int]) -> None:
    here, there = TwoTerms(), TwoTerms()
    list(steps_of(here, accelerator))
    list(steps_of(there, accelerator, seed=seed))
    assert len(set(here.drawn + there.drawn)) == 12


def test_terms_and_weights_must_name_the_same(accelerator: Accelerator) -> None:
    with pytest.raises(KeyError, match="far"):
        list(steps_of(TwoTerms(), accelerator, stage=Stage(6, 0.1, {"near": 1.0})))


def test_step_seeds_are_fixed_and_distinct() -> None:
    named = [
        (seed, stage, step, rank) for seed in range(3) for stage in range(3) for step in range(30) for rank in range(2)
    ]
    seeds = [step_seed(*numbers) for numbers in named]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert step_seed(3, 1, 4, 0) == int(np.random.SeedSequence((3, 1, 4, 0)).generate_state(1, np.uint64)[0])


def scalars(near: list[float], far: list[float], *, first: int = 1) -> dict[int, dict[str, Tensor]]:
    """Terms of consecutive steps."""
    pairs = enumerate(zip(near, far, strict=True), start=first)
    return {step: {"near": torch.tensor(one), "far": torch.tensor(other)} for step, (one, other) in pairs}


def test_mean_of_terms(accelerator: Accelerator) -> None:
    terms = scalars([1.0, 2.0, 6.0], [10.0, 20.0, 60.0])
    found = list(mean_scalars(terms, terms=["near", "far"], every=3, accelerator=accelerator))
    assert found == [(3, {"near": 3.0, "far": 30.0})]


@pytest.mark.parametrize(
    ("first", "every", "ends"), [(1, 1, [1, 2, 3, 4, 5]), (1, 2, [2, 4, 5]), (4, 3, [6, 8]), (7, 50, [11])]
)
def test_means_end_at_multiples_and_at_the_last_step(
    first: int, every: int, ends: list[int], accelerator: Accelerator
) -> None:
    terms = scalars([float(k) for k in range(5)], [float(-k) for k in range(5)], first=first)
    found = dict(mean_scalars(terms, terms=["near", "far"], every=every, accelerator=accelerator))
    assert list(found) == ends
    starts = [first - 1, *ends[:-1]]
    for start, end in zip(starts, ends, strict=True):
        mean = np.mean([step - first for step in range(start + 1, end + 1)])
        assert found[end] == pytest.approx({"near": mean, "far": -mean})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_term_that_is_not_finite_is_named_with_its_step(value: float, accelerator: Accelerator) -> None:
    terms = scalars([1.0, 1.0, 1.0, value], [1.0, 1.0, value, value], first=15)
    with pytest.raises(UserError, match=r"the far loss became (nan|-?inf) at step 17"):
        list(mean_scalars(terms, terms=["near", "far"], every=10, accelerator=accelerator))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_term_may_be_anything(value: float, accelerator: Accelerator) -> None:
    """A gradient that is noted may overflow where the loss does not: it is shown as it is, and ends no run."""
    scalars_of_steps = scalars([1.0, 1.0], [1.0, value])
    ((_, found),) = mean_scalars(scalars_of_steps, terms=["near"], every=10, accelerator=accelerator)
    assert found["near"] == 1
    assert not np.isfinite(found["far"])


# --- a step in parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_of_a_step_are_one_step_of_their_mean(parts: int, accelerator: Accelerator) -> None:
    """Gradients, and the terms that are shown."""
    method, numbers = TwoTerms(), [float(x % 5) for x in range(6 * parts)]
    w, velocity = 1.0, 0.0
    found = train_steps(
        method,
        sgd(method),
        map(Number, numbers),
        stage=STAGE,
        accelerator=accelerator,
        first_step=0,
        seed=(0,),
        accumulation=parts,
    )
    for step, terms in found:
        xs = np.array(numbers[(step - 1) * parts : step * parts])
        assert terms["near"].item() == pytest.approx(((w - xs) ** 2).mean(), abs=1e-4)
        assert terms["far"].item() == pytest.approx((w * xs).mean(), abs=1e-4)
        assert terms["seen"].item() == pytest.approx(0.5 * xs.mean() / parts, abs=1e-4)
        velocity = 0.9 * velocity + (2.0 * 2 * (w - xs) + 0.5 * xs).mean() + 0.01 * w
        w -= 0.1 * velocity
        assert method.w.item() == pytest.approx(w, rel=1e-4)
    assert step == 6
    assert len(set(method.drawn)) == 6 * parts, "each part has dropout of its own"
    assert method.progress == pytest.approx([step / 6 for step in range(6) for _ in range(parts)])


def test_the_parts_of_a_step_draw_what_as_many_processes_would(accelerator: Accelerator) -> None:
    method = TwoTerms()
    list(
        train_steps(
            method,
            sgd(method),
            map(Number, [0.0] * 4),
            stage=Stage(2, 0.1, STAGE.weights),
            accelerator=accelerator,
            first_step=0,
            seed=(7, 1),
            accumulation=2,
        )
    )
    expected = []
    for step, process in ((0, 0), (0, 1), (1, 0), (1, 1)):
        torch.manual_seed(step_seed(7, 1, step, process))
        expected.append(float(torch.rand(())))
    assert method.drawn == expected
