"""Whether a data set has what a configuration asks for: looked at before anything is trained or written."""

from __future__ import annotations

from mmsada_lab.config import ExperimentConfig
from mmsada_lab.data.clips import inputs_of
from mmsada_lab.data.segments import DataSource
from mmsada_lab.errors import UserError, unknown
from mmsada_lab.models.network import build_network


def check_fit(config: ExperimentConfig, data: DataSource) -> None:
    """Check that a data set has what a configuration asks for.

    Raises:
        UserError: unknown domain or modality, no labelled source segment, a single class, a backbone that does not
            take its modality.
    """
    for name in config.pair:
        domain = data.domain(name)
        for modality in config.modalities:
            if modality not in domain.readers:
                raise unknown("modality", modality, domain.readers, hint="Choose with -o modalities=A,B.")
    _check_inputs(config, data)
    labels = {segment.label for segment in data.domain(config.source).train} - {None}
    if len(labels) < 2:
        found = "no labelled segment" if not labels else f"only the class {data.classes[labels.pop()]!r}"  # type: ignore[index]
        raise UserError(f"the training set of {config.source} has {found}; a classifier needs two classes or more")
    _check_sizes(config, data)


def _check_inputs(config: ExperimentConfig, data: DataSource) -> None:
    source, target = (inputs_of(data.domain(name), config.modalities) for name in config.pair)
    for modality in config.modalities:
        if source[modality] != target[modality]:
            shown = [f"{kind} of {channels} channels" for kind, channels in (source[modality], target[modality])]
            raise UserError(f"{modality} is {shown[0]} in {config.source} and {shown[1]} in {config.target}")
    build_network(config, source, num_classes=len(data.classes))


def _check_sizes(config: ExperimentConfig, data: DataSource) -> None:
    source, target = data.domain(config.source), data.domain(config.target)
    labelled = sum(segment.label is not None for segment in source.train)
    sides = ((source, labelled, config.source_batch), (target, len(target.train), config.target_batch))
    for domain, found, batch in sides:
        if batch > found:
            raise UserError(
                f"a batch takes {batch} segments of domain {domain.name}, which has {found} for training; "
                f"lower batch_size (now {config.batch_size})"
            )
    if not (target.test or target.train):
        raise UserError(f"domain {target.name} has no segments; there is nothing to adapt to")
