"""Attribution Guided Factorization: relevance and gradient walk back together, layer by layer.

`method.py` is the call; `trace.py` and `layers.py` read the model, `plan.py` says which rule a convolution gets, `walk.py` goes
back through it with `start.py`, `rules.py`, `convolution.py` and `factor.py`.
"""

from .method import AGF

__all__ = ["AGF"]
