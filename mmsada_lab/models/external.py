"""Video models of other libraries as backbones: Hugging Face transformers, torchvision. Neither is a requirement.

A name is ``hf:FOLDER_OR_ID`` or ``torchvision:MODEL``, and may end in ``@frozen`` or ``@N`` (the last N blocks are
trained): ``rgb:hf:models/videomae@2``. Only RGB fits most of them, since they take three channels.

Legend: `B` clips, `C` channels, `T` frames, `H`, `W` pixels, `F` feature width.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmsada_lab.errors import UserError, unknown


class External(nn.Module):
    """A video model of another library, as F^m.

    Args:
        model: of that library.
        features: F.
        call: maps the model and clips `(B, C, T, H, W)` to `(B, F)`.
        channels: C.
        size: (T, H, W) it was made for; others are refused. None: takes any.
        mean: of the pixels it was trained on, in [0, 1], by channel.
        std: likewise.
        trained: ``all``, ``frozen``, or the number of last blocks that are trained. What is frozen is always in
            evaluation mode: no dropout, no batch statistics.
    """

    def __init__(
        self,
        model: nn.Module,
        features: int,
        *,
        call: Callable[[nn.Module, Tensor], Tensor],
        channels: int = 3,
        size: tuple[int, int, int] | None = None,
        mean: Sequence[float] = (0.5,),
        std: Sequence[float] = (0.5,),
        trained: str = "all",
    ) -> None:
        super().__init__()
        self.model, self.features, self.call, self.channels, self.size = model, features, call, channels, size
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1, 1), persistent=False)  # (C, 1, 1, 1)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1, 1), persistent=False)  # (C, 1, 1, 1)
        freeze(model, trained)
        self.train()

    def forward(self, clips: Tensor) -> Tensor:
        """Features `(B, F)` of clips `(B, C, T, H, W)` in [-1, 1)."""
        size = tuple(clips.shape[2:])
        if self.size is not None and self.size != size:
            raise UserError(
                f"this model takes clips of {' x '.join(map(str, self.size))}, not {' x '.join(map(str, size))}; "
                f"set window_length={self.size[0]} and input_size={self.size[1]}"
            )
        pixels = ((clips + 1) / 2 - self.get_buffer("mean")) / self.get_buffer("std")
        # A frozen model keeps nothing for a backward pass that will not come.
        with torch.set_grad_enabled(torch.is_grad_enabled() and not _is_frozen(self.model)):
            return self.call(self.model, pixels)

    def train(self, mode: bool = True) -> External:
        """Set training mode of what is trained."""
        super().train(mode)
        for module in self.model.modules():
            if mode and _is_frozen(module):
                module.eval()
        return self


def _is_frozen(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(parameter.requires_grad for parameter in parameters)


def freeze(model: nn.Module, trained: str) -> None:
    """Leave trainable ``all`` of a model, nothing (``frozen``), or its last N blocks and what comes after them.

    Blocks are the entries with parameters of its longest list of modules; without lists, of its longest sequence, or
    its own children if they are more.

    Raises:
        UserError: if `trained` is none of these, or there are fewer blocks.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        >>> freeze(model, "1")
        >>> [layer.weight.requires_grad for layer in model]
        [False, True]
    """
    if trained == "all":
        return
    model.requires_grad_(False)
    if trained == "frozen":
        return
    lists: list[nn.Module] = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    lists = lists or [model, *(module for module in model.modules() if isinstance(module, nn.Sequential))]
    blocks = max(([child for child in entries.children() if list(child.parameters())] for entries in lists), key=len)
    if not trained.isdecimal() or not 0 < int(trained) <= len(blocks):
        raise UserError(
            f"a backbone's name ends in @{trained}; end it in @frozen, or @N with N from 1 to {len(blocks)}"
        )
    first, reached = next(blocks[-int(trained)].parameters()), False
    for parameter in model.parameters():  # in the order of definition, which is that of computation
        reached = reached or parameter is first
        parameter.requires_grad_(reached)


def build_external(name: str, in_channels: int) -> External:
    """Build a backbone from another library.

    Args:
        name: see the module; weights come with ``hf:``, and are random with ``torchvision:``.
        in_channels: channels of the modality.

    Raises:
        UserError: if the library is not installed, has no such model, or the model takes other channels.
    """
    library, _, rest = name.partition(":")
    if library not in _LIBRARIES:
        raise unknown("library of a backbone", library, _LIBRARIES)
    model, separator, trained = rest.rpartition("@")
    if not separator or "/" in trained:  # a folder may have an @ in its name
        model, trained = rest, "all"
    backbone = _LIBRARIES[library](model, trained)
    if backbone.channels != in_channels:
        raise UserError(
            f"{name} takes {backbone.channels} channels and this modality has {in_channels}; choose i3d for it"
        )
    return backbone


def _load_transformer(name: str, trained: str) -> External:
    transformers = _import_library("transformers")
    local = Path(name).expanduser().is_dir()
    path = str(Path(name).expanduser()) if local else name
    try:
        model = transformers.AutoModel.from_pretrained(path, local_files_only=local)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"hf:{name} is neither a folder with a model nor one of the hub's: {reason}") from error
    config = model.config  # whose names differ from model to model
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    side = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    if not isinstance(frames, int) or not isinstance(side, int):
        raise UserError(f"hf:{name} is no video model: its configuration names no frames of a clip")
    file = transformers.utils.cached_file(
        path, "preprocessor_config.json", local_files_only=local, _raise_exceptions_for_missing_entries=False
    )
    pixels = json.loads(Path(file).read_text()) if file else {}
    return External(
        model,
        config.hidden_size,
        call=_mean_token,
        channels=getattr(config, "num_channels", 0) or getattr(config, "in_chans", 3),
        size=(frames, side, side),
        mean=pixels.get("image_mean") or (0.5,),
        std=pixels.get("image_std") or (0.5,),
        trained=trained,
    )


def _mean_token(model: nn.Module, pixels: Tensor) -> Tensor:
    """Mean of the last layer's tokens."""
    output = model(**{str(model.main_input_name): pixels.transpose(1, 2)})  # (B, T, C, H, W)
    mean: Tensor = output.last_hidden_state.mean(dim=1)  # (B, F)
    return mean


def _build_torchvision(name: str, trained: str) -> External:
    video = _import_library("torchvision.models.video")
    models = _import_library("torchvision.models")
    names = models.list_models(module=video)
    if name not in names:
        raise unknown("video model of torchvision", name, names)
    model: nn.Module = models.get_model(name, weights=None)
    path, classifier = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv3d)][-1]
    model.set_submodule(path, nn.Identity())
    return External(
        model,
        classifier.in_features if isinstance(classifier, nn.Linear) else classifier.in_channels,
        call=lambda model, pixels: model(pixels),
        mean=(0.43216, 0.394666, 0.37645),  # of the pixels that all of torchvision's video models were trained on
        std=(0.22803, 0.22145, 0.216989),
        trained=trained,
    )


_LIBRARIES: dict[str, Callable[[str, str], External]] = {"hf": _load_transformer, "torchvision": _build_torchvision}


def _import_library(name: str) -> Any:
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # torchvision for another torch fails in either way
        reason = f"this backbone needs {package}, which cannot be imported ({error})"
        raise UserError(f"{reason}; `pip install {package}`") from error
