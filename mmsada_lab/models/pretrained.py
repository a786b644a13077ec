"""Pretrained weights: Kinetics checkpoints of I3D, or any file of named tensors. Nothing is ever unpickled.

Files are safetensors, or state dicts that any version of `torch.save` wrote (`rgb_imagenet.pt`, `flow_imagenet.pt`).
The scales of batch normalisation (gamma) are kept exactly as they are in the file, and I3D does not train them.
TensorFlow's I3D has none, so weights converted from it hold ones, but a fine-tuned port may have learned others:
`WeightsReport.gamma` names those layers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save as to_safetensors
from torch import Tensor, nn

from mmsada_lab.errors import UserError, unknown
from mmsada_lab.files import write_whole
from mmsada_lab.models.batchnorm import GroupedBatchNorm3d
from mmsada_lab.models.external import External


@dataclass(frozen=True)
class WeightsReport:
    """What became of a file of weights.

    Attributes:
        path: the file.
        sha256: of its bytes.
        used: names that were loaded.
        missing: names of the model that the file does not have; they stay as they were. Counters, and scales (gamma)
            that are not trained, are not missed.
        left: names of the file that the model does not have, such as the Kinetics classifier.
        gamma: scales of batch normalisation that are not 1, and are kept.
    """

    path: Path
    sha256: str
    used: tuple[str, ...]
    missing: tuple[str, ...]
    left: tuple[str, ...]
    gamma: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For a manifest; names that were used are only counted."""
        return asdict(self) | {"path": str(self.path), "used": len(self.used)}

    def __str__(self) -> str:
        counts = f"{self.path}: {len(self.used)} tensors used, {len(self.missing)} missing, {len(self.left)} left"
        named = [("missing", self.missing), ("left", self.left), ("gamma is not 1 in", self.gamma)]
        return "\n".join([counts, *(f"  {title}: {', '.join(names)}" for title, names in named if names)])


def load_pretrained(model: nn.Module, path: Path) -> WeightsReport:
    """Load a file of weights into a model, by name. What does not fit is an error; what is missing is reported.

    Args:
        model: an `I3D`, or any module.
        path: a safetensors file, or a state dict written by `torch.save`; bare, under ``state_dict``, or with names
            that begin with ``module.``.

    Raises:
        UserError: if the file is damaged, holds code, has a tensor of the wrong shape (RGB weights for flow), or none
            the model knows. The model is then as it was.
    """
    weights, state = read_weights(path), model.state_dict()
    used = {name: tensor for name, tensor in weights.items() if name in state}
    if not used:
        raise UserError(
            f"{path} has no tensor this model knows: its names are like {next(iter(weights))}, the model's like "
            f"{next(iter(state))}; give weights in the layout of the common PyTorch port of I3D"
        )
    _check_shapes(path, used, state)
    model.load_state_dict(used, strict=False)
    return WeightsReport(
        path,
        _sha256(path),
        used=tuple(used),
        missing=tuple(name for name in _expected_names(model) if name not in used),
        left=tuple(name for name in weights if name not in state),
        gamma=tuple(name for name, layer in _norms(model).items() if name in used and (layer.weight != 1).any()),
    )


def load_backbones(backbones: Mapping[str, nn.Module], paths: str) -> dict[str, WeightsReport]:
    """Load weights into the backbones of a network, each from its own file.

    Args:
        backbones: by modality.
        paths: ``rgb:PATH,flow:PATH``; modalities that are not named, or all for an empty text, stay as they are.

    Raises:
        UserError: as for `load_pretrained`, or if `paths` names no modality, or one there is not.
    """
    files: dict[str, Path] = {}
    for entry in paths.split(",") if paths else ():
        modality, _, path = entry.partition(":")
        if not path or modality in files:
            raise UserError(f"pretrained is {paths!r}; give each modality once with its file: rgb:PATH,flow:PATH")
        if modality not in backbones:
            raise unknown("modality in pretrained", modality, backbones)
        files[modality] = Path(path).expanduser()
    models = {m: b.model if isinstance(b, External) else b for m, b in backbones.items()}
    return {modality: load_pretrained(models[modality], path) for modality, path in files.items()}


def convert_weights(path: Path, to: Path) -> bool:
    """Write a file of weights as safetensors, which any program reads and which can hold no code.

    Args:
        path: as for `load_pretrained`.
        to: ends in ``.safetensors``; written whole or not at all.

    Returns:
        Whether it was written: not if `to` already holds these weights.

    Raises:
        UserError: if `path` cannot be read, or `to` is another file, which is never overwritten.
    """
    if to.suffix != ".safetensors":
        raise UserError(f"{to} does not end in .safetensors; name it {to.with_suffix('.safetensors').name}")
    if not to.parent.is_dir():
        raise UserError(f"there is no folder {to.parent}; make it first")
    weights = read_weights(path)
    if to.exists():
        if not _are_equal(read_weights(to), weights):
            raise UserError(f"{to} exists and holds other weights; choose another name, or remove it")
        return False
    # Copies, since safetensors refuses tensors that share memory.
    write_whole(to, to_safetensors({name: tensor.clone().contiguous() for name, tensor in weights.items()}))
    return True


def read_weights(path: Path) -> dict[str, Tensor]:
    """Named tensors of a file, on the CPU; formats and errors as for `load_pretrained`."""
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except Exception as error:  # damaged files fail in many ways
        raise _unreadable(path, error) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else None
    named = state.items() if isinstance(state, dict) else ()
    weights = {str(name).removeprefix("module."): value for name, value in named}
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path} is no file of weights: it does not map names to tensors")
    return {name: tensor.detach() for name, tensor in weights.items()}


def _unreadable(path: Path, error: Exception) -> UserError:
    if "global" in str(error).lower():  # torch's word for a name of Python code
        return UserError(
            f"{path} holds pickled code, which is never run here; have whoever made it save the state dict alone, "
            "or as safetensors"
        )
    reason = str(error).partition("\n")[0].partition(". ")[0][:100] or type(error).__name__
    return UserError(
        f"{path} cannot be read as weights: it is cut short or of another format ({reason}); fetch it again"
    )


def _check_shapes(path: Path, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    wrong = [name for name, tensor in weights.items() if tensor.shape != state[name].shape]
    if not wrong:
        return
    shape, expected = tuple(weights[wrong[0]].shape), tuple(state[wrong[0]].shape)
    other_channels = len(shape) == 5 and shape[:1] + shape[2:] == expected[:1] + expected[2:]
    if len(wrong) == 1 and other_channels:  # the first convolution alone depends on the modality
        raise UserError(
            f"{path} is for {shape[1]} channels and this modality has {expected[1]}; RGB weights have 3, flow weights 2"
        )
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    raise UserError(f"{path} does not fit: {wrong[0]} is {shape} there and {expected} in the model{more}")


def _norms(model: nn.Module) -> dict[str, GroupedBatchNorm3d]:
    return {f"{name}.weight": m for name, m in model.named_modules() if isinstance(m, GroupedBatchNorm3d)}


def _expected_names(model: nn.Module) -> list[str]:
    """Names a file of weights should have: no counters (old versions of torch kept none), no scales that stay 1."""
    fixed = {name for name, layer in _norms(model).items() if not layer.weight.requires_grad}
    return [name for name in model.state_dict() if name not in fixed and not name.endswith("num_batches_tracked")]


def _are_equal(weights: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    return weights.keys() == others.keys() and all(
        tensor.dtype == others[name].dtype and torch.equal(tensor, others[name]) for name, tensor in weights.items()
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
