import torch

torch.set_num_threads(1)  # models this small lose by more, and two processes of two threads lose most
