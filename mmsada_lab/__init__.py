"""Multi-modal domain adaptation for action recognition: MM-SADA (Munro and Damen, CVPR 2020).

The notebooks are the place to start reading; the library holds what they need and nothing else. Importing it
is cheap: torch is loaded by the modules that train, never by this one.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
