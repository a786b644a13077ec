"""The `mmsada weights` commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

weights_app = typer.Typer(help="Weights to start from: look at them, convert them.", no_args_is_help=True)


@weights_app.callback()
def _several() -> None:
    """Keep `convert` a command of its own while it is the only one."""


@weights_app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="What torch.save wrote of a state dict, e.g. rgb_imagenet.pt.")],
    to: Annotated[Path, typer.Argument(help="New file, ending in .safetensors.")],
) -> None:
    """Convert weights to safetensors, once; nothing is ever unpickled.

    Example: mmsada weights convert rgb_imagenet.pt rgb_imagenet.safetensors

    Then: mmsada train -o backbone=i3d -o pretrained=rgb:rgb_imagenet.safetensors,flow:flow_imagenet.safetensors ...
    """
    from mmsada_lab.models.pretrained import convert_weights

    written = convert_weights(source, to)
    typer.echo(to if written else f"{to} already holds these weights")
