"""What lessons do beside figures: train methods side by side, look into a batch, ask a first stage."""

from mmsada_lab.explorer.dyed_batch import DyedBatch, DyedReader, clips_taught, dye_batch
from mmsada_lab.explorer.first_stage import ask_first_stage
from mmsada_lab.explorer.method_runs import MethodRuns, run_methods

__all__ = ["DyedBatch", "DyedReader", "MethodRuns", "ask_first_stage", "clips_taught", "dye_batch", "run_methods"]
