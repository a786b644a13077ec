"""What is trained: one backbone and classifier per modality, the heads on their features, pretrained weights.

Open `network.py` first, then `heads.py`; `backbones.py` builds one by name (`i3d.py`, `external.py`).
"""
