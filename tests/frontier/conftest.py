"""`bench` is no package of the wheel: its tests find it in the repository."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

torch.set_num_threads(1)  # models this small lose by more, and two processes of two threads lose most
