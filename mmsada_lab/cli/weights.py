"""The `mmsada weights` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer import Argument

weights_app = typer.Typer(help="Pretrained weights to start from.", no_args_is_help=True)


@weights_app.callback()
def _group() -> None:
    """Without a callback, typer would drop the name `convert`, because it is the only command."""


@weights_app.command()
def convert(
    path: Annotated[Path, Argument(help="A state dict written by torch.save, e.g. rgb_imagenet.pt.")],
    to: Annotated[Path, Argument(help="New file, ending in .safetensors.")],
) -> None:
    """Convert weights to safetensors, without unpickling anything.

    Example: mmsada weights convert rgb_imagenet.pt rgb_imagenet.safetensors

    Then: mmsada train -o backbone=i3d -o pretrained=rgb:rgb_imagenet.safetensors,flow:flow_imagenet.safetensors ...
    """
    from mmsada_lab.models.pretrained import convert_weights

    written = convert_weights(path, to)
    typer.echo(to if written else f"{to} already holds these weights")
