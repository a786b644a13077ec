"""Tables and figures, computed from run folders alone (no torch).

Open `figures` first: it lists every figure and the module that holds it. Tables are in `tables` and `report`, choices
of checkpoints and options in `selection`, colours in `style`; gaps between domains in `gap`, figures of single
notebooks in `lessons`.
"""
