"""Attribution Guided Factorization: relevance and gradient are propagated backward together, layer by layer.

`method.py` has the method; `_graph.py` and `_layers.py` trace the model, `_rule_selection.py` selects the rule of each
convolution, `_backward_pass.py` runs the backward pass with `_initial_relevance.py`, `_rules.py`, `_convolution.py` and
`_factorization.py`.
"""

from .method import AGF

__all__ = ["AGF"]
