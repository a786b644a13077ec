"""Configurations: the presets' numbers against the paper, round trips, the digest, and how bad input is answered."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import pytest

from mmsada_lab.config import OPTIONS, ExperimentConfig, Stage
from mmsada_lab.errors import UserError
from mmsada_lab.facts import METHODS, PRETEXTS, PretextFacts
from mmsada_lab.paper import PAIRS, TRAINING_SEGMENTS, DomainPair
from mmsada_lab.presets import PRESETS, build_config, override_keys

PAPER_PRESETS = pytest.mark.parametrize("preset", ["paper", "released"])
EVERY_METHOD = pytest.mark.parametrize("method", METHODS)

OTHER: dict[str, Any] = {
    "modalities": ("flow",),
    "window_length": 6,
    "window_stride": 3,
    "input_size": 40,
    "window_span": "segment",
    "crops": "tsn",
    "correspondence_over": "all",
    "correspondence_terms": "printed",
    "correspondence_layers": 2,
    "fusion": "mean",
    "window_average": "logits",
    "backbone": "other",
    "pretrained": "flow:weights.safetensors",
    "width": 3,
    "dropout": 0.25,
    "dropout_on": "features",
    "outputs_per_class": 2,
    "discriminator_outputs": 1,
    "norm_momentum": 0.02,
    "norm_group": 5,
    "test_statistics": "target",
    "batch_size": 22,
    "source_only_batch": "full",
    "correspondence_batch": "half",
    "positives": "synchronous",
    "negatives": "moment",
    "optimiser": "adam",
    "momentum": 0.5,
    "weight_decay": 0.1,
    "reversal_coefficient": 0.7,
    "discrepancy_reversal": 0.6,
    "discrepancy_steps": "alternating",
    "discriminator_rate": 7.0,
    "reversal_schedule": "constant",
    "evaluate_every": 7,
    "evaluate_before": 6,
    "averaged_evaluations": 3,
    "test_windows": 2,
    "log_every": 4,
    "keep_features": 5,
    "precision": "bf16",
    "resize_on": "device",
    "checkpointing": True,
    "accumulation": 2,
    "compile": True,
    "channels_last": True,
    "pretext": "other",
    "steps": 17,
    "learning_rate": 0.3,
    "weights.classification": 0.9,
    "weights.adversarial": 0.8,
    "weights.correspondence": 0.7,
    "weights.mmd": 0.6,
    "weights.auxiliary": 0.5,
    "weights.discrepancy": 0.4,
}
"""A value of every override that `quick` does not have; those of a stage by the part after its name."""

GOES_WITH: dict[str, dict[str, Any]] = {
    "accumulation": {"norm_group": 16},
    "negatives": {"positives": "synchronous", "correspondence_batch": "half"},
}
"""Overrides that another one needs."""


@pytest.fixture(autouse=True)
def other_pretext(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second self-supervised task, to choose."""
    monkeypatch.setitem(PRETEXTS, "other", PretextFacts("Other", "nowhere:Other"))


def config_of(preset: str = "quick", *, method: str = "mmsada", **overrides: Any) -> ExperimentConfig:
    source = None if method == "supervised_target" else "D2"
    return build_config(preset, source=source, target="D1", method=method, overrides=overrides)


def other_value(key: str) -> Any:
    return OTHER.get(key, OTHER.get(key.partition(".")[2]))


class TestPresets:
    """Sections 4.1 and 4.2 of the paper, with the corrections the authors published."""

    @PAPER_PRESETS
    def test_what_paper_and_code_agree_on(self, preset: str) -> None:
        config = config_of(preset)
        assert (config.pretrain.steps, config.adapt.steps) == (3000, 6000)
        assert config.pretrain.learning_rate == 0.01
        assert (config.optimiser, config.momentum, config.weight_decay) == ("sgd", 0.9, 1e-7)
        assert (config.batch_size, config.batch.source, config.batch.target) == (128, 64, 64)
        assert (config.window_length, config.window_stride, config.input_size, config.test_windows) == (16, 2, 224, 5)
        assert (config.dropout, config.dropout_on) == (0.5, "classifier")
        assert (config.norm_group, config.norm_momentum, config.test_statistics) == (16, 0.001, "running")
        assert (config.averaged_evaluations, config.evaluate_every) == (9, 50)
        assert (config.correspondence_batch, config.positives, config.crops) == ("half", "segment", "released")
        assert (config.backbone, config.modalities, config.precision) == ("i3d", ("rgb", "flow"), "no")
        assert config.pretrain.weights == {"classification": 1.0, "correspondence": 5.0}
        assert config.adapt.weights == {"classification": 0.2, "adversarial": 1.0, "correspondence": 1.0}
        assert (config.reversal_coefficient, config.reversal_schedule) == (0.2, "ramp")

    def test_where_the_released_code_departs(self) -> None:
        paper, released = config_of("paper"), config_of("released")
        assert (paper.adapt.learning_rate, released.adapt.learning_rate) == (0.001, 0.01)
        assert (paper.outputs_per_class, released.outputs_per_class) == (1, 2)
        assert (paper.discrepancy_reversal, released.discrepancy_reversal) == (0.2, 1.0)
        differing = {f.name for f in fields(paper) if getattr(paper, f.name) != getattr(released, f.name)}
        assert differing == {"preset", "adapt", "outputs_per_class", "discrepancy_reversal"}

    @pytest.mark.parametrize("preset", PRESETS)
    def test_lambdas_are_the_papers(self, preset: str) -> None:
        assert config_of(preset).lambda_d == pytest.approx(1)
        assert config_of(preset).lambda_c == pytest.approx(5)

    def test_learning_rate_in_units_of_the_paper(self) -> None:
        adapt = config_of("paper").adapt
        assert adapt.learning_rate * adapt.weights["classification"] == pytest.approx(2e-4)

    def test_half_of_lambda_d_is_half_of_the_reversal(self) -> None:
        assert config_of("paper", reversal_coefficient=0.1).lambda_d == pytest.approx(0.5)

    @EVERY_METHOD
    def test_a_missing_term_has_no_lambda(self, method: str) -> None:
        config, terms = config_of("paper", method=method), METHODS[method].terms()
        assert (config.lambda_d > 0) == ("adversarial" in terms)
        assert (config.lambda_c > 0) == ("correspondence" in terms)

    @PAPER_PRESETS
    @pytest.mark.parametrize("method", ["source_only", "supervised_target"])
    def test_without_target_clips_the_source_fills_the_batch(self, preset: str, method: str) -> None:
        config = config_of(preset, method=method)
        assert (config.batch.source, config.batch.target) == (128, 0)
        assert config_of(preset, method=method, source_only_batch="half").batch.source == 64

    def test_adabn_re_estimates_except_as_released(self) -> None:
        assert config_of("paper", method="adabn").test_statistics == "target"
        assert not config_of("paper", method="adabn").batch.target
        released = config_of("released", method="adabn")
        assert (released.test_statistics, released.batch.source, released.batch.target) == ("running", 64, 64)

    @pytest.mark.parametrize("preset", PRESETS)
    @EVERY_METHOD
    @pytest.mark.parametrize("modalities", [("rgb",), ("flow", "rgb"), ("rgb", "flow", "audio")], ids=len)
    def test_every_method_has_every_preset(self, preset: str, method: str, modalities: tuple[str, ...]) -> None:
        config = config_of(preset, method=method, modalities=modalities)
        expected = METHODS[method].terms().keys() - ({"correspondence"} if len(modalities) == 1 else set())
        assert set(config.adapt.weights) == expected
        assert set(config.pretrain.weights) == expected - {"adversarial", "mmd", "discrepancy"}


class TestIdentity:
    @pytest.mark.parametrize("preset", PRESETS)
    @EVERY_METHOD
    def test_round_trip_through_json(self, preset: str, method: str) -> None:
        config = config_of(preset, method=method)
        again = ExperimentConfig(**json.loads(json.dumps(config.to_dict())))
        assert again == config
        assert again.digest == config.digest

    @pytest.mark.parametrize("key", override_keys())
    def test_every_override_changes_the_configuration_and_its_digest(self, key: str) -> None:
        term = key.rpartition(".")[2]
        owner = next((method for method, facts in METHODS.items() if term in facts.terms()), "mmsada")
        more = GOES_WITH.get(key, {})
        plain, changed = config_of(method=owner, **more), config_of(method=owner, **more, **{key: other_value(key)})
        assert changed != plain
        assert (changed.digest == plain.digest) == OPTIONS[key.partition(".")[0]].no_outcome
        stage, _, part = key.rpartition(".weights.") if ".weights." in key else key.rpartition(".")
        found = getattr(changed, stage or part)
        found = found.weights[part] if ".weights." in key else getattr(found, part) if stage else found
        assert found == other_value(key)

    def test_no_field_is_out_of_reach(self) -> None:
        reserved = {"source", "target", "method", "data", "preset", "seed"}
        assert {key.partition(".")[0] for key in override_keys()} == {
            f.name for f in fields(ExperimentConfig)
        } - reserved
        assert {key.removeprefix("adapt.") for key in override_keys() if key.startswith("adapt.")} >= {
            "steps",
            "learning_rate",
        }

    @pytest.mark.parametrize(
        "change",
        [
            {"source": "D3"},
            {"target": "D3"},
            {"method": "adversarial_only"},
            {"data": "kitchens:motion=1"},
            {"seed": 1},
        ],
        ids=str,
    )
    def test_what_is_not_an_override_changes_the_digest_too(self, change: dict[str, Any]) -> None:
        config = config_of(method="mmsada")
        stages = {name: replace(s, weights={"classification": 1.0}) for name, s in config.stages}
        plain = replace(config, **stages)
        assert replace(plain, **change).digest != plain.digest

    def test_the_presets_name_alone_does_not(self) -> None:
        assert replace(config_of(), preset="mine").digest == config_of().digest

    def test_the_digest_is_short_and_the_same_everywhere(self) -> None:
        stage = Stage(1, 0.5, {"classification": 1.0})
        config = ExperimentConfig(source="A", target="B", pretrain=stage, adapt=stage, method="source_only")
        shuffled = ExperimentConfig(**dict(reversed(config.to_dict().items())))
        assert config.digest == shuffled.digest
        assert len(config.digest) == 10
        assert set(config.digest) <= set("0123456789abcdef")

    def test_the_digest_of_runs_that_are_published_stays(self) -> None:
        """The reference runs are found by it; a new field counts only where it is not at its default."""
        config = build_config("quick", source="D1", target="D2", method="mmsada")
        assert config.digest == "93aabce4b0"
        younger = {f.name: f.default for f in fields(config) if OPTIONS.get(f.name) and OPTIONS[f.name].added_later}
        plain = build_config("quick", source="D1", target="D2", method="mmsada", overrides=younger)
        older = {name: value for name, value in plain.to_dict().items() if name not in younger}
        assert ExperimentConfig(**older).digest == plain.digest == "a6eca493ad"

    def test_is_frozen(self) -> None:
        with pytest.raises(FrozenInstanceError):
            config_of().seed = 1  # type: ignore[misc]

    def test_one_configuration_does_not_change_another(self) -> None:
        before = asdict(config_of())
        config_of(**{"adapt.weights.adversarial": 0.3, "pretrain.steps": 1, "modalities": ("rgb",)})
        assert asdict(config_of()) == before

    def test_pairs_print_with_an_arrow(self) -> None:
        assert str(config_of().pair) == "D2→D1"
        assert [str(pair) for pair in PAIRS] == ["D2→D1", "D3→D1", "D1→D2", "D3→D2", "D1→D3", "D2→D3"]
        assert config_of().pair == DomainPair("D2", "D1")

    def test_segments_of_figure_four(self) -> None:
        assert {name: sum(counts) for name, counts in TRAINING_SEGMENTS.items()} == {"D1": 1543, "D2": 2495, "D3": 3897}


class TestBadInput:
    @pytest.mark.parametrize(
        ("wrong", "nearest"),
        [
            ("adapt.step", "adapt.steps"),
            ("adapt.weights.adversary", "adapt.weights.adversarial"),
            ("batchsize", "batch_size"),
            ("learning_rate", "adapt.learning_rate"),
            ("Dropout", "dropout"),
            ("reversal_coeficient", "reversal_coefficient"),
        ],
    )
    def test_a_key_that_does_not_exist_is_answered_with_the_nearest(self, wrong: str, nearest: str) -> None:
        with pytest.raises(
            UserError, match=f"unknown override '{wrong}'.*Did you mean .*{nearest.rpartition('.')[2]}'"
        ):
            config_of(**{wrong: 1})

    @pytest.mark.parametrize("key", ["source", "target", "method", "data", "preset", "seed", "pretrain", "adapt", ""])
    def test_what_is_set_elsewhere_is_no_override(self, key: str) -> None:
        with pytest.raises(UserError, match="unknown override"):
            build_config("quick", source="D2", target="D1", overrides={key: "D1"})

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"preset": "papper"},
                r"unknown preset 'papper'; choose quick, sensors, paper, released. Did you mean 'paper'\?",
            ),
            ({"method": "mmsda"}, r"unknown method 'mmsda'; .*Did you mean 'mmsada'\?"),
            ({"source": None}, "method mmsada needs a source domain"),
            ({"source": "D1"}, "source and target are both 'D1'"),
            ({"source": "D2", "method": "supervised_target"}, "leave the source out"),
            ({"seed": -1}, "seed is -1"),
        ],
    )
    def test_arguments(self, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(UserError, match=message):
            build_config(**({"preset": "quick", "source": "D2", "target": "D1"} | arguments))

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("adapt.weights.adversarial", -1.0),
            ("adapt.weights.classification", 0.0),
            ("pretrain.weights.correspondence", -0.1),
            ("pretrain.steps", -1),
            ("adapt.steps", 0),
            ("adapt.learning_rate", 0.0),
            ("adapt.learning_rate", float("nan")),
            ("adapt.learning_rate", float("inf")),
            ("batch_size", 0),
            ("dropout", 1.0),
            ("dropout", -0.5),
            ("norm_momentum", 0.0),
            ("weight_decay", -1e-7),
            ("reversal_coefficient", -0.2),
            ("evaluate_every", 0),
            ("test_windows", 0),
            ("crops", "all"),
            ("precision", "fp8"),
            ("outputs_per_class", 3),
            ("modalities", ()),
            ("modalities", ("rgb", "rgb")),
        ],
    )
    def test_values_out_of_range_name_their_field(self, key: str, value: object) -> None:
        with pytest.raises(UserError, match=key.replace("_", "[_ ]").replace(".", r"\.")):
            config_of(**{key: value})

    @pytest.mark.parametrize("key", override_keys())
    @pytest.mark.parametrize("value", [None, {"a": 1}, True], ids=str)
    def test_values_of_another_type_are_refused(self, key: str, value: object) -> None:
        value = 1 if value is True and other_value(key) is True else value
        with pytest.raises(UserError, match=key.replace(".", r"\.")):
            config_of(**{key: value})

    @pytest.mark.parametrize("key", ["batch_size", "adapt.steps", "norm_group"])
    def test_half_a_step_is_refused(self, key: str) -> None:
        with pytest.raises(UserError, match=key.replace(".", r"\.")):
            config_of(**{key: 2.5})

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"positives": "segment"}, r"positives=segment .* two moments as well.*; give positives=synchronous"),
            ({"correspondence_batch": "repair"}, r"repair makes negatives of .*; give correspondence_batch=half"),
            ({"window_span": "segment"}, r"a window spans all of it; give window_span=stride"),
        ],
        ids=str,
    )
    def test_negatives_of_another_moment_need_positives_of_one(self, changes: dict[str, str], message: str) -> None:
        """And clips that are read for it, and moments."""
        sensible = {"positives": "synchronous", "correspondence_batch": "half", "window_span": "stride"}
        assert config_of("paper", negatives="moment", **sensible).negatives == "moment"
        with pytest.raises(UserError, match=f"negatives=moment .*{message}"):
            config_of("paper", negatives="moment", **sensible | changes)

    def test_a_term_the_method_does_not_have(self) -> None:
        with pytest.raises(
            UserError, match=r"unknown loss term in adapt.weights 'adversarial'; choose classification, correspondence"
        ):
            config_of(method="self_supervised_only", **{"adapt.weights.adversarial": 1.0})

    def test_a_stage_without_classification(self) -> None:
        stage = Stage(1, 0.1, {"adversarial": 1.0})
        with pytest.raises(UserError, match="no classification term"):
            replace(config_of(), adapt=stage)

    def test_a_whole_number_serves_as_a_weight(self) -> None:
        assert (
            config_of(**{"adapt.weights.adversarial": 2}).digest
            == config_of(**{"adapt.weights.adversarial": 2.0}).digest
        )

    @pytest.mark.parametrize("one", ["rgb", ["rgb"], ("rgb",)], ids=repr)
    def test_one_modality_however_it_is_written_drops_correspondence(self, one: object) -> None:
        config = config_of(modalities=one)
        assert config.modalities == ("rgb",)
        assert "correspondence" not in {**config.pretrain.weights, **config.adapt.weights}

    def test_several_modalities_as_text(self) -> None:
        config = config_of(modalities="flow,rgb")
        assert config.modalities == ("flow", "rgb")
        assert "correspondence" in config.adapt.weights

    @pytest.mark.parametrize(
        ("how", "modalities", "enough"),
        [
            ("half", "rgb,flow", 6),
            ("half", "rgb,flow,audio", 10),
            ("repair", "rgb,flow", 4),
            ("repair", "rgb,flow,audio", 6),
        ],
    )
    def test_a_batch_too_small_to_form_non_corresponding_clips(self, how: str, modalities: str, enough: int) -> None:
        """Each domain has half of a batch; each modality of a negative comes from another clip of the same domain."""
        assert config_of(batch_size=enough, correspondence_batch=how, modalities=modalities).batch.source == enough // 2
        for batch_size in range(1, enough):
            with pytest.raises(UserError, match="batch_size"):
                config_of(batch_size=batch_size, correspondence_batch=how, modalities=modalities)

    def test_a_batch_without_a_target_clip(self) -> None:
        with pytest.raises(UserError, match="batch_size"):
            config_of(method="adversarial_only", batch_size=1)


class TestAccumulation:
    """A step in parts is the step: parts are equal, and hold whole groups of clips that share batch statistics."""

    @pytest.mark.parametrize(
        ("overrides", "method", "allowed"),
        [
            ({}, "mmsada", {1, 2}),  # 32 + 32 + 32 + 32 clips, in groups of 16
            ({"norm_group": 8}, "mmsada", {1, 2, 4}),
            ({"correspondence_batch": "repair"}, "mmsada", {1, 2, 4}),
            ({}, "adversarial_only", {1, 2, 4}),
            ({}, "source_only", {1, 2, 4, 8}),
            ({"modalities": "rgb"}, "mmsada", {1, 2, 4}),
            ({"batch_size": 96}, "mmsada", {1}),  # 24 clips are no whole number of groups
            ({"batch_size": 96, "norm_group": 12}, "mmsada", {1, 2}),
        ],
        ids=str,
    )
    def test_what_the_paper_preset_divides_into(
        self, overrides: dict[str, Any], method: str, allowed: set[int]
    ) -> None:
        for parts in range(1, 17):
            if parts in allowed:
                assert config_of("paper", method=method, accumulation=parts, **overrides).accumulation == parts
            else:
                with pytest.raises(UserError, match=f"accumulation is {parts}: .*; choose {self.shown(allowed)}, "):
                    config_of("paper", method=method, accumulation=parts, **overrides)

    @staticmethod
    def shown(allowed: set[int]) -> str:
        return " or ".join(map(str, sorted(allowed)))

    def test_statistics_over_the_whole_batch_cannot_be_had_from_parts(self) -> None:
        with pytest.raises(UserError, match=r"accumulation is 2, but norm_group=0 .*e\.g\. norm_group=16"):
            config_of(accumulation=2)

    def test_parts_too_small_to_pair_within(self) -> None:
        """Groups of one clip would divide, but its modalities could be paired with nothing but themselves."""
        with pytest.raises(UserError, match="too few to pair"):
            config_of(batch_size=8, norm_group=1, accumulation=4)
        assert config_of(batch_size=8, norm_group=1, accumulation=2).accumulation == 2
